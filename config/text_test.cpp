// SPDX-License-Identifier: BSD-3-Clause
// The small parts: durations, suggestions, positions and the printed form.
#include <set>

#include <gtest/gtest.h>

#include "config/diagnostic.hpp"
#include "config/duration.hpp"
#include "config/source_map.hpp"
#include "config/suggest.hpp"
#include "config/words.hpp"

namespace weir::config {
namespace {

TEST(Duration, ParsesEachUnit) {
    EXPECT_EQ(*parse_duration("250ms"), std::chrono::milliseconds(250));
    EXPECT_EQ(*parse_duration("2s"), std::chrono::seconds(2));
    EXPECT_EQ(*parse_duration("10m"), std::chrono::minutes(10));
    EXPECT_EQ(*parse_duration("1h"), std::chrono::hours(1));
    EXPECT_EQ(*parse_duration("0s"), std::chrono::seconds(0));
    EXPECT_EQ(*parse_duration("10000h"), std::chrono::hours(10000));
}

TEST(Duration, RefusesTheRest) {
    for (const char* text : {"", "2", "s", "2 s", " 2s", "2s ", "-2s", "+2s", "1.5s", "2S", "2sec",
                             "1h30m", "10001h", "4000000001ms", "99999999999999999999ms"}) {
        EXPECT_FALSE(parse_duration(text)) << text;
    }
}

TEST(Duration, PrintsTheShortestExactForm) {
    for (const char* text : {"1h", "90s", "250ms", "0s", "61m", "1001ms"}) {
        EXPECT_EQ(to_string(*parse_duration(text)), text);
    }
    EXPECT_EQ(to_string(*parse_duration("120s")), "2m");
}

TEST(Suggest, CountsEdits) {
    EXPECT_EQ(edit_distance("", ""), 0U);
    EXPECT_EQ(edit_distance("abc", ""), 3U);
    EXPECT_EQ(edit_distance("", "abc"), 3U);
    EXPECT_EQ(edit_distance("weight", "wieght"), 1U); // neighbours swapped
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
    EXPECT_EQ(edit_distance("same", "same"), 0U);
}

TEST(Suggest, FindsTheNearestOrNothing) {
    const std::vector<std::string_view> words = {"address", "port", "protocol", "pool"};
    EXPECT_EQ(nearest("adress", words), "address");
    EXPECT_EQ(nearest("PORT", words), "port");
    EXPECT_EQ(nearest("prot", words), "port");
    EXPECT_EQ(nearest("colour", words), "");
    EXPECT_EQ(nearest("", words), "");
    EXPECT_EQ(nearest(std::string(5000, 'a'), words), "");
    EXPECT_EQ(suggestion("adress", words), "did you mean \"address\"?");
    EXPECT_EQ(suggestion("x-y-z", {"a", "bcd"}), "use one of \"a\" or \"bcd\"");
}

TEST(SourceText, CountsLinesAndCharacters) {
    const SourceText source("one\r\ntw\xC3\xB6 x\nthree", "f");
    const Diagnostic at_x = source.diagnose({10, 11}, "m", "h");
    EXPECT_EQ(at_x.line, 2U);
    EXPECT_EQ(at_x.column, 5U); // the umlaut is two bytes and one character
    EXPECT_EQ(at_x.source_line, "tw\xC3\xB6 x");
    const Diagnostic at_end = source.diagnose({1000, 2000}, "m", "h");
    EXPECT_EQ(at_end.line, 3U);
    EXPECT_EQ(at_end.column, 6U);
    EXPECT_EQ(source.offset_of(3, 2), 13U);
    EXPECT_EQ(source.offset_of(99, 1), source.text().size());
}

TEST(Format, KeepsTabsAndClipsLongLines) {
    const SourceText tabs("\t\tkey = 1\n", "f");
    EXPECT_EQ(format({tabs.diagnose({2, 5}, "wrong", "right")}), "f:1:3: error: wrong\n"
                                                                 "    1 | \t\tkey = 1\n"
                                                                 "      | \t\t^~~\n"
                                                                 "      = right\n");
    const std::string line = std::string(5000, 'a') + "!" + std::string(5000, 'b');
    const SourceText wide(line, "f");
    const std::string shown = format({wide.diagnose({5000, 5001}, "wrong", "")});
    EXPECT_LT(shown.size(), 400U);
    EXPECT_NE(shown.find('!'), std::string::npos);
    EXPECT_TRUE(shown.starts_with("f:1:5001: "));
}

TEST(Format, NeverPassesControlCharactersOn) {
    const SourceText source("a\x1b[31m\xC2\x9B", "fi\x1ble");
    const std::string shown = format({source.diagnose({0, 1}, "m\x1b", "h\x07")});
    EXPECT_EQ(shown.find('\x1b'), std::string::npos);
    EXPECT_EQ(shown.find('\x07'), std::string::npos);
    EXPECT_EQ(shown.find("\xC2\x9B"), std::string::npos);
}

TEST(Diagnostics, AreSortedAndBounded) {
    const SourceText source("0123456789", "f");
    Diagnostics diagnostics(source);
    for (std::size_t i = 0; i < 500; ++i) {
        diagnostics.add({9 - i % 10, 10}, "wrong", "");
    }
    const auto found = diagnostics.take();
    ASSERT_EQ(found.size(), Diagnostics::kMost + 1);
    for (std::size_t i = 1; i < found.size(); ++i) {
        EXPECT_LE(found[i - 1].column, found[i].column);
    }
    EXPECT_EQ(found.back().message, "there are 400 more errors");
}

const SourceNode& at(const SourceNode& node, const char* name) {
    return *node.members.at(name);
}

TEST(SourceMap, FindsKeysInEveryForm) {
    const std::string text = "a = 1 # [x]\n"
                             "b.c = \"]\\\"\"\n"
                             "[t.\"q r\"]\n"
                             "list = [\n  { k = 'v' }, # ,\n  { k = \"\"\"w\n\"\"\" },\n]\n"
                             "[[t.many]]\nx = 1\n[[t.many]]\nx = 22\n[t.many.sub]\ny = 3\n";
    const SourceText source(text, "f");
    const SourceNode root = map_source(text);
    const auto key = [&](const SourceNode& node) { return source.slice(node.key); };
    const auto value = [&](const SourceNode& node) { return source.slice(node.value); };
    EXPECT_EQ(key(at(root, "a")), "a");
    EXPECT_EQ(value(at(root, "a")), "1");
    EXPECT_EQ(value(at(at(root, "b"), "c")), "\"]\\\"\"");
    const SourceNode& table = at(at(root, "t"), "q r");
    EXPECT_EQ(key(table), "\"q r\"");
    EXPECT_EQ(value(table), "[t.\"q r\"]");
    ASSERT_EQ(at(table, "list").items.size(), 2U);
    EXPECT_EQ(value(at(*at(table, "list").items[0], "k")), "'v'");
    EXPECT_EQ(value(at(*at(table, "list").items[1], "k")), "\"\"\"w\n\"\"\"");
    const SourceNode& many = at(at(root, "t"), "many");
    ASSERT_EQ(many.items.size(), 2U);
    EXPECT_EQ(value(at(*many.items[1], "x")), "22");
    EXPECT_EQ(value(at(at(*many.items[1], "sub"), "y")), "3");
}

TEST(SourceMap, FindsDeepNestingOutsideStringsOnly) {
    const std::string brackets(100, '[');
    EXPECT_TRUE(find_excessive_nesting("a = " + brackets).found);
    EXPECT_EQ(find_excessive_nesting("a = " + brackets).offset, 36U);
    EXPECT_FALSE(find_excessive_nesting("a = \"" + brackets + "\"").found);
    EXPECT_FALSE(find_excessive_nesting("# " + brackets).found);
    EXPECT_FALSE(find_excessive_nesting("a = '''" + brackets + "'''").found);
    std::string dotted = "a";
    for (int i = 0; i < 100; ++i) {
        dotted += ".a";
    }
    EXPECT_TRUE(find_excessive_nesting(dotted + " = 1").found);
}

// A lifted "not available yet" must not leave a list without a usable word.
template <class Enum> void expect_usable_words() {
    std::set<std::string_view> seen;
    bool usable = false;
    for (const Word<Enum>& word : words<Enum>()) {
        EXPECT_TRUE(seen.insert(word.text).second) << word.text;
        EXPECT_EQ(to_string(word.value), word.text);
        usable = usable || word.availability == Availability::kNow;
    }
    EXPECT_TRUE(usable);
}

TEST(Words, AreUniqueAndRoundTrip) {
    expect_usable_words<EngineMode>();
    expect_usable_words<IdlePolicy>();
    expect_usable_words<HugepageUse>();
    expect_usable_words<Scheduler>();
    expect_usable_words<HealthType>();
    expect_usable_words<Protocol>();
    expect_usable_words<ForwardMode>();
    expect_usable_words<Tracking>();
    expect_usable_words<OnBackendDown>();
    expect_usable_words<OnAllDown>();
    expect_usable_words<OwnershipMode>();
}

TEST(Words, PortRangesPrintAsWritten) {
    EXPECT_EQ(to_string(PortRange{80, 80}), "80");
    EXPECT_EQ(to_string(PortRange{8000, 8099}), "8000-8099");
    EXPECT_EQ(to_string(kAllPorts), "0");
}

} // namespace
} // namespace weir::config
