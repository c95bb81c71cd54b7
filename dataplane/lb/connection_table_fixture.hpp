// SPDX-License-Identifier: BSD-3-Clause
// Memory and connections for the connection table's tests.
#pragma once

#include "dataplane/lb/connection_table.hpp"

#include <cstdlib>
#include <span>
#include <tuple>

#include <gtest/gtest.h>

namespace weir::lb {

inline constexpr std::uint32_t kNoQuota = 0xffffffff;
inline constexpr std::uint8_t kHalfOpen = 3;
inline constexpr std::uint8_t kEstablished = 5;

inline constexpr auto kNoReply = [](const HotRow&) { return false; };
inline constexpr auto kNobodyRecycled = [](EntryIndex, const HotRow&) { FAIL() << "recycled"; };

// 64-byte aligned memory of exactly the size asked for, so that ASan sees an overrun.
class Memory {
public:
    explicit Memory(std::size_t bytes)
        : bytes_(bytes), data_(static_cast<std::byte*>(std::aligned_alloc(64, bytes))) {}
    ~Memory() { std::free(data_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    std::span<std::byte> span() const { return {data_, bytes_}; }

private:
    std::size_t bytes_;
    std::byte* data_;
};

inline std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

// Client number -> a tuple; every other client is IPv6.
inline NewConnection connection_of(std::uint32_t client, std::uint16_t vip = 0) {
    weir_address address = weir_address_from_v4(client);
    if (client % 2 != 0)
        address.word[0] = 0x0120;
    NewConnection connection;
    connection.key = forward_key(address, static_cast<std::uint16_t>(client * 7),
                                 static_cast<std::uint16_t>(80 + client % 3), vip);
    connection.forward_hash = index_hash(mix(client * 0x10001ull + vip));
    connection.state = kHalfOpen;
    return connection;
}

struct ReplyKey {
    std::uint8_t snat_address;
    std::uint16_t snat_port;
    std::uint32_t backend;
    bool operator<(const ReplyKey& other) const {
        return std::tie(snat_address, snat_port, backend) <
               std::tie(other.snat_address, other.snat_port, other.backend);
    }

    std::uint32_t hash() const {
        return index_hash(mix(snat_port | std::uint64_t{snat_address} << 16 |
                              std::uint64_t{backend} << 24 | std::uint64_t{1} << 60));
    }
    bool matches(const HotRow& row) const {
        return row.snat_address == snat_address && row.snat_port == snat_port &&
               row.backend == backend;
    }
};

inline void with_reply(NewConnection& connection, const ReplyKey& reply) {
    connection.reply_indexed = true;
    connection.reply_hash = reply.hash();
    connection.snat_address = reply.snat_address;
    connection.snat_port = reply.snat_port;
    connection.backend = reply.backend;
}

inline InsertResult insert_plain(ConnectionTable& table, const NewConnection& connection,
                                 std::uint16_t now_s = 0) {
    return table.insert(connection, now_s, kNoQuota, kNoReply, [](EntryIndex, const HotRow&) {});
}

} // namespace weir::lb
