// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/capture.hpp"

#include <boost/asio/steady_timer.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>
#include <random>

#include "config/duration.hpp"
#include "config/suggest.hpp"
#include "control/api/pcapng.hpp"
#include "control/api/views.hpp"
#include "dataplane/channel/socket.hpp"

namespace weir::control {
namespace {

using Clock = std::chrono::steady_clock;

// A packet that a worker gives away before it knows these cannot be copied.
constexpr std::array kDecidedTooLate = {WEIR_DROP_TX_FULL, WEIR_DROP_PUNT_RATE,
                                        WEIR_DROP_PUNT_QUEUE_FULL};

std::int64_t clock_ns(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Expected<lb::VerdictSet> verdict_set(const std::string& word) {
    std::vector<std::string_view> known{"drop", "punted"};
    if (word == "drop")
        return lb::verdicts_of_class(WEIR_CLASS_DROP);
    if (word == "punted")
        return lb::verdicts_of_class(WEIR_CLASS_PUNT);
    for (std::uint32_t verdict = 1; verdict < WEIR_VERDICT_COUNT; verdict++) {
        const lb::VerdictInfo& info = lb::verdict_info(verdict);
        known.emplace_back(info.name);
        if (word != info.name)
            continue;
        if (info.verdict_class == WEIR_CLASS_HAND_OVER)
            return Error{"packets that are " + word +
                         " are captured by the worker that gets them, with its verdict"};
        if (std::find(kDecidedTooLate.begin(), kDecidedTooLate.end(),
                      static_cast<weir_verdict>(verdict)) != kDecidedTooLate.end())
            return Error{word + " is only counted: the packet has left the worker's hands when it "
                                "is decided"};
        return lb::verdict_bit(verdict);
    }
    return Error{"there is no verdict \"" + word + "\"; " + config::suggestion(word, known)};
}

// Words between commas.
Expected<lb::VerdictSet> verdict_sets(const std::string& list) {
    lb::VerdictSet all = 0;
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = std::min(list.find(',', begin), list.size());
        auto set = verdict_set(list.substr(begin, end - begin));
        if (!set)
            return set;
        all |= *set;
        begin = end + 1;
    }
    return all;
}

class CaptureStream : public HttpStream, public std::enable_shared_from_this<CaptureStream> {
public:
    CaptureStream(boost::asio::io_context& io, CaptureDesk::Access access, const CaptureWish& wish,
                  const Engine& engine)
        : io_(io), timer_(io), access_(std::move(access)), wish_(wish), hello_(engine.hello),
          delivered_(std::max(hello_.interfaces, 1u)) {
        order_ = channel::make_message<channel::Capture>(channel::MessageType::capture);
        std::random_device random;
        while (order_.session == 0)
            order_.session = random();
        order_.vip = wish.filter.vip;
        order_.verdicts = wish.filter.verdicts;
        order_.snaplen = wish.filter.snaplen;
        order_.lease_ns = std::chrono::nanoseconds(CaptureDesk::kLease).count();
        for (const CaptureSource& source : engine.captures)
            sources_.push_back({source, false});
    }

    ~CaptureStream() override {
        // When the loop has ended the controller may be gone; so is the engine's reason to go on.
        if (!ended_ && !io_.stopped())
            stop_order();
    }

    bool begin() {
        if (!access_.order(order_))
            return false;
        const auto now = Clock::now();
        begin_limit_ = now + CaptureDesk::kBeginLimit;
        renew_at_ = now + CaptureDesk::kRenew;
        wait();
        return true;
    }

    void next(Give give) override {
        give_ = std::move(give);
        if (ended_)
            deliver();
    }

    void finish() override { why_ended_ = "asked"; }

private:
    struct Source {
        CaptureSource source;
        bool begun;
    };

    void wait() {
        timer_.expires_after(CaptureDesk::kRead);
        timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
            const auto self = weak.lock();
            if (!error && self)
                self->tick();
        });
    }

    void tick() {
        const auto now = Clock::now();
        const Snapshot snapshot = access_.snapshot();
        if (snapshot.engine == nullptr || snapshot.engine->hello.started_ns != hello_.started_ns)
            why_ended_ = "engine";
        if (now >= renew_at_) {
            renew_at_ = now + CaptureDesk::kRenew;
            if (why_ended_ == nullptr && !access_.order(order_))
                why_ended_ = "engine";
        }
        if (!headed_ && (all_begun() || now >= begin_limit_ || why_ended_ != nullptr))
            write_head(now);
        if (headed_ && until_ && now >= *until_)
            why_ended_ = "duration";
        if (headed_ && (give_ || why_ended_ != nullptr))
            collect(snapshot);
        if (why_ended_ != nullptr) {
            stop_order();
            write_end();
        } else {
            wait();
        }
        if (give_ && (ended_ || !out_.empty()))
            deliver();
    }

    // A worker that stands still for longer than the limit is heard when it goes on.
    bool all_begun() {
        bool all = true;
        for (Source& source : sources_) {
            source.begun = source.begun || source.source.reader.begin(order_.session);
            all = all && source.begun;
        }
        return all;
    }

    void write_head(Clock::time_point now) {
        headed_ = true;
        if (wish_.duration)
            until_ = now + *wish_.duration;
        realtime_offset_ = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
        append_pcapng_section(out_, "weir-control " WEIR_VERSION);
        for (std::uint32_t row = 0; row < hello_.interfaces; row++) {
            const char* name = hello_.interface[row].name;
            append_pcapng_interface(out_,
                                    {name, ::strnlen(name, sizeof(hello_.interface[row].name))},
                                    wish_.filter.snaplen);
        }
    }

    void collect(const Snapshot& snapshot) {
        all_begun();
        std::vector<lb::CapturedPacket> packets;
        for (Source& source : sources_)
            if (source.begun)
                source.source.reader.read(packets, lb::kCaptureSlots);
        std::stable_sort(packets.begin(), packets.end(), [](const auto& a, const auto& b) {
            return a.facts.time_ns < b.facts.time_ns;
        });
        for (const lb::CapturedPacket& packet : packets) {
            if (wish_.count != 0 && total_ == wish_.count)
                break;
            write_packet(snapshot, packet);
        }
        if (wish_.count != 0 && total_ == wish_.count)
            why_ended_ = "count";
        names_.clear();
    }

    void write_packet(const Snapshot& snapshot, const lb::CapturedPacket& packet) {
        const lb::CaptureFacts& facts = packet.facts;
        if (facts.interface >= delivered_.size())
            return; // no engine that works says this
        const std::string comment = std::string("verdict=") + lb::verdict_info(facts.verdict).name +
                                    rows_text(snapshot, facts) +
                                    " worker=" + std::to_string(packet.worker);
        append_pcapng_packet(
            out_, {.interface = facts.interface,
                   .time_ns = facts.time_ns + static_cast<std::uint64_t>(realtime_offset_),
                   .original_length = facts.original_length,
                   .bytes = packet.bytes,
                   .outbound = facts.outbound,
                   .comment = comment});
        delivered_[facts.interface]++;
        total_++;
    }

    // " vip=NAME backend=POOL/NAME", as far as they are known. Looked up once for many packets.
    const std::string& rows_text(const Snapshot& snapshot, const lb::CaptureFacts& facts) {
        const auto [found, fresh] = names_.try_emplace({facts.vip, facts.backend});
        if (!fresh)
            return found->second;
        std::string& text = found->second;
        if (facts.vip != lb::kCaptureNoRow)
            text += " vip=" + vip_name(snapshot, facts.vip);
        if (facts.backend != lb::kCaptureNoRow) {
            const BackendName backend = backend_name(snapshot, facts.backend);
            text += " backend=" + (backend.pool.empty() ? "" : backend.pool + "/") + backend.name;
        }
        return text;
    }

    void write_end() {
        ended_ = true;
        std::uint64_t sampled_out = 0;
        std::uint64_t overwritten = 0;
        for (const Source& source : sources_) {
            if (!source.begun)
                continue;
            sampled_out += source.source.reader.sampled_out();
            overwritten += source.source.reader.overwritten();
        }
        const std::string comment =
            "captured=" + std::to_string(total_) + " sampled_out=" + std::to_string(sampled_out) +
            " overwritten=" + std::to_string(overwritten) + " ended=" + why_ended_;
        const auto now_ns = static_cast<std::uint64_t>(clock_ns(CLOCK_REALTIME));
        for (std::uint32_t row = 0; row < hello_.interfaces; row++)
            append_pcapng_statistics(out_, row, now_ns, delivered_[row], row == 0 ? comment : "");
    }

    void stop_order() {
        order_.lease_ns = 0;
        access_.order(order_);
    }

    void deliver() {
        const Give give = std::exchange(give_, nullptr);
        give(std::exchange(out_, {}));
    }

    boost::asio::io_context& io_;
    boost::asio::steady_timer timer_;
    CaptureDesk::Access access_;
    CaptureWish wish_;
    channel::Hello hello_;
    channel::Capture order_{};
    std::vector<Source> sources_;
    Clock::time_point begin_limit_;
    Clock::time_point renew_at_;
    std::optional<Clock::time_point> until_;
    std::int64_t realtime_offset_ = 0; // from CLOCK_MONOTONIC, kept for the whole capture
    bool headed_ = false;
    const char* why_ended_ = nullptr;
    bool ended_ = false;
    std::string out_;
    Give give_;
    std::uint64_t total_ = 0;
    std::vector<std::uint64_t> delivered_; // by interface
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::string> names_;
};

HttpResponse refusal(unsigned status, const std::string& sentence) {
    const nlohmann::json body{{"error", sentence}};
    return {status, "application/json",
            body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", nullptr};
}

} // namespace

Expected<CaptureWish> capture_wish(const Snapshot& snapshot, const std::string& query) {
    CaptureWish wish;
    wish.filter.verdicts = ~lb::VerdictSet{0};
    if (const std::string vip = query_value(query, "vip"); !vip.empty()) {
        const auto row = vip_row(snapshot, vip);
        if (!row)
            return row.error();
        wish.filter.vip = *row;
    }
    if (const std::string verdict = query_value(query, "verdict"); !verdict.empty()) {
        const auto set = verdict_sets(verdict);
        if (!set)
            return set.error();
        wish.filter.verdicts = *set;
    }
    const auto count = query_number(query, "count", 1, UINT64_MAX, wish.count);
    if (!count)
        return count.error();
    wish.count = *count;
    const auto snaplen =
        query_number(query, "snaplen", 1, lb::kCaptureSlotBytes, wish.filter.snaplen);
    if (!snaplen)
        return snaplen.error();
    wish.filter.snaplen = static_cast<std::uint32_t>(*snaplen);
    if (const std::string duration = query_value(query, "duration"); !duration.empty()) {
        const auto value = config::parse_duration(duration);
        if (!value)
            return Error{"duration: " + value.error().sentence};
        wish.duration = *value;
    }
    return wish;
}

CaptureDesk::CaptureDesk(boost::asio::io_context& io, Access access)
    : io_(io), access_(std::move(access)) {}

HttpResponse CaptureDesk::start(const HttpRequest& request) {
    if (!request.local)
        return refusal(403, "packets are given over the Unix socket only");
    if (!running_.expired())
        return refusal(409, "another capture is running; only one can");
    const Snapshot snapshot = access_.snapshot();
    if (snapshot.choice.kind == EngineKind::kXdp)
        return refusal(409, "the XDP engine does not copy packets; DPDK does (engine.mode)");
    if (snapshot.engine == nullptr || snapshot.compiled == nullptr)
        return refusal(503, "weir-dataplane is not connected: there are no packets to capture");
    const auto wish = capture_wish(snapshot, request.query);
    if (!wish)
        return refusal(400, wish.error().sentence);
    auto stream = std::make_shared<CaptureStream>(io_, access_, *wish, *snapshot.engine);
    if (!stream->begin())
        return refusal(503, "weir-dataplane went away");
    running_ = stream;
    return {200, "application/x-pcapng", "", std::move(stream)};
}

} // namespace weir::control
