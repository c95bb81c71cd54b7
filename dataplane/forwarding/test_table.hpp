// SPDX-License-Identifier: BSD-3-Clause
// Small match tables for tests, filled by hand with nothing but weir_match_home.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "dataplane/forwarding/match.h"
#include "dataplane/forwarding/test_packet.hpp"

namespace weir::forwarding_test {

inline weir_address address_of(std::string_view text) {
    const Bytes bytes = address_bytes(text);
    if (bytes.size() == 4) {
        weir_be32 v4;
        memcpy(&v4, bytes.data(), sizeof(v4));
        return weir_address_from_v4(v4);
    }
    weir_address address;
    memcpy(&address, bytes.data(), sizeof(address));
    return address;
}

inline weir_be16 be16(unsigned host) {
    return static_cast<weir_be16>((host & 0xff) << 8 | (host >> 8 & 0xff));
}

class TestTable {
public:
    explicit TestTable(uint32_t rows = 256, uint32_t seed = 0) : rows_(rows) {
        header_.mask = rows - 1;
        header_.seed = seed;
    }

    void serve(std::string_view address, uint8_t protocol, unsigned port, uint32_t index) {
        add(address, protocol, port, WEIR_MATCH_VIP, index);
    }
    void backend(std::string_view address, uint8_t protocol, unsigned port) {
        add(address, protocol, port, WEIR_MATCH_BACKEND, 0);
        header_.flags |= WEIR_MATCH_HAS_NAT;
    }
    void address(std::string_view address, weir_match_kind kind) { add(address, 0, 0, kind, 0); }

    // Ranges of one address and protocol, first match wins, and what all other ports mean.
    void ranges(std::string_view address, uint8_t protocol, std::vector<weir_range_row> ranges,
                weir_match_kind default_kind = WEIR_MATCH_EMPTY, uint32_t default_index = 0) {
        weir_match_row& row = add(address, protocol, 0, WEIR_MATCH_RANGES, default_index);
        row.range_first = static_cast<uint16_t>(ranges_.size());
        row.range_count = static_cast<uint16_t>(ranges.size());
        row.default_kind = static_cast<uint8_t>(default_kind);
        ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
        header_.range_count = static_cast<uint32_t>(ranges_.size());
    }
    static weir_range_row range(unsigned first, unsigned last, weir_match_kind kind,
                                uint32_t index) {
        weir_range_row row{};
        row.first_port = static_cast<uint16_t>(first);
        row.last_port = static_cast<uint16_t>(last);
        row.kind = static_cast<uint8_t>(kind);
        row.index = index;
        return row;
    }

    const weir_match_header& header() const { return header_; }
    const std::vector<weir_match_row>& rows() const { return rows_; }
    const std::vector<weir_range_row>& range_rows() const { return ranges_; }
    weir_match_view view() const {
        return {rows_.data(), ranges_.data(), header_.mask, header_.seed, header_.flags};
    }

private:
    weir_match_row& add(std::string_view text, uint8_t protocol, unsigned port,
                        weir_match_kind kind, uint32_t index) {
        const weir_address address = address_of(text);
        const uint32_t home = weir_match_home(header_.seed, &address, protocol, be16(port));
        for (uint32_t probe = 0; probe < WEIR_MATCH_MAX_PROBES; probe++) {
            weir_match_row& row = rows_[(home + probe) & header_.mask];
            if (row.kind != WEIR_MATCH_EMPTY)
                continue;
            row.address = address;
            row.port = be16(port);
            row.protocol = protocol;
            row.kind = static_cast<uint8_t>(kind);
            row.index = index;
            return row;
        }
        abort(); // a test asks for more than its table has room for
    }

    weir_match_header header_{};
    std::vector<weir_match_row> rows_;
    std::vector<weir_range_row> ranges_;
};

} // namespace weir::forwarding_test
