// SPDX-License-Identifier: BSD-3-Clause
// GET /v1/capture: packets that running workers copied, as a pcapng stream. One at a time.
//
// The engine copies for as long as its lease is renewed, which the stream does; a stream that is
// dropped ends the capture. One io_context, one thread.
#pragma once

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "control/api/server.hpp"
#include "control/api/snapshot.hpp"

namespace weir::control {

// What is asked for.
struct CaptureWish {
    lb::CaptureFilter filter;
    std::uint64_t count = 0; // packets; 0: no limit
    std::optional<config::Duration> duration;
};

// From the query's vip, verdict, count, duration and snaplen. An error names what would be right.
Expected<CaptureWish> capture_wish(const Snapshot& snapshot, const std::string& query);

class CaptureDesk {
public:
    // What the desk needs of the controller.
    struct Access {
        std::function<Snapshot()> snapshot;
        std::function<bool(const channel::Capture&)> order; // false: there is no engine
    };

    static constexpr std::chrono::milliseconds kRead{10};   // the rings are read this often
    static constexpr std::chrono::milliseconds kRenew{500}; // the lease
    static constexpr std::chrono::seconds kLease{2};
    static constexpr std::chrono::seconds kBeginLimit{1}; // for a worker that stands still

    CaptureDesk(boost::asio::io_context& io, Access access);

    // A stream, or a refusal: not local, another capture runs, a wish that cannot be, no engine.
    HttpResponse start(const HttpRequest& request);

private:
    boost::asio::io_context& io_;
    Access access_;
    std::weak_ptr<HttpStream> running_;
};

} // namespace weir::control
