// SPDX-License-Identifier: BSD-3-Clause
// What the engine and the control process say to each other over the SOCK_SEQPACKET socket
// `dataplane.sock` in the runtime directory. The engine listens; the newest control connection is
// the one it obeys. One message is one packet; a message carries at most one descriptor
// (SCM_RIGHTS).
//
//   control -> engine   Memory (connections)*, Memory (legend), then Kept, first of all: what it
//   keeps
//                       of an engine that is gone, if anything
//   engine  -> control  Hello, Memory (counters), Memory (connections)*, Memory (legend),
//                       Memory (captures)*, Memory (segment)*, Memory (root) if a generation is
//                       running, Ready
//   control -> engine   Memory (given), before the first Publish: connections that another engine
//                       has made meanwhile
//   control -> engine   Memory (segment)* for slot tables the engine does not hold, then Publish
//   engine  -> control  Ack: accepted and live on every worker, or refused whole with the reason
//   control -> engine   AttachTap: the kernel side of a bypassed interface exists now
//   engine  -> control  Ack of it (generation 0)
//   control -> engine   Capture: copy packets into the capture rings for a while. Not answered: the
//                       workers note in their rings that they have begun
//
// Control keeps connections and legend for the engine that comes next, which takes them over in
// place where it can: they outlive the engine as long as control lives.
//
// The engine keeps the segments of the generation it runs; control sends only the others.
#pragma once

#include "dataplane/forwarding/limits.h"

#include <cstdint>
#include <type_traits>

namespace weir::channel {

inline constexpr std::uint32_t kProtocolVersion = 5;
inline constexpr const char* kSocketName = "dataplane.sock";
// In the same directory: a running control process listens there.
inline constexpr const char* kControlSocketName = "control.sock";

enum class MessageType : std::uint32_t {
    hello = 1,
    memory,
    ready,
    publish,
    ack,
    attach_tap,
    capture,
    kept
};

struct MessageHeader {
    MessageType type;
    std::uint32_t version; // kProtocolVersion
};

enum class InterfaceKind : std::uint32_t {
    kernel_visible = 1, // AF_XDP on a kernel interface
    bypassed,           // the kernel does not see the device
};

struct InterfaceInfo {
    char name[32];        // of [interface.NAME]
    char kernel_name[16]; // kernel_visible: the interface; bypassed: empty
    char driver[32];      // DPDK's driver name
    std::uint8_t mac[6];
    std::uint16_t mtu;
    InterfaceKind kind;
    std::uint32_t queues;
    std::uint32_t steering_controlled; // 1: RSS puts a flow's packets on the worker that owns it
};

struct Hello {
    MessageHeader header;
    std::uint64_t generation; // running; 0: none yet
    std::uint32_t pid;
    std::uint32_t workers;
    std::uint32_t interfaces;
    std::uint32_t connections_per_worker;
    std::uint32_t hugepages;      // 1: tables lie in huge pages
    std::uint32_t spread_entries; // of the table all devices spread by; 0: not under our control
    std::uint64_t started_ns;     // CLOCK_MONOTONIC
    InterfaceInfo interface[WEIR_MAX_INTERFACES]; // in the order of the configuration
};

enum class MemoryKind : std::uint32_t {
    counters = 1,
    connections,
    segment,
    root,
    captures,
    legend,
    given_connections, // lb::GivenConnection, sealed
    given_networks,    // lb::GivenNetwork, sealed
};

struct Memory { // one descriptor attached
    MessageHeader header;
    MemoryKind kind;
    std::uint32_t worker; // connections, captures: whose
    std::uint64_t id;     // segment: its id; root: the generation
};

struct Kept { // everything kept has been sent
    MessageHeader header;
};

struct Ready {
    MessageHeader header;
};

struct Publish { // the root's descriptor attached
    MessageHeader header;
    std::uint64_t generation;
};

struct Ack {
    MessageHeader header;
    std::uint64_t generation; // the one answered; 0 for attach_tap
    std::uint32_t accepted;
    std::uint32_t reserved;
    char sentence[256]; // why not, when refused
};

struct AttachTap {
    MessageHeader header;
    std::uint32_t interface; // index into Hello::interface
    char kernel_name[16];
};

struct Capture {
    MessageHeader header;
    std::uint32_t session;  // not 0; an order for the one under way only renews its lease
    std::uint32_t vip;      // row, or all ones for any
    std::uint64_t verdicts; // a bit for each verdict
    std::uint64_t lease_ns; // the capture ends after it if it is not renewed; 0: end it now
    std::uint32_t snaplen;
    std::uint32_t reserved;
};

static_assert(std::is_trivially_copyable_v<Hello> && std::is_trivially_copyable_v<Ack>);

} // namespace weir::channel
