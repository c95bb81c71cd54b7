// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/counters_text.hpp"

#include <algorithm>
#include <array>

#include "control/weirctl/field.hpp"
#include "control/weirctl/layout.hpp"
#include "control/weirctl/quantity.hpp"

namespace weir::weirctl {
namespace {

struct Term {
    const char* key;
    const char* words;
};
// docs/api.md: what came in is what went out, ended or is held.
constexpr std::array<Term, 3> kIn{
    {{"rx", "received"}, {"generated", "generated"}, {"handed_in", "handed in"}}};
constexpr std::array<Term, 5> kOut{{{"tx", "sent"},
                                    {"punted", "punted"},
                                    {"handed_out", "handed out"},
                                    {"dropped", "dropped"},
                                    {"held", "held"}}};

template <std::size_t N>
std::string sum_text(const json& books, const std::array<Term, N>& terms, std::uint64_t& sum) {
    std::string text;
    for (const Term& term : terms) {
        sum += count_of(books, term.key);
        text += (text.empty() ? "" : " + ") + shown(books, term.key) + " " + term.words;
    }
    return text;
}

std::string verdicts_table(const json& answer) {
    Table table({{"VERDICT"}, {"CLASS"}, {"COUNT", Align::kRight}, {"MEANING"}});
    for (const json& verdict : elements(answer, "verdicts"))
        table.add({shown(verdict, "name"), shown(verdict, "class"), shown(verdict, "count"),
                   shown(verdict, "sentence")});
    return table.text();
}

std::string ports_table(const json& answer) {
    Table table({{"PORT"},
                 {"RECEIVED", Align::kRight},
                 {"BYTES", Align::kRight},
                 {"SENT", Align::kRight},
                 {"BYTES", Align::kRight}});
    for (const json& port : elements(answer, "ports"))
        table.add({shown(port, "name"), shown(port, "rx"), bytes_of(port, "rx_bytes"),
                   shown(port, "tx"), bytes_of(port, "tx_bytes")});
    return table.text();
}

std::string guard_table(const json& answer) {
    Table table({{"GUARD DROPPED"}, {"COUNT", Align::kRight}, {"MEANING"}});
    for (const json& count : elements(answer, "guard"))
        table.add({shown(count, "name"), shown(count, "count"), shown(count, "sentence")});
    return table.text();
}

std::string workers_table(const json& answer) {
    Table table({{"WORKER"},
                 {"CORE", Align::kRight},
                 {"GENERATION", Align::kRight},
                 {"CONNECTIONS", Align::kRight},
                 {"OPENED", Align::kRight},
                 {"EXPIRED", Align::kRight},
                 {"RX MISSED", Align::kRight},
                 {"POLLS", Align::kRight},
                 {"BURSTS", Align::kRight},
                 {"BOOKS"}});
    for (const json& worker : elements(answer, "workers"))
        table.add({digits_of(worker, "worker"), digits_of(worker, "core"),
                   digits_of(worker, "generation"), shown(worker, "connections"),
                   shown(worker, "connections_opened"), shown(worker, "connections_expired"),
                   shown(worker, "rx_missed"), shown(worker, "polls"), shown(worker, "bursts"),
                   is_true(member(worker, "books"), "balanced") ? "balanced" : "NOT BALANCED"});
    return table.text();
}

} // namespace

std::string books_line(const json& books) {
    std::uint64_t in = 0;
    std::uint64_t out = 0;
    const std::string ins = sum_text(books, kIn, in);
    const std::string outs = sum_text(books, kOut, out);
    const std::string sums = ins + (in == out ? " = " : " != ") + outs;
    if (is_true(books, "balanced"))
        return "balanced: " + sums;
    if (in == out) // one worker's fault hides another's, or a worker's counters cannot be read
        return "NOT BALANCED for every worker: " + sums;
    return "NOT BALANCED: " + sums;
}

std::string counters_text(const json& answer) {
    std::string text;
    const auto add = [&](const char* list, std::string (*table)(const json&)) {
        if (!elements(answer, list).empty())
            text += table(answer) + "\n";
    };
    add("verdicts", verdicts_table);
    add("ports", ports_table);
    add("workers", workers_table);
    add("guard", guard_table);
    Sheet sheet;
    sheet.add("generation", digits_of(answer, "generation"));
    sheet.add("books", elements(answer, "workers").empty()
                           ? "not known: no worker's counters can be read"
                           : books_line(member(answer, "books")));
    return text + sheet.text();
}

std::string drops_text(const json& answer) {
    std::vector<json> drops = elements(answer, "drops").get<std::vector<json>>();
    if (drops.empty())
        return "nothing was dropped\n";
    std::stable_sort(drops.begin(), drops.end(), [](const json& left, const json& right) {
        return count_of(left, "count") > count_of(right, "count");
    });
    Table table({{"VERDICT"}, {"COUNT", Align::kRight}, {"MEANING"}});
    for (const json& drop : drops)
        table.add({shown(drop, "name"), shown(drop, "count"), shown(drop, "sentence")});
    return table.text() + "\n" + counted(count_of(answer, "total"), "packet") + " dropped\n";
}

} // namespace weir::weirctl
