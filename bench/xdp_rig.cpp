// SPDX-License-Identifier: BSD-3-Clause
#include "bench/xdp_rig.hpp"

#include "bench/frames.hpp"
#include "bench/timing.hpp"
#include "config/or_throw.hpp"
#include "dataplane/lb/counters.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace weir::bench {
namespace {

constexpr std::uint32_t kLoopback = 1;        // a device that is always there
constexpr std::uint32_t kFirstNew = 1u << 27; // flow numbers that fill() does not reach
constexpr std::uint64_t kLeastCapacity = 1'250'000;
constexpr std::uint64_t kSynTimeout_ns = 31'000'000'000;
constexpr std::uint64_t kFillPart = 1'000'000; // flows
constexpr std::uint16_t kBackendPort = 8080;

[[noreturn]] void fail(const std::string& what, int error) {
    throw std::runtime_error(what + ": " + std::strerror(error));
}

xdp::BalancerSizes sizes_for(const lb::ForwardingState& state, std::uint64_t connections) {
    xdp::BalancerSizes sizes;
    sizes.rows = {.vips = static_cast<std::uint32_t>(state.vips().size()),
                  .pools = static_cast<std::uint32_t>(state.pools().size()),
                  .members = static_cast<std::uint32_t>(state.members().size()),
                  .backends = static_cast<std::uint32_t>(state.backends().size()),
                  .next_hops = static_cast<std::uint32_t>(state.next_hops().size()),
                  .slot_rows = 0};
    for (const weir_pool_row& pool : state.pools())
        sizes.rows.slot_rows += xdp::slot_rows_of(pool.slot_count);
    sizes.connections = static_cast<std::uint32_t>(connections);
    return sizes;
}

void put16(std::uint8_t* to, std::uint32_t value) {
    to[0] = static_cast<std::uint8_t>(value >> 8);
    to[1] = static_cast<std::uint8_t>(value);
}

// Of the words as they lie in memory: the checksum does not mind the order of bytes.
std::uint32_t sum_of(const std::uint8_t* bytes, std::size_t count) {
    std::uint32_t sum = 0;
    for (std::size_t at = 0; at < count; at += 2) {
        std::uint16_t word;
        std::memcpy(&word, bytes + at, sizeof(word));
        sum += word;
    }
    return sum;
}

std::string verdicts_of(const weir_balancer_counts& counts) {
    std::string text;
    for (std::uint32_t verdict = 0; verdict < WEIR_VERDICT_COUNT; verdict++)
        if (counts.verdicts[verdict] != 0)
            text += std::string(lb::verdict_info(verdict).name) + " " +
                    std::to_string(counts.verdicts[verdict]) + " ";
    return text;
}

} // namespace

void XdpRig::CloseObject::operator()(bpf_object* object) const {
    bpf_object__close(object);
}

XdpRig::XdpRig(const Shape& shape, std::uint64_t flows)
    : shape_(shape), flows_(flows), world_(shape), generation_(world_.step().generation),
      next_new_(kFirstNew) {
    sched_getaffinity(0, sizeof(before_), &before_);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(static_cast<std::size_t>(sched_getcpu()), &here);
    sched_setaffinity(0, sizeof(here), &here);
    const std::uint64_t room =
        records() ? std::max(kLeastCapacity, flows * 5 / 4) : std::uint64_t{1} << 16;
    balancer_.emplace(or_throw(xdp::Balancer::load(sizes_for(generation_->state(), room))));
    or_throw(balancer_->publish(generation_->state(), {&kLoopback, 1}, monotonic_ns()));
    const lb::ForwardingState& state = generation_->state();
    sorter_.emplace(or_throw(xdp::Sorter::load()));
    or_throw(sorter_->publish({state.header().match, state.ranges(), state.match_rows()},
                              state.generation()));
    load_harness();
    if (records())
        fill();
}

XdpRig::~XdpRig() {
    sched_setaffinity(0, sizeof(before_), &before_);
}

int XdpRig::descriptor(const char* map) const {
    return bpf_object__find_map_fd_by_name(harness_.get(), map);
}

void XdpRig::load_harness() {
    harness_.reset(bpf_object__open_file(WEIR_XDP_HARNESS_OBJECT, nullptr));
    if (!harness_)
        fail("open the harness", errno);
    bpf_map* ways = bpf_object__find_map_by_name(harness_.get(), "ways_back");
    const bool full_nat = shape_.mode == config::ForwardMode::kFullNat;
    bpf_map__set_max_entries(ways, full_nat ? static_cast<std::uint32_t>(flows_) : 1);
    if (const int error = bpf_object__load(harness_.get()); error != 0)
        fail("load the harness", -error);
    plan_ = or_throw(xdp::Mapping::of(descriptor("plans"), "plans"));
    ways_back_ = or_throw(xdp::Mapping::of(descriptor("ways_back"), "ways_back"));
    const auto program = [&](const char* name) {
        return bpf_program__fd(bpf_object__find_program_by_name(harness_.get(), name));
    };
    const int programs[WEIR_BENCH_TARGETS] = {program("weir_bench_nothing"),
                                              program("weir_bench_macswap"), balancer_->program(),
                                              sorter_->program()};
    for (std::uint32_t target = 0; target < WEIR_BENCH_TARGETS; target++)
        if (bpf_map_update_elem(descriptor("targets"), &target, &programs[target], BPF_ANY) != 0)
            fail("put a program behind the harness", errno);
}

void XdpRig::make_template(const Segment& segment) {
    auto& plan = *reinterpret_cast<weir_bench_plan*>(plan_.value(0));
    static constexpr std::uint8_t kMacs[12] = {2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 1};
    static constexpr std::uint8_t kNetwork[12] = {0x20, 0x01, 0x0d, 0xb8, 0x00, 0x0c};
    std::uint8_t* frame = plan.frame;
    std::memset(frame, 0, sizeof(plan.frame));
    std::memcpy(frame, kMacs, sizeof(kMacs));
    std::uint8_t* l3 = frame + 14;
    std::uint8_t* l4 = l3 + (shape_.v6 ? 40 : 20);
    if (shape_.v6) {
        put16(frame + 12, 0x86dd);
        l3[0] = 0x60;
        put16(l3 + 4, WEIR_BENCH_V6_BYTES - 54);
        l3[6] = 6;
        l3[7] = 64;
        std::memcpy(l3 + 8, kNetwork, sizeof(kNetwork));
        if (segment.destination)
            std::memcpy(l3 + 24, segment.destination->bytes().data(), 16);
    } else {
        put16(frame + 12, 0x0800);
        l3[0] = 0x45;
        put16(l3 + 2, WEIR_BENCH_V4_BYTES - 14);
        l3[8] = 64;
        l3[9] = 6;
        if (segment.destination)
            std::memcpy(l3 + 16, segment.destination->bytes().data() + 12, 4);
    }
    put16(l4, segment.source_port);
    put16(l4 + 2, segment.destination_port);
    l4[12] = 0x50;
    l4[13] = segment.flags;
    put16(l4 + 14, 0xfaf0);
    plan.sum = sum_of(l3, 20);
}

// `count` repetitions; ns of each.
double XdpRig::repeat(const char* program, std::uint32_t count) {
    const auto& plan = *reinterpret_cast<const weir_bench_plan*>(plan_.value(0));
    std::uint8_t out[WEIR_BENCH_MAX_BYTES + 64];
    LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = plan.frame, .data_out = out,
                .data_size_in = shape_.v6 ? WEIR_BENCH_V6_BYTES : WEIR_BENCH_V4_BYTES,
                .data_size_out = sizeof(out), .repeat = static_cast<int>(count));
    const int descriptor =
        bpf_program__fd(bpf_object__find_program_by_name(harness_.get(), program));
    if (bpf_prog_test_run_opts(descriptor, &run) != 0)
        fail("run the harness", errno);
    const std::uint32_t answer = plan.target == WEIR_BENCH_SORTER ? +WEIR_STEER_TO_ENGINE : +XDP_TX;
    if (run.retval != answer)
        throw std::runtime_error("the last packet was not sent; so far: " +
                                 verdicts_of(or_throw(balancer_->counts())));
    return run.duration;
}

// A packet of each of these flows through the balancer.
void XdpRig::pass_once(std::uint8_t flags, bool reply, std::uint64_t first, std::uint64_t count) {
    auto& plan = *reinterpret_cast<weir_bench_plan*>(plan_.value(0));
    if (reply)
        make_template({{}, kBackendPort, 0, flags});
    else
        make_template({vip_address(shape_.v6, 0), 0, kServicePort, flags});
    plan.target = WEIR_BENCH_BALANCER;
    plan.flows = 0;
    plan.next = static_cast<std::uint32_t>(first);
    repeat(reply       ? "weir_bench_reply"
           : shape_.v6 ? "weir_bench_v6"
                       : "weir_bench_v4",
           static_cast<std::uint32_t>(count));
}

// In parts, of which each is done before the first of it has waited too long for its handshake.
void XdpRig::fill() {
    for (std::uint64_t first = 0; first < flows_; first += kFillPart) {
        const std::uint64_t count = std::min(kFillPart, flows_ - first);
        pass_once(kSyn, false, first, count);
        if (shape_.mode == config::ForwardMode::kFullNat) {
            note_ways_back();
            pass_once(kSynAck, true, first, count);
        }
        pass_once(kAck, false, first, count);
    }
    const weir_balancer_counts counts = or_throw(balancer_->counts());
    if (counts.connections_opened != flows_)
        throw std::runtime_error("of " + std::to_string(flows_) + " flows " +
                                 std::to_string(counts.connections_opened) + " were recorded");
}

void XdpRig::note_ways_back() {
    const lb::ForwardingState& state = generation_->state();
    or_throw(balancer_->for_each_connection(
        [&](const weir_connection_key& key, const weir_connection& connection) {
            const std::uint32_t client = weir_swap32(weir_address_v4(&key.client)) - 0x64000000u;
            const std::uint32_t port = weir_swap16(key.client_port) - WEIR_BENCH_FIRST_PORT;
            const std::uint32_t flow = client << 4 | port / WEIR_BENCH_PORT_STEP;
            if (flow >= flows_)
                return;
            const weir_bench_way_back way = {
                weir_address_v4(&state.backends()[connection.backend].address),
                weir_address_v4(&state.snat()[connection.snat_address].address),
                connection.snat_port,
                {}};
            std::memcpy(ways_back_.value(flow), &way, sizeof(way));
        }));
}

double XdpRig::run(Packets packets, weir_bench_target target, std::uint32_t count) {
    auto& plan = *reinterpret_cast<weir_bench_plan*>(plan_.value(0));
    const bool reply = packets == Packets::kReply;
    const bool recorded = packets == Packets::kNew && records();
    if (reply)
        make_template({{}, kBackendPort, 0, kAck});
    else
        make_template(
            {vip_address(shape_.v6, 0), 0, kServicePort, packets == Packets::kNew ? kSyn : kAck});
    plan.state = plan.state * 2 + 0x9e3779b97f4a7c15u;
    plan.target = target;
    plan.flows = recorded ? 0 : static_cast<std::uint32_t>(flows_);
    plan.next = next_new_;
    const weir_balancer_counts before = or_throw(balancer_->counts());
    const double ns = repeat(reply       ? "weir_bench_reply"
                             : shape_.v6 ? "weir_bench_v6"
                                         : "weir_bench_v4",
                             count);
    if (target != WEIR_BENCH_BALANCER)
        return ns;
    const weir_balancer_counts after = or_throw(balancer_->counts());
    const auto verdict = reply ? WEIR_REPLIED : WEIR_FORWARDED;
    if (after.verdicts[verdict] - before.verdicts[verdict] != count ||
        after.connections_opened - before.connections_opened != (recorded ? count : 0))
        throw std::runtime_error("not every packet was forwarded, or other connections were "
                                 "opened than those that are new");
    if (recorded)
        next_new_ += count;
    return ns;
}

void XdpRig::forget_new() {
    or_throw(balancer_->sweep(generation_->state(), monotonic_ns() + kSynTimeout_ns));
}

} // namespace weir::bench
