// SPDX-License-Identifier: BSD-3-Clause
// The configuration as plain data, after parsing and validation: every default filled in, every
// reference resolved to an index, no source positions. Made by parse.hpp; read by both processes;
// immutable once handed out. docs/configuration.md describes each key.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/address.hpp"

namespace weir::config {

using Duration = std::chrono::milliseconds;

// Inclusive, host byte order.
struct PortRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0;

    [[nodiscard]] bool is_all() const { return first == 0 && last == 65535; }
    [[nodiscard]] bool is_single() const { return first == last; }
    [[nodiscard]] bool contains(std::uint16_t port) const { return first <= port && port <= last; }
    [[nodiscard]] bool overlaps(const PortRange& other) const {
        return first <= other.last && other.first <= last;
    }
    [[nodiscard]] std::uint32_t size() const { return std::uint32_t{last} - first + 1; }
    friend bool operator==(const PortRange&, const PortRange&) = default;
};
inline constexpr PortRange kAllPorts{0, 65535};

struct NodeConfig {
    std::string name = "weir";
    friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

enum class EngineMode : std::uint8_t { kAuto, kDpdk, kXdp };
enum class IdlePolicy : std::uint8_t { kPoll, kAdaptive };
enum class HugepageUse : std::uint8_t { kAuto, kOn, kOff };

struct EngineConfig {
    EngineMode mode = EngineMode::kAuto;
    std::vector<unsigned> workers; // one worker per core listed; empty means "auto"
    IdlePolicy idle = IdlePolicy::kAdaptive;
    std::uint32_t connections = 1'048'576; // connection-table entries per worker
    HugepageUse hugepages = HugepageUse::kAuto;
    std::chrono::seconds reset_grace{30}; // after a start: unknown TCP is dropped, not reset
    std::uint32_t answers_pps = 1'000;    // our own resets and ICMP errors, all workers together
    std::uint32_t icmp_pps = 1'000;       // relayed ICMP errors without a connection, likewise
    friend bool operator==(const EngineConfig&, const EngineConfig&) = default;
};

struct PciDevice {       // kernel-bypassed, bound to vfio-pci
    std::string address; // always the full form, lower case: "0000:3b:00.0"
    friend bool operator==(const PciDevice&, const PciDevice&) = default;
};
struct KernelInterface { // kernel-visible, driven through AF_XDP
    std::string name;
    friend bool operator==(const KernelInterface&, const KernelInterface&) = default;
};
struct VdevDevice {        // kernel-bypassed, any DPDK virtual device
    std::string arguments; // what EAL's --vdev takes, without the "vdev:" in front
    friend bool operator==(const VdevDevice&, const VdevDevice&) = default;
};
using Device = std::variant<PciDevice, KernelInterface, VdevDevice>;

std::string to_string(const Device& device); // as written in the configuration

// Packets per second handed to the kernel-side interface, per class. Each class has its own budget,
// so that a flood in one cannot take the place of another.
struct PuntLimits {
    std::uint32_t control_pps = 20'000; // ARP, NDP, BGP, BFD, VRRP
    std::uint32_t echo_pps = 1'000;     // ICMP and ICMPv6 echo
    std::uint32_t other_pps = 20'000;   // everything else that is not for a VIP
    friend bool operator==(const PuntLimits&, const PuntLimits&) = default;
};

struct InterfaceConfig {
    std::string name;
    Device device;
    std::vector<net::IpPrefix> addresses; // set on the kernel-side interface, host bits kept
    std::optional<net::IpAddress> gateway_v4;
    std::optional<net::IpAddress> gateway_v6;
    std::uint16_t mtu = 1500; // bytes of L3
    std::optional<std::uint16_t> vlan;
    // The kernel-side interface: the NIC itself when kernel-visible, else the TAP that control
    // makes.
    std::string kernel_interface;
    PuntLimits punt;

    [[nodiscard]] bool is_kernel_visible() const {
        return std::holds_alternative<KernelInterface>(device);
    }
    friend bool operator==(const InterfaceConfig&, const InterfaceConfig&) = default;
};

struct SnatConfig {
    std::vector<net::IpPrefix> addresses; // empty: the outgoing interface's own address
    PortRange ports{40000, 59999};
    friend bool operator==(const SnatConfig&, const SnatConfig&) = default;
};

// Outer addresses and ports of dsr-ipip and dsr-gue.
struct TunnelConfig {
    // At most one range a family. A family without: the first address of an interface.
    std::vector<net::IpPrefix> sources;
    std::uint16_t gue_port = 6080; // registered for GUE, draft-ietf-intarea-gue
    friend bool operator==(const TunnelConfig&, const TunnelConfig&) = default;
};

enum class Scheduler : std::uint8_t {
    kMaglev,
    kRoundRobin,
    kWeightedRoundRobin,
    kLeastConnections,
    kWeightedLeastConnections,
    kSourceHash,
};

enum class HealthType : std::uint8_t {
    kNone,
    kTcp,
    kHttp,
    kHttps,
    kTls,
    kUdp,
    kDns,
    kIcmp,
    kGrpc,
    kExec
};

struct StatusRange { // inclusive
    std::uint16_t first = 200;
    std::uint16_t last = 399;
    friend bool operator==(const StatusRange&, const StatusRange&) = default;
};

struct HealthConfig {
    HealthType type = HealthType::kTcp;
    std::string path = "/";                     // http
    std::string host;                           // http; empty: the backend's own address and port
    std::vector<StatusRange> expect_status{{}}; // http
    std::string expect_body;                    // http; the body must contain it; empty: anything
    std::optional<std::uint16_t> port;          // as written; BackendConfig::probe_port is resolved
    Duration interval = std::chrono::seconds(2);
    Duration timeout = std::chrono::seconds(1);
    std::uint16_t rise = 2; // consecutive successes before up
    std::uint16_t fall = 3; // consecutive failures before down
    friend bool operator==(const HealthConfig&, const HealthConfig&) = default;
};

struct BackendConfig {
    std::string name;      // unique in its pool; the address text when not given
    net::Endpoint address; // without a port: the VIP's port (or the client's destination port)
    std::uint16_t weight = 1;
    bool backup = false;               // serves only while too few of the others are up
    std::uint32_t max_connections = 0; // of all workers together; 0: no limit
    std::uint16_t probe_port = 0;      // resolved; 0 only when the pool's health type is none
    friend bool operator==(const BackendConfig&, const BackendConfig&) = default;
};

// A client network that was here within `timeout` goes where it went before.
struct PersistenceConfig {
    std::chrono::seconds timeout{}; // whole seconds, 1 s to 18 h
    std::uint8_t prefix_v4 = 32;    // 1..32
    std::uint8_t prefix_v6 = 128;   // 1..128
    friend bool operator==(const PersistenceConfig&, const PersistenceConfig&) = default;
};

struct PoolConfig {
    std::string name;
    Scheduler scheduler = Scheduler::kMaglev;
    std::uint32_t maglev_size = 65537; // prime, at most 65537: what one table of u16 slots holds
    std::vector<BackendConfig> backends;
    HealthConfig health;
    std::uint8_t panic_threshold_percent =
        0; // below this share of healthy: on_all_down; 0: none up
    std::optional<PersistenceConfig> persistence;
    friend bool operator==(const PoolConfig&, const PoolConfig&) = default;
};

enum class Protocol : std::uint8_t { kTcp = 6, kUdp = 17 }; // IANA protocol numbers
enum class ForwardMode : std::uint8_t { kDsrL2, kDsrIpip, kDsrGue, kNat, kFullNat };
enum class Tracking : std::uint8_t { kFull, kExceptions };
enum class OnBackendDown : std::uint8_t { kReset, kReselect, kKeep };
enum class OnAllDown : std::uint8_t { kOpen, kReject, kDrop };
enum class OnLimit : std::uint8_t { kReject, kDrop };

inline bool is_dsr(ForwardMode mode) {
    return mode != ForwardMode::kNat && mode != ForwardMode::kFullNat;
}
inline bool encapsulates(ForwardMode mode) {
    return mode == ForwardMode::kDsrIpip || mode == ForwardMode::kDsrGue;
}

// Idle timeouts; whole seconds, 1 s to 18 h.
struct ConnectionTimeouts {
    std::chrono::seconds syn{30};
    std::chrono::seconds established{3600};
    std::chrono::seconds fin{60};
    std::chrono::seconds rst{10};
    std::chrono::seconds udp{60};
    friend bool operator==(const ConnectionTimeouts&, const ConnectionTimeouts&) = default;
};

struct VipConfig {
    std::string name;
    net::IpAddress address;
    PortRange ports; // kAllPorts for port = 0
    Protocol protocol = Protocol::kTcp;
    ForwardMode forward = ForwardMode::kFullNat;
    std::size_t pool = 0; // index into Config::pools
    Tracking tracking = Tracking::kFull;
    ConnectionTimeouts timeouts;
    OnBackendDown on_backend_down = OnBackendDown::kReselect;
    OnAllDown on_all_down = OnAllDown::kOpen;
    OnLimit on_limit = OnLimit::kReject;
    std::uint32_t max_connections = 0; // table entries per worker; 0: no limit of its own
    bool mss_clamp = true;             // dsr-ipip and dsr-gue: SYNs get an MSS that fits
    bool packet_too_big = true;        // an oversized packet that may not be fragmented: answered
    friend bool operator==(const VipConfig&, const VipConfig&) = default;
};

enum class OwnershipMode : std::uint8_t { kStatic, kVrrp, kBgp };
enum class VrrpFamily : std::uint8_t { kIpv4, kIpv6 };
enum class VrrpChecksum : std::uint8_t { kPseudoHeader, kPlain };

// Addresses that one node of several has, all of them or none: one VRRP virtual router.
struct VrrpGroupConfig {
    std::string name;
    std::size_t interface = 0; // index into Config::interfaces: where adverts go
    std::uint8_t vrid = 0;
    std::uint8_t priority = 100;
    std::uint8_t version = 3;
    VrrpFamily family = VrrpFamily::kIpv4; // of the adverts
    Duration advert_interval{30};
    bool preempt = true;
    Duration preempt_delay{0};
    std::vector<net::IpAddress> peers; // empty: multicast
    VrrpChecksum checksum = VrrpChecksum::kPseudoHeader;
    std::string secret_file;                // empty: adverts are not signed
    std::vector<net::IpAddress> addresses;  // those of its VIPs and listed ones; each once
    bool snat = false;                      // the addresses of [snat] and [tunnel] move with it too
    std::vector<net::IpAddress> advertised; // of `family`, some or all of `addresses`
    std::vector<std::size_t> vips;          // indices into Config::vips, resolved
    // What is taken off the priority; 0: the fact is not tracked.
    std::uint8_t lower_interface_down = 0;
    std::uint8_t lower_worker_stalled = 0;
    std::uint8_t lower_below_quorum = 0;
    std::uint8_t quorum_percent = 0; // of the backends of a pool of the group's VIPs
    friend bool operator==(const VrrpGroupConfig&, const VrrpGroupConfig&) = default;
};

struct Config {
    NodeConfig node;
    EngineConfig engine;
    std::vector<InterfaceConfig> interfaces; // this and the lists below: in the order of the file
    SnatConfig snat;
    TunnelConfig tunnel;
    std::vector<PoolConfig> pools;
    std::vector<VipConfig> vips;
    OwnershipMode ownership = OwnershipMode::kStatic;
    std::vector<VrrpGroupConfig> vrrp_groups; // only with OwnershipMode::kVrrp
    std::optional<net::Endpoint> api_listen;  // with its port
    std::string hash_key_file;                // empty: a key of this node's own
    friend bool operator==(const Config&, const Config&) = default;
};

// The outer source addresses of a family: those of [tunnel], else the first address of an
// interface; nothing when there is neither.
std::optional<net::IpPrefix> tunnel_source(const Config& config, bool v4);

// The words used in the configuration, for messages and for weirctl.
std::string_view to_string(EngineMode mode);
std::string_view to_string(IdlePolicy idle);
std::string_view to_string(HugepageUse use);
std::string_view to_string(Scheduler scheduler);
std::string_view to_string(HealthType type);
std::string_view to_string(Protocol protocol);
std::string_view to_string(ForwardMode mode);
std::string_view to_string(Tracking tracking);
std::string_view to_string(OnBackendDown policy);
std::string_view to_string(OnAllDown policy);
std::string_view to_string(OnLimit policy);
std::string_view to_string(OwnershipMode mode);
std::string_view to_string(VrrpFamily family);
std::string_view to_string(VrrpChecksum form);
std::string to_string(const PortRange& ports); // "80", "8000-8099", "0" for all

} // namespace weir::config
