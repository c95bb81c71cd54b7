// SPDX-License-Identifier: BSD-3-Clause
// Prints docs/verdicts.md.
#include "dataplane/forwarding/verdict_table.hpp"

#include <cstdio>

int main() {
    return std::fputs(weir::forwarding::verdict_table_markdown().c_str(), stdout) < 0;
}
