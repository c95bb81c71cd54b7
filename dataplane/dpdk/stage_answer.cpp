// SPDX-License-Identifier: BSD-3-Clause
// Answer: packets that an earlier stage has dropped and whose sender should know. The answer is
// made of the packet itself, which leaves as it, by the way it came: nothing is larger than the
// packet by more than an ICMP error's headers, and all of it is rate-limited. What is over the rate
// keeps its drop verdict.
#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/forwarding/icmp_answer.h"

#include <algorithm>
#include <cstring>
#include <rte_mbuf.h>

namespace weir::dpdk {
namespace {

enum class Answer : std::uint8_t { none, reset, reset_both, unreachable, too_big, time_exceeded };

bool is_tcp(const weir_packet& packet) {
    return packet.protocol == WEIR_IP_TCP && !is_bystander(packet);
}

Answer refusal_of(const weir_packet& packet) {
    return is_tcp(packet) ? Answer::reset : Answer::unreachable;
}

// For a while after the start connections may be alive that this worker has not seen yet.
bool in_grace(const Worker& worker) {
    return worker.now_ms - worker.grace_began_ms <
           std::uint64_t{worker.state->node().reset_grace_s} * 1000;
}

Answer answer_to(const Worker& worker, const Burst& burst, std::uint32_t i) {
    const weir_packet& packet = burst.packet[i];
    const weir_vip_row* vip =
        burst.vip[i] < worker.state->vips().size() ? &worker.state->vips()[burst.vip[i]] : nullptr;
    switch (burst.verdict[i]) {
    case WEIR_DROP_NO_CONNECTION:
        return is_tcp(packet) && !in_grace(worker) ? Answer::reset : Answer::none;
    case WEIR_DROP_NO_BACKEND:
        return vip && vip->flags & WEIR_VIP_REJECT_ALL_DOWN ? refusal_of(packet) : Answer::none;
    case WEIR_DROP_BACKEND_LIMIT:
        return vip && vip->flags & WEIR_VIP_REJECT_AT_LIMIT ? refusal_of(packet) : Answer::none;
    case WEIR_DROP_BACKEND_DOWN:
        return vip && vip->on_backend_down == WEIR_BACKEND_DOWN_RESET && is_tcp(packet) &&
                       !weir_forward_is_dsr(vip->forward) // whose numbers are not all known here
                   ? Answer::reset_both
                   : Answer::none;
    case WEIR_DROP_TOO_BIG:
        return vip && vip->flags & WEIR_VIP_ANSWER_TOO_BIG && burst.mtu[i] != 0 ? Answer::too_big
                                                                                : Answer::none;
    case WEIR_DROP_TTL_EXPIRED: // 0 was expired before it came
        return vip && packet.ttl == 1 ? Answer::time_exceeded : Answer::none;
    default:
        return Answer::none;
    }
}

bool cut_to(rte_mbuf* mbuf, std::uint32_t bytes) {
    std::uint32_t have = rte_pktmbuf_data_len(mbuf);
    return have == bytes ||
           (have > bytes && rte_pktmbuf_trim(mbuf, static_cast<std::uint16_t>(have - bytes)) == 0);
}

// The frame must reach `bytes` before it can be cut: a reset is longer than a small UDP packet.
bool fit_to(rte_mbuf* mbuf, std::uint32_t bytes) {
    std::uint32_t have = rte_pktmbuf_data_len(mbuf);
    if (have < bytes)
        return rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(bytes - have)) != nullptr;
    return cut_to(mbuf, bytes);
}

weir_verdict reset(rte_mbuf* mbuf, const weir_packet& packet) {
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    weir_verdict verdict = weir_write_reset(data, data + rte_pktmbuf_data_len(mbuf), &packet);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    return fit_to(mbuf, weir_reset_frame_bytes(&packet)) ? WEIR_ANSWERED_RESET
                                                         : WEIR_DROP_TRUNCATED;
}

struct IcmpKind {
    std::uint8_t type;
    std::uint8_t code;
    weir_verdict verdict;
};

IcmpKind kind_of(Answer answer, std::uint8_t family) {
    bool v4 = family == 4;
    switch (answer) {
    case Answer::too_big:
        return v4 ? IcmpKind{WEIR_ICMP_UNREACHABLE, WEIR_ICMP_CODE_FRAGMENTATION_NEEDED,
                             WEIR_ANSWERED_TOO_BIG}
                  : IcmpKind{WEIR_ICMP6_TOO_BIG, 0, WEIR_ANSWERED_TOO_BIG};
    case Answer::time_exceeded:
        return v4 ? IcmpKind{WEIR_ICMP_TIME_EXCEEDED, 0, WEIR_ANSWERED_TIME_EXCEEDED}
                  : IcmpKind{WEIR_ICMP6_TIME_EXCEEDED, 0, WEIR_ANSWERED_TIME_EXCEEDED};
    default:
        return v4 ? IcmpKind{WEIR_ICMP_UNREACHABLE, WEIR_ICMP_CODE_PORT, WEIR_ANSWERED_UNREACHABLE}
                  : IcmpKind{WEIR_ICMP6_UNREACHABLE, WEIR_ICMP6_CODE_PORT,
                             WEIR_ANSWERED_UNREACHABLE};
    }
}

// The error speaks as the VIP: that is what the connection's ends know of us.
weir_verdict icmp_error(rte_mbuf* mbuf, const weir_packet& packet, const weir_address& speaker,
                        const IcmpKind& kind, std::uint32_t mtu) {
    auto head = static_cast<std::uint16_t>(weir_icmp_answer_bytes(&packet));
    if (!weir_may_answer(&packet) || !rte_pktmbuf_prepend(mbuf, head) ||
        !cut_to(mbuf, weir_icmp_frame_bytes(&packet)))
        return WEIR_UNDECIDED;
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    weir_verdict verdict = weir_write_icmp_error(data, data + rte_pktmbuf_data_len(mbuf), &packet,
                                                 &speaker, kind.type, kind.code, mtu);
    return verdict == WEIR_UNDECIDED ? kind.verdict : verdict;
}

// Where the backend's own reset goes, and the tuple it has.
bool aim_onward(const Worker& worker, Burst& burst, std::uint32_t i) {
    if (burst.backend[i] >= worker.state->backends().size())
        return false;
    const weir_backend_row& backend = worker.state->backends()[burst.backend[i]];
    if (backend.next_hop == WEIR_NO_ROW)
        return false;
    const weir_next_hop_row& hop = worker.state->next_hops()[backend.next_hop];
    burst.link[i] = {hop.destination_mac, hop.source_mac, hop.vlan_tci};
    burst.out_interface[i] = hop.interface;
    burst.translation[i].destination = backend.address;
    burst.translation[i].destination_port =
        weir_backend_port(&backend, burst.packet[i].destination_port);
    return hop.resolved;
}

// The reset for the backend of a connection that is being ended, in a buffer of its own: a backend
// that the probes gave up by mistake should not keep half a connection.
void reset_onward(Worker& worker, Burst& burst, std::uint32_t i) {
    rte_mbuf* mbuf = burst.generated_count < kMostGenerated && aim_onward(worker, burst, i)
                         ? rte_pktmbuf_alloc(worker.context.pool)
                         : nullptr;
    if (!mbuf)
        return;
    weir_packet packet = burst.packet[i];
    std::uint32_t have = rte_pktmbuf_data_len(burst.mbuf[i]);
    std::uint32_t bytes = weir_reset_frame_bytes(&packet);
    auto* data = reinterpret_cast<std::uint8_t*>(
        rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(std::max(bytes, have))));
    if (data) {
        std::memcpy(data, rte_pktmbuf_mtod(burst.mbuf[i], const std::uint8_t*), have);
        if (weir_write_reset_onward(data, data + rte_pktmbuf_data_len(mbuf), &packet,
                                    &burst.translation[i]) == WEIR_UNDECIDED &&
            fit_to(mbuf, bytes) && give_link(mbuf, packet, burst.link[i]) == WEIR_UNDECIDED) {
            burst.generated[burst.generated_count++] = {
                mbuf, static_cast<std::uint8_t>(i), burst.out_interface[i], WEIR_ANSWERED_RESET};
            return;
        }
    }
    rte_pktmbuf_free(mbuf);
}

void answer_one(Worker& worker, Burst& burst, std::uint32_t i, Answer answer) {
    rte_mbuf* mbuf = burst.mbuf[i];
    const weir_packet& packet = burst.packet[i];
    weir_verdict verdict;
    if (answer == Answer::reset || answer == Answer::reset_both) {
        if (answer == Answer::reset_both)
            reset_onward(worker, burst, i);
        verdict = reset(mbuf, packet);
    } else {
        weir_address speaker = burst.vip[i] == WEIR_NO_ROW
                                   ? weir_packet_destination(&packet)
                                   : worker.state->vips()[burst.vip[i]].address;
        verdict = icmp_error(mbuf, packet, speaker, kind_of(answer, packet.family),
                             answer == Answer::too_big ? burst.mtu[i] : 0);
    }
    if (lb::class_of(verdict) != WEIR_CLASS_FORWARD)
        return;
    burst.verdict[i] = static_cast<std::uint8_t>(verdict);
    burst.out_interface[i] = static_cast<std::uint8_t>(mbuf->port);
}

} // namespace

void answer(Worker& worker, Burst& burst) {
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        if (lb::class_of(burst.verdict[i]) != WEIR_CLASS_DROP || !worker.state)
            continue;
        Answer wanted = answer_to(worker, burst, i);
        if (wanted != Answer::none &&
            worker.answers.take(worker.time_ns, worker.share_of(worker.state->node().answers_pps)))
            answer_one(worker, burst, i, wanted);
    }
}

} // namespace weir::dpdk
