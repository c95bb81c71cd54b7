// SPDX-License-Identifier: BSD-3-Clause
// The verdict list itself, and that docs/verdicts.md says what it says.
#include "dataplane/forwarding/verdict.h"

#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "dataplane/forwarding/verdict_table.hpp"

namespace {

using weir::forwarding::kVerdicts;
using weir::forwarding::verdict_table_markdown;

TEST(Verdicts, NamesAreUniqueAndFollowTheirClass) {
    std::set<std::string> names;
    for (const auto& row : kVerdicts) {
        const std::string name = row.name;
        EXPECT_TRUE(names.insert(name).second) << name;
        for (char letter : name)
            EXPECT_TRUE(std::islower(static_cast<unsigned char>(letter)) || letter == '_') << name;
        EXPECT_EQ(name.starts_with("drop_"), row.verdict_class == WEIR_CLASS_DROP) << name;
        EXPECT_EQ(name.starts_with("punted_"), row.verdict_class == WEIR_CLASS_PUNT) << name;
        EXPECT_NE(row.verdict_class, WEIR_CLASS_NONE) << name;
        std::string upper = "WEIR_" + name;
        for (char& letter : upper)
            letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
        EXPECT_EQ(upper, row.enumerator) << "the counter is named as the enumerator";
    }
    EXPECT_EQ(names.size() + 1, static_cast<size_t>(WEIR_VERDICT_COUNT)) << "UNDECIDED has no row";
}

TEST(Verdicts, SentencesReadAsOne) {
    std::set<std::string> sentences;
    for (const auto& row : kVerdicts) {
        const std::string sentence = row.sentence;
        EXPECT_GT(sentence.size(), 10u) << row.name;
        EXPECT_NE(sentence.back(), '.') << row.name;
        EXPECT_TRUE(sentences.insert(sentence).second) << row.name;
    }
}

TEST(Verdicts, FitTheByteThatAPacketsDefectHas) {
    EXPECT_LT(static_cast<unsigned>(WEIR_VERDICT_COUNT), 256u);
}

TEST(Verdicts, DocumentIsCurrent) {
    std::ifstream file(WEIR_VERDICTS_MD);
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_EQ(text.str(), verdict_table_markdown())
        << "docs/verdicts.md is not what the list says: build/dataplane/forwarding/verdict_table "
           "> docs/verdicts.md";
}

} // namespace
