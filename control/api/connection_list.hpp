// SPDX-License-Identifier: BSD-3-Clause
// GET /v1/connections: the workers' tables, read while they write. A worker notices nothing; the
// event loop, which probes backends too, is held for one slice of a table at a time.
#pragma once

#include <boost/asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "config/expected.hpp"
#include "control/api/server.hpp"
#include "control/api/snapshot.hpp"

namespace weir::control {

// What is asked for, as rows of the live generation: they keep their numbers from one to the next.
struct ConnectionWish {
    static constexpr std::uint32_t kMostListed = 10'000;

    std::optional<std::uint32_t> vip;
    std::optional<std::uint32_t> backend;
    std::uint8_t client_family = 0; // 4, 6; 0: any
    weir_address client{};          // a network, and the bits of it that count
    weir_address client_mask{};
    std::uint16_t states = 0xffff; // bit n: ConnectionState n
    std::uint32_t limit = kMostListed;
    bool count_only = false;

    [[nodiscard]] bool passes(const lb::HotRow& row) const;
};

// From the query's vip, backend, client, state, limit and count. An error names what would be
// right.
Expected<ConnectionWish> connection_wish(const Snapshot& snapshot, const std::string& query);

// One walk through the tables of one engine.
class ConnectionScan {
public:
    // A slice ends after so many entries looked at or connections listed: about a millisecond.
    static constexpr std::uint32_t kEntries = 65'536;
    static constexpr std::uint32_t kListed = 200;

    // REQUIRES: snapshot.engine.
    ConnectionScan(const Snapshot& snapshot, const ConnectionWish& wish);

    // The next slice. True: that was the last. An error: the engine is another one, or gone.
    Expected<bool> step(const Snapshot& snapshot);

    [[nodiscard]] nlohmann::json answer() &&;

private:
    ConnectionWish wish_;
    std::uint32_t engine_pid_;
    std::size_t table_ = 0;
    ConnectionSource::Place place_; // in it
    std::uint64_t count_ = 0;
    nlohmann::json list_ = nlohmann::json::array();
};

// Answers when the walk is through. `snapshot` is called for each slice.
void list_connections(boost::asio::io_context& io, std::function<Snapshot()> snapshot,
                      const std::string& query, HttpRespond respond);

} // namespace weir::control
