// SPDX-License-Identifier: BSD-3-Clause
// Measures rows and prints each as one JSON object a line. scripts/bench calls it and makes the
// table; --list only names the rows.
#include "bench/row.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <exception>

namespace weir::bench {
namespace {

nlohmann::ordered_json json_of(const Row& row) {
    nlohmann::ordered_json json = {
        {"name", row.name},   {"group", row.group},    {"engine", row.engine},
        {"mode", row.mode},   {"family", row.family},  {"tracking", row.tracking},
        {"flows", row.flows}, {"pools", row.pools},    {"case", row.kind},
        {"ns", row.ns},       {"ns_macswap", nullptr}, {"ratio", nullptr},
    };
    if (row.ns_macswap)
        json["ns_macswap"] = *row.ns_macswap;
    if (row.ratio)
        json["ratio"] = *row.ratio;
    for (const auto& [key, value] : row.more)
        json[key] = value;
    for (const auto& [stage, ns] : row.stages)
        json["stages"][stage] = ns;
    return json;
}

int run(const std::string& filter, const Settings& settings, bool list) {
    Rows rows;
    add_pipeline_rows(rows);
    add_floor_rows(rows);
    add_line_rows(rows);
    add_scaling_rows(rows);
    add_attack_rows(rows);
    add_ring_rows(rows);
    add_xdp_rows(rows);
    add_publish_rows(rows);
    add_stall_rows(rows);
    int failed = 0;
    for (Entry& entry : rows) {
        Row& row = entry.row;
        if (row.flows > settings.most_flows || row.name.find(filter) == std::string::npos)
            continue; // a row's name begins with its group
        if (list) {
            std::printf("%s\n", row.name.c_str());
            continue;
        }
        try {
            entry.measure(row, settings);
            std::printf("%s\n", json_of(row).dump().c_str());
            std::fflush(stdout);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s: %s\n", row.name.c_str(), error.what());
            failed = 1;
        }
    }
    return failed;
}

} // namespace
} // namespace weir::bench

int main(int argc, char** argv) try {
    weir::bench::Settings settings;
    std::string filter;
    bool list = false;
    CLI::App app{"Measures what Weir's workers do; one JSON object a row"};
    app.add_option("--filter", filter, "only rows whose name or group contains this");
    app.add_option("--seconds", settings.seconds, "of each row, about");
    app.add_option("--repeats", settings.repeats, "of each row; their median counts");
    app.add_option("--most-flows", settings.most_flows, "leave rows with more flows out");
    app.add_flag("--list", list, "name the rows, measure nothing");
    CLI11_PARSE(app, argc, argv);
    return weir::bench::run(filter, settings, list);
} catch (const std::exception& error) {
    std::fprintf(stderr, "weir-bench: %s\n", error.what());
    return 1;
}
