// SPDX-License-Identifier: BSD-3-Clause
// docs/verdicts.md from the verdict list. Called by the program that prints it and by the test that
// compares it.
#pragma once

#include <string>

#include "dataplane/forwarding/verdict.h"

namespace weir::forwarding {

struct VerdictRow {
    const char* enumerator;
    const char* name;
    weir_verdict_class verdict_class;
    const char* sentence;
};

inline constexpr VerdictRow kVerdicts[] = {
#define WEIR_VERDICT_ROW(enumerator, name, verdict_class, sentence)                                \
    {"WEIR_" #enumerator, #name, WEIR_CLASS_##verdict_class, sentence},
    WEIR_VERDICTS(WEIR_VERDICT_ROW)
#undef WEIR_VERDICT_ROW
};

inline const char* verdict_class_words(weir_verdict_class verdict_class) {
    switch (verdict_class) {
    case WEIR_CLASS_FORWARD:
        return "sent";
    case WEIR_CLASS_PUNT:
        return "punted";
    case WEIR_CLASS_HAND_OVER:
        return "handed over";
    case WEIR_CLASS_DROP:
        return "dropped";
    case WEIR_CLASS_NONE:
        break;
    }
    return "";
}

inline std::string verdict_table_markdown() {
    std::string text =
        "# Verdicts\n\n"
        "Every packet that a worker takes in leaves with exactly one of these. Each "
        "has a counter of the same name\n(`weirctl counters`, `weirctl drops`). This "
        "page is made from the list in `dataplane/forwarding/verdict.h` by\n"
        "`build/dataplane/forwarding/verdict_table`; a test keeps it current.\n\n"
        "The books close: `rx + generated + handed_in = sent + punted + handed over "
        "+ dropped + held`.\n\n"
        "| verdict | the packet is | meaning |\n|---|---|---|\n";
    for (const VerdictRow& row : kVerdicts)
        text += std::string("| `") + row.name + "` | " + verdict_class_words(row.verdict_class) +
                " | " + row.sentence + " |\n";
    return text;
}

} // namespace weir::forwarding
