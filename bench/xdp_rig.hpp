// SPDX-License-Identifier: BSD-3-Clause
// The balancer and the sorter in the kernel, on packets of numbered flows: BPF_PROG_TEST_RUN of the
// harness (xdp_harness.bpf.c), which makes each repetition another flow's packet and tail calls
// what is measured. Stays on one CPU while it exists. One thread; throws std::runtime_error.
#pragma once

#include "bench/world.hpp"
#include "bench/xdp_harness.h"
#include "xdp/balancer.hpp"
#include "xdp/sorter.hpp"

#include <sched.h>

#include <memory>
#include <optional>

struct bpf_object;

namespace weir::bench {

class XdpRig {
public:
    // Knows the connections of flows [0, flows), established, in a table that is at most 80 % full;
    // of a VIP that records exceptions only there are none to know.
    XdpRig(const Shape& shape, std::uint64_t flows);
    ~XdpRig();
    XdpRig(const XdpRig&) = delete;
    XdpRig& operator=(const XdpRig&) = delete;

    enum class Packets { kHit, kReply, kNew };
    // ns a packet of `count` of them handed to this target, the harness included. The balancer has
    // to forward each, and to record those and only those that are new; the sorter to find it ours.
    double run(Packets packets, weir_bench_target target, std::uint32_t count);
    // Forgets the new ones again. Not timed.
    void forget_new();

    const Shape& shape() const { return shape_; }
    std::uint64_t flows() const { return flows_; }
    std::uint64_t capacity() const { return balancer_->sizes().connections; }
    bool records() const { return shape_.tracking == config::Tracking::kFull; }

private:
    struct CloseObject {
        void operator()(bpf_object* object) const;
    };
    struct Segment {                               // TCP, that a template is made of
        std::optional<net::IpAddress> destination; // nothing: the harness puts it in
        std::uint16_t source_port, destination_port;
        std::uint8_t flags;
    };

    void load_harness();
    void fill();
    void note_ways_back();
    void make_template(const Segment& segment);
    double repeat(const char* program, std::uint32_t count);
    void pass_once(std::uint8_t flags, bool reply, std::uint64_t first, std::uint64_t count);
    int descriptor(const char* map) const;

    Shape shape_;
    std::uint64_t flows_;
    World world_;
    std::shared_ptr<const control::Generation> generation_;
    std::optional<xdp::Balancer> balancer_;
    std::optional<xdp::Sorter> sorter_;
    std::unique_ptr<bpf_object, CloseObject> harness_;
    xdp::Mapping plan_, ways_back_;
    std::uint32_t next_new_;
    cpu_set_t before_{};
};

} // namespace weir::bench
