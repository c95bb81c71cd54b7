// SPDX-License-Identifier: BSD-3-Clause
// The one table of what is measured. A group's file adds its rows (add_*_rows below); main.cpp runs
// those that were asked for, in order, and prints one JSON object a row.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace weir::bench {

struct Row {
    std::string name;
    std::string group; // pipeline, floor, io, xdp, publish, stall or attack
    std::string engine = "dpdk";
    std::string mode;     // as in the configuration; empty where it does not matter
    std::string family;   // "v4", "v6" or empty
    std::string tracking; // "full", "exceptions" or empty
    std::uint64_t flows = 0;
    std::uint32_t pools = 1;
    std::string kind; // "case" of the JSON: hit, new or mixed; empty where it does not matter

    // What came out.
    double ns = 0;                    // a packet; a line; of a publication, the whole of it
    std::optional<double> ns_macswap; // a packet of the reference loop in the same run
    std::optional<double> ratio;      // of the whole loops, sources and sinks included
    std::vector<std::pair<std::string, double>> more;
    std::vector<std::pair<std::string, double>> stages; // ns a packet
};

struct Settings {
    double seconds = 0.25; // of each row, about
    std::uint32_t repeats = 7;
    std::uint64_t most_flows = UINT64_MAX; // rows with more are left out
};

using Measure = std::function<void(Row&, const Settings&)>;

struct Entry {
    Row row;
    Measure measure;
};
using Rows = std::vector<Entry>;

void add_pipeline_rows(Rows& rows);
void add_floor_rows(Rows& rows);
void add_line_rows(Rows& rows);
void add_scaling_rows(Rows& rows);
void add_attack_rows(Rows& rows);
void add_ring_rows(Rows& rows);
void add_xdp_rows(Rows& rows);
void add_publish_rows(Rows& rows);
void add_stall_rows(Rows& rows);

// 1000 -> "1k", 16384 -> "16k".
std::string count_text(std::uint64_t count);

} // namespace weir::bench
