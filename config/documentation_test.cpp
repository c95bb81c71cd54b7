// SPDX-License-Identifier: BSD-3-Clause
// docs/configuration.md against the parser's own list of keys and words: neither can drift.
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "config/keys.hpp"
#include "config/parse.hpp"

namespace weir::config {
namespace {

using Cells = std::vector<std::string>;

std::string stripped(const std::string& text) {
    const auto first = text.find_first_not_of(" `");
    const auto last = text.find_last_not_of(" `");
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

Cells cells_of(const std::string& line) {
    Cells cells;
    for (std::size_t at = 1; at < line.size();) {
        const std::size_t bar = std::min(line.find('|', at), line.size());
        cells.push_back(line.substr(at, bar - at));
        at = bar + 1;
    }
    return cells;
}

// Section title -> first cell without quotes -> all cells of that row.
std::map<std::string, std::map<std::string, Cells>> documented() {
    std::map<std::string, std::map<std::string, Cells>> sections;
    std::ifstream stream(WEIR_CONFIGURATION_MD);
    EXPECT_TRUE(stream);
    std::string title;
    for (std::string line; std::getline(stream, line);) {
        if (line.starts_with("## ")) {
            title = line.substr(3);
        } else if (line.starts_with("| `")) {
            const Cells cells = cells_of(line);
            sections[title][stripped(cells.front())] = cells;
        }
    }
    return sections;
}

TEST(Documentation, HasEveryKeyWithItsEffect) {
    auto sections = documented();
    for (const Key& key : all_keys()) {
        const std::string title = "[" + std::string(key.section) + "]";
        if (key.effect == Effect::kTable || key.availability == Availability::kNotYet) {
            continue;
        }
        const auto row = sections[title].find(std::string(key.name));
        ASSERT_NE(row, sections[title].end()) << title << " " << key.name;
        ASSERT_GE(row->second.size(), 5U) << title << " " << key.name;
        EXPECT_EQ(stripped(row->second[3]), key.effect == Effect::kLive ? "live" : "restart")
            << title << " " << key.name;
        EXPECT_FALSE(stripped(row->second[1]).empty()) << title << " " << key.name;
        EXPECT_FALSE(stripped(row->second[2]).empty()) << title << " " << key.name;
    }
}

TEST(Documentation, HasNoKeyThatTheParserRefuses) {
    for (const auto& [title, rows] : documented()) {
        if (!title.starts_with("[")) {
            continue;
        }
        const std::string section = title.substr(1, title.size() - 2);
        for (const auto& [name, cells] : rows) {
            const Key* key = find_key(section, name);
            EXPECT_TRUE(key != nullptr && key->availability == Availability::kNow)
                << title << " " << name;
        }
    }
}

TEST(Documentation, HasEverySectionOfTheList) {
    auto sections = documented();
    for (const Key& key : all_keys()) {
        if (!key.section.empty()) {
            EXPECT_TRUE(sections.contains("[" + std::string(key.section) + "]")) << key.section;
        }
    }
}

// The values a row of a key's type cell names are exactly the available ones; the rest are in the
// table of what is not available yet.
template <class Enum> void expect_words(const std::string& section, const std::string& name) {
    auto sections = documented();
    const std::string available = sections["[" + section + "]"][name].at(1);
    const auto& later = sections["Not available yet"];
    const auto row = later.find(section + "." + name);
    const std::string not_yet = row != later.end() ? row->second.at(1) : "";
    for (const Word<Enum>& word : words<Enum>()) {
        const std::string quoted = "`\"" + std::string(word.text) + "\"`";
        const bool now = word.availability == Availability::kNow;
        EXPECT_EQ(available.find(quoted) != std::string::npos, now) << section << quoted;
        EXPECT_EQ(not_yet.find(quoted) != std::string::npos, !now) << section << quoted;
    }
}

TEST(Documentation, HasEveryWordWhereItBelongs) {
    expect_words<EngineMode>("engine", "mode");
    expect_words<IdlePolicy>("engine", "idle");
    expect_words<HugepageUse>("engine", "hugepages");
    expect_words<Scheduler>("pool.NAME", "scheduler");
    expect_words<HealthType>("pool.NAME.health", "type");
    expect_words<Protocol>("vip.NAME", "protocol");
    expect_words<ForwardMode>("vip.NAME", "forward");
    expect_words<Tracking>("vip.NAME", "tracking");
    expect_words<OnBackendDown>("vip.NAME", "on_backend_down");
    expect_words<OnAllDown>("vip.NAME", "on_all_down");
    expect_words<OnLimit>("vip.NAME", "on_limit");
    expect_words<OwnershipMode>("ownership", "mode");
}

TEST(Documentation, NamesTheKeysThatAreNotAvailableYet) {
    auto sections = documented();
    std::ifstream stream(WEIR_CONFIGURATION_MD);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const std::string later = text.substr(text.find("## Not available yet"));
    for (const Key& key : all_keys()) {
        if (key.availability == Availability::kNotYet) {
            EXPECT_NE(later.find("`" + std::string(key.name) + "`"), std::string::npos) << key.name;
        }
    }
}

TEST(Documentation, ItsExampleIsAccepted) {
    std::ifstream stream(WEIR_CONFIGURATION_MD);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const std::string fence = "```toml\n";
    const std::size_t begin = text.find(fence) + fence.size();
    const auto result =
        parse_config(text.substr(begin, text.find("```", begin) - begin), "example");
    EXPECT_TRUE(result) << format(result.diagnostics);
}

// The configurations that a document shows, whole, in ```toml blocks.
std::vector<std::string> shown_configurations(const std::string& path) {
    std::vector<std::string> blocks;
    std::ifstream stream(path);
    EXPECT_TRUE(stream) << path;
    bool inside = false;
    for (std::string line; std::getline(stream, line);) {
        if (line == "```toml") {
            inside = true;
            blocks.emplace_back();
        } else if (line == "```") {
            inside = false;
        } else if (inside) {
            blocks.back() += line + "\n";
        }
    }
    return blocks;
}

TEST(Documentation, TheReadmesConfigurationIsAccepted) {
    const std::vector<std::string> blocks = shown_configurations(WEIR_README_MD);
    ASSERT_FALSE(blocks.empty());
    for (const std::string& block : blocks) {
        const ParseResult result = parse_config(block, "README.md");
        EXPECT_TRUE(result.config) << format(result.diagnostics);
    }
}

} // namespace
} // namespace weir::config
