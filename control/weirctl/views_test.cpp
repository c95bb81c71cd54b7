// SPDX-License-Identifier: BSD-3-Clause
// Every view against testdata: NAME.json is an answer as docs/api.md describes it, NAME.golden what
// is printed for it.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "control/weirctl/configuration_text.hpp"
#include "control/weirctl/connections_text.hpp"
#include "control/weirctl/counters_text.hpp"
#include "control/weirctl/node_text.hpp"
#include "control/weirctl/pool_text.hpp"
#include "control/weirctl/status_text.hpp"
#include "control/weirctl/vip_text.hpp"

namespace weir::weirctl {
namespace {

using nlohmann::json;
using View = std::string (*)(const json&);

struct Case {
    const char* name;
    View view;
};

const Case kCases[] = {
    {"status", status_text},
    {"status_down", status_text},
    {"status_foreign", status_text},
    {"status_standing_in", status_text},
    {"vip_list", vips_text},
    {"vip_list_empty", vips_text},
    {"vip_show", vip_text},
    {"pool_list", pools_text},
    {"pool_show", pool_text},
    {"pool_show_empty", pool_text},
    {"backend", backend_changed_text},
    {"node_drained", node_text},
    {"node_resumed", node_text},
    {"counters", counters_text},
    {"counters_stopped", counters_text},
    {"drops", drops_text},
    {"drops_none", drops_text},
    {"connections", connections_text},
    {"connections_none", connections_text},
    {"connection_count", connection_count_text},
    {"explain", explain_text},
    {"explain_known", explain_text},
    {"explain_other", explain_text},
    {"explain_tunnel", explain_text},
    {"explain_turns", explain_text},
    {"applied", applied_text},
    {"applied_nothing", applied_text},
    {"not_applied", not_applied_text},
    {"not_applied_restart", not_applied_text},
};

std::string contents(const std::string& name) {
    std::ifstream file(std::string(WEIRCTL_TESTDATA) + "/" + name, std::ios::binary);
    EXPECT_TRUE(file) << name;
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

class Views : public testing::TestWithParam<Case> {};

TEST_P(Views, PrintsTheGoldenText) {
    const std::string name = GetParam().name;
    const json answer = json::parse(contents(name + ".json"));
    EXPECT_EQ(GetParam().view(answer), contents(name + ".golden"));
}

INSTANTIATE_TEST_SUITE_P(Testdata, Views, testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(ViewsTestdata, EveryFileIsUsed) {
    std::set<std::string> used;
    for (const Case& one : kCases)
        used.insert(one.name);
    for (const auto& entry : std::filesystem::directory_iterator(WEIRCTL_TESTDATA))
        EXPECT_TRUE(used.contains(entry.path().stem().string())) << entry.path();
}

// An answer of another version, or of something else on the socket, is shown as far as it goes.
TEST(ViewsOfAnything, NeverThrow) {
    for (const char* text : {"{}", "[]", "null", "3", R"("x")", R"({"vips": 3, "pools": {}})",
                             R"({"pools": [1, null], "vips": [[]], "drops": [{"count": -1}, 2]})",
                             R"({"backends": ["a"], "leaving": [3], "vips": [{}], "engine": 0})",
                             R"({"connections": [null], "steps": [null], "changes": [7]})"}) {
        const json answer = json::parse(text);
        for (const Case& one : kCases)
            EXPECT_NO_THROW({ EXPECT_NE(one.view(answer), "") << one.name << text; })
                << one.name << text;
    }
}

TEST(AcceptedText, CountsWhatIsThere) {
    config::Config config;
    config.interfaces.resize(1);
    config.vips.resize(2);
    config.pools.resize(2);
    config.pools[0].backends.resize(3);
    EXPECT_EQ(accepted_text("weir.toml", config),
              "OK: weir.toml: 1 interface, 2 VIPs, 2 pools, 3 backends\n");
}

} // namespace
} // namespace weir::weirctl
