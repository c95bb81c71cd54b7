// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/state_builder.hpp"

#include <algorithm>
#include <bit>

namespace weir::lb {
namespace {

std::pair<std::uint64_t, std::uint64_t> key_of(const weir_address& address) {
    return {address.word[0], address.word[1]};
}

weir_match_row exact_row(const weir_address& address, std::uint8_t protocol, weir_be16 port,
                         weir_match_kind kind, std::uint32_t index) {
    weir_match_row row{};
    row.address = address;
    row.protocol = protocol;
    row.port = port;
    row.kind = static_cast<std::uint8_t>(kind);
    row.index = index;
    return row;
}

// Places every row within the probe bound, or says that this size and seed do not do it.
bool place(const std::vector<weir_match_row>& keyed, std::uint32_t seed,
           std::vector<weir_match_row>& rows) {
    std::fill(rows.begin(), rows.end(), weir_match_row{});
    const auto mask = static_cast<std::uint32_t>(rows.size() - 1);
    for (const weir_match_row& row : keyed) {
        std::uint32_t home = weir_match_home(seed, &row.address, row.protocol, row.port);
        std::uint32_t probe = 0;
        while (probe < WEIR_MATCH_MAX_PROBES &&
               rows[(home + probe) & mask].kind != WEIR_MATCH_EMPTY)
            probe++;
        if (probe == WEIR_MATCH_MAX_PROBES)
            return false;
        rows[(home + probe) & mask] = row;
    }
    return true;
}

// Appends tables to the root at 64-byte boundaries.
class RootWriter {
public:
    explicit RootWriter(std::size_t header_bytes) : bytes_(header_bytes) {}

    template <class Row> TableDescriptor append(const std::vector<Row>& rows) {
        bytes_.resize((bytes_.size() + 63) / 64 * 64);
        TableDescriptor table{bytes_.size(), static_cast<std::uint32_t>(rows.size()), sizeof(Row)};
        const auto* first = reinterpret_cast<const std::byte*>(rows.data());
        bytes_.insert(bytes_.end(), first, first + rows.size() * sizeof(Row));
        return table;
    }

    std::vector<std::byte> finish(StateHeader header) {
        header.total_bytes = bytes_.size();
        std::copy_n(reinterpret_cast<const std::byte*>(&header), sizeof(header), bytes_.begin());
        return std::move(bytes_);
    }

private:
    std::vector<std::byte> bytes_;
};

} // namespace

void MatchTableBuilder::add_port(const weir_address& address, std::uint8_t protocol, weir_be16 port,
                                 weir_match_kind kind, std::uint32_t index) {
    exact_[{key_of(address), protocol, port}] = exact_row(address, protocol, port, kind, index);
}

void MatchTableBuilder::add_range(const weir_address& address, std::uint8_t protocol,
                                  std::uint16_t first, std::uint16_t last, weir_match_kind kind,
                                  std::uint32_t index) {
    wide_[{key_of(address), protocol}].ranges.push_back(
        {first, last, static_cast<std::uint8_t>(kind), {}, index});
}

void MatchTableBuilder::add_all_ports(const weir_address& address, std::uint8_t protocol,
                                      weir_match_kind kind, std::uint32_t index) {
    Wide& wide = wide_[{key_of(address), protocol}];
    wide.default_kind = static_cast<std::uint8_t>(kind);
    wide.default_index = index;
}

void MatchTableBuilder::add_address(const weir_address& address, weir_match_kind kind) {
    exact_[{key_of(address), 0, 0}] = exact_row(address, 0, 0, kind, WEIR_NO_ROW);
}

std::vector<weir_match_row> MatchTableBuilder::keyed_rows(std::vector<weir_range_row>& ranges,
                                                          std::string& problem) const {
    std::vector<weir_match_row> keyed;
    for (const auto& [key, row] : exact_)
        keyed.push_back(row);
    for (const auto& [key, wide] : wide_) {
        if (wide.ranges.size() > WEIR_MAX_RANGES_PER_ADDRESS) {
            problem = "one address has " + std::to_string(wide.ranges.size()) +
                      " port ranges for one protocol; at most " +
                      std::to_string(WEIR_MAX_RANGES_PER_ADDRESS) + " are possible";
            return {};
        }
        const auto& [address, protocol] = key;
        weir_match_row row = exact_row({{address.first, address.second}}, protocol, 0,
                                       WEIR_MATCH_RANGES, wide.default_index);
        row.range_first = static_cast<std::uint16_t>(ranges.size());
        row.range_count = static_cast<std::uint16_t>(wide.ranges.size());
        row.default_kind = wide.default_kind;
        const auto exact = exact_.lower_bound({address, protocol, 0});
        row.ranges_alone = exact == exact_.end() || std::get<0>(exact->first) != address ||
                           std::get<1>(exact->first) != protocol;
        keyed.push_back(row);
        ranges.insert(ranges.end(), wide.ranges.begin(), wide.ranges.end());
    }
    if (ranges.size() > WEIR_MAX_RANGES)
        problem = "there are " + std::to_string(ranges.size()) + " port ranges; at most " +
                  std::to_string(WEIR_MAX_RANGES) + " are possible";
    return keyed;
}

std::optional<MatchTable> MatchTableBuilder::build(std::string& problem) const {
    problem.clear();
    MatchTable table;
    std::vector<weir_match_row> keyed = keyed_rows(table.ranges, problem);
    if (!problem.empty())
        return std::nullopt;
    std::size_t size = std::max<std::size_t>(16, std::bit_ceil(keyed.size() * 2));
    for (; size <= WEIR_MATCH_MAX_ROWS; size *= 2) {
        table.rows.resize(size);
        for (std::uint32_t seed = 1; seed <= 16; seed++) {
            if (!place(keyed, seed, table.rows))
                continue;
            table.header = {static_cast<std::uint32_t>(size - 1),
                            seed,
                            flags_,
                            static_cast<std::uint32_t>(table.ranges.size()),
                            0,
                            {}};
            return table;
        }
    }
    problem = "there are " + std::to_string(keyed.size()) +
              " VIP, SNAT, backend and node endpoints; the match table holds about " +
              std::to_string(WEIR_MATCH_MAX_ROWS / 3);
    return std::nullopt;
}

std::vector<std::byte> build_root(const StateTables& tables) {
    RootWriter writer(sizeof(StateHeader));
    StateHeader header{};
    header.magic = kStateMagic;
    header.version = kStateVersion;
    header.generation = tables.generation;
    header.hash_key = tables.hash_key;
    header.match = tables.match.header;
    header.match.gue_port = tables.node.gue_port;
    header.node = tables.node;
    header.match_rows = writer.append(tables.match.rows);
    header.ranges = writer.append(tables.match.ranges);
    header.vips = writer.append(tables.vips);
    header.pools = writer.append(tables.pools);
    header.members = writer.append(tables.members);
    header.backends = writer.append(tables.backends);
    header.next_hops = writer.append(tables.next_hops);
    header.snat = writer.append(tables.snat);
    header.interfaces = writer.append(tables.interfaces);
    header.segments = writer.append(tables.segments);
    return writer.finish(header);
}

} // namespace weir::lb
