// SPDX-License-Identifier: BSD-3-Clause
// The word tables of words.hpp and the to_string() functions of config.hpp.
#include "config/words.hpp"

#include <array>
#include <type_traits>

namespace weir::config {
namespace {

constexpr Availability kNow = Availability::kNow;
constexpr Availability kNotYet = Availability::kNotYet;

constexpr std::array kEngineModes = {
    Word<EngineMode>{EngineMode::kAuto, "auto", kNow},
    Word<EngineMode>{EngineMode::kDpdk, "dpdk", kNow},
    Word<EngineMode>{EngineMode::kXdp, "xdp", kNow},
};
constexpr std::array kIdlePolicies = {
    Word<IdlePolicy>{IdlePolicy::kPoll, "poll", kNow},
    Word<IdlePolicy>{IdlePolicy::kAdaptive, "adaptive", kNow},
};
constexpr std::array kHugepageUses = {
    Word<HugepageUse>{HugepageUse::kAuto, "auto", kNow},
    Word<HugepageUse>{HugepageUse::kOn, "on", kNow},
    Word<HugepageUse>{HugepageUse::kOff, "off", kNow},
};
constexpr std::array kSchedulers = {
    Word<Scheduler>{Scheduler::kMaglev, "maglev", kNow},
    Word<Scheduler>{Scheduler::kRoundRobin, "rr", kNow},
    Word<Scheduler>{Scheduler::kWeightedRoundRobin, "wrr", kNow},
    Word<Scheduler>{Scheduler::kLeastConnections, "lc", kNow},
    Word<Scheduler>{Scheduler::kWeightedLeastConnections, "wlc", kNow},
    Word<Scheduler>{Scheduler::kSourceHash, "source-hash", kNow},
};
constexpr std::array kHealthTypes = {
    Word<HealthType>{HealthType::kNone, "none", kNow},
    Word<HealthType>{HealthType::kTcp, "tcp", kNow},
    Word<HealthType>{HealthType::kHttp, "http", kNow},
    Word<HealthType>{HealthType::kHttps, "https", kNotYet},
    Word<HealthType>{HealthType::kTls, "tls", kNotYet},
    Word<HealthType>{HealthType::kUdp, "udp", kNotYet},
    Word<HealthType>{HealthType::kDns, "dns", kNotYet},
    Word<HealthType>{HealthType::kIcmp, "icmp", kNotYet},
    Word<HealthType>{HealthType::kGrpc, "grpc", kNotYet},
    Word<HealthType>{HealthType::kExec, "exec", kNotYet},
};
constexpr std::array kProtocols = {
    Word<Protocol>{Protocol::kTcp, "tcp", kNow},
    Word<Protocol>{Protocol::kUdp, "udp", kNow},
};
constexpr std::array kForwardModes = {
    Word<ForwardMode>{ForwardMode::kDsrL2, "dsr-l2", kNow},
    Word<ForwardMode>{ForwardMode::kDsrIpip, "dsr-ipip", kNow},
    Word<ForwardMode>{ForwardMode::kDsrGue, "dsr-gue", kNow},
    Word<ForwardMode>{ForwardMode::kNat, "nat", kNow},
    Word<ForwardMode>{ForwardMode::kFullNat, "full-nat", kNow},
};
constexpr std::array kTrackings = {
    Word<Tracking>{Tracking::kFull, "full", kNow},
    Word<Tracking>{Tracking::kExceptions, "exceptions", kNow},
};
constexpr std::array kOnBackendDowns = {
    Word<OnBackendDown>{OnBackendDown::kReset, "reset", kNow},
    Word<OnBackendDown>{OnBackendDown::kReselect, "reselect", kNow},
    Word<OnBackendDown>{OnBackendDown::kKeep, "keep", kNow},
};
constexpr std::array kOnAllDowns = {
    Word<OnAllDown>{OnAllDown::kOpen, "open", kNow},
    Word<OnAllDown>{OnAllDown::kReject, "reject", kNow},
    Word<OnAllDown>{OnAllDown::kDrop, "drop", kNow},
};
constexpr std::array kOnLimits = {
    Word<OnLimit>{OnLimit::kReject, "reject", kNow},
    Word<OnLimit>{OnLimit::kDrop, "drop", kNow},
};
constexpr std::array kOwnershipModes = {
    Word<OwnershipMode>{OwnershipMode::kStatic, "static", kNow},
    Word<OwnershipMode>{OwnershipMode::kVrrp, "vrrp", kNow},
    Word<OwnershipMode>{OwnershipMode::kBgp, "bgp", kNotYet},
};
constexpr std::array kVrrpFamilies = {
    Word<VrrpFamily>{VrrpFamily::kIpv4, "ipv4", kNow},
    Word<VrrpFamily>{VrrpFamily::kIpv6, "ipv6", kNow},
};
constexpr std::array kVrrpChecksums = {
    Word<VrrpChecksum>{VrrpChecksum::kPseudoHeader, "pseudo-header", kNow},
    Word<VrrpChecksum>{VrrpChecksum::kPlain, "plain", kNow},
};

} // namespace

template <> std::span<const Word<EngineMode>> words() {
    return kEngineModes;
}
template <> std::span<const Word<IdlePolicy>> words() {
    return kIdlePolicies;
}
template <> std::span<const Word<HugepageUse>> words() {
    return kHugepageUses;
}
template <> std::span<const Word<Scheduler>> words() {
    return kSchedulers;
}
template <> std::span<const Word<HealthType>> words() {
    return kHealthTypes;
}
template <> std::span<const Word<Protocol>> words() {
    return kProtocols;
}
template <> std::span<const Word<ForwardMode>> words() {
    return kForwardModes;
}
template <> std::span<const Word<Tracking>> words() {
    return kTrackings;
}
template <> std::span<const Word<OnBackendDown>> words() {
    return kOnBackendDowns;
}
template <> std::span<const Word<OnAllDown>> words() {
    return kOnAllDowns;
}
template <> std::span<const Word<OnLimit>> words() {
    return kOnLimits;
}
template <> std::span<const Word<OwnershipMode>> words() {
    return kOwnershipModes;
}
template <> std::span<const Word<VrrpFamily>> words() {
    return kVrrpFamilies;
}
template <> std::span<const Word<VrrpChecksum>> words() {
    return kVrrpChecksums;
}

std::string_view to_string(EngineMode mode) {
    return word_of(mode).text;
}
std::string_view to_string(IdlePolicy idle) {
    return word_of(idle).text;
}
std::string_view to_string(HugepageUse use) {
    return word_of(use).text;
}
std::string_view to_string(Scheduler scheduler) {
    return word_of(scheduler).text;
}
std::string_view to_string(HealthType type) {
    return word_of(type).text;
}
std::string_view to_string(Protocol protocol) {
    return word_of(protocol).text;
}
std::string_view to_string(ForwardMode mode) {
    return word_of(mode).text;
}
std::string_view to_string(Tracking tracking) {
    return word_of(tracking).text;
}
std::string_view to_string(OnBackendDown policy) {
    return word_of(policy).text;
}
std::string_view to_string(OnAllDown policy) {
    return word_of(policy).text;
}
std::string_view to_string(OnLimit policy) {
    return word_of(policy).text;
}
std::string_view to_string(OwnershipMode mode) {
    return word_of(mode).text;
}
std::string_view to_string(VrrpFamily family) {
    return word_of(family).text;
}
std::string_view to_string(VrrpChecksum form) {
    return word_of(form).text;
}

std::string to_string(const PortRange& ports) {
    if (ports.is_all()) {
        return "0";
    }
    std::string text = std::to_string(ports.first);
    if (!ports.is_single()) {
        text += "-" + std::to_string(ports.last);
    }
    return text;
}

std::string to_string(const Device& device) {
    return std::visit(
        [](const auto& alternative) -> std::string {
            using Alternative = std::decay_t<decltype(alternative)>;
            if constexpr (std::is_same_v<Alternative, PciDevice>) {
                return alternative.address;
            } else if constexpr (std::is_same_v<Alternative, KernelInterface>) {
                return alternative.name;
            } else {
                return "vdev:" + alternative.arguments;
            }
        },
        device);
}

} // namespace weir::config
