// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_lifetime.hpp"

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/lb/connection_row.hpp"

namespace weir::lb {
namespace {

using S = ConnectionState;
using E = PacketEvent;
using V = Visibility;

constexpr weir_timeouts kTimeouts = {
    .syn = 30, .established = 3600, .fin = 60, .rst = 10, .udp = 50};

std::vector<S> all_states() {
    std::vector<S> states;
    states.reserve(kConnectionStates);
    for (int number = 0; number < kConnectionStates; ++number)
        states.push_back(static_cast<S>(number));
    return states;
}

std::vector<E> all_events() {
    std::vector<E> events;
    events.reserve(kPacketEvents);
    for (int number = 0; number < kPacketEvents; ++number)
        events.push_back(static_cast<E>(number));
    return events;
}

bool from_client(E event) {
    return event <= E::kClientDatagram;
}
bool is_udp(E event) {
    return event == E::kClientDatagram || event == E::kBackendDatagram;
}
bool is_udp(S state) {
    return state == S::kUdpOneWay || state == S::kUdpAssured;
}
bool half_open(S state) {
    return state == S::kSynSeen || state == S::kSynAckSeen || state == S::kMidstream;
}

S run(V visibility, std::initializer_list<E> events) {
    S state = S::kFree;
    for (const E event : events)
        state = state == S::kFree ? initial_state(event) : next_state(visibility, state, event);
    return state;
}

class EveryTransition : public testing::TestWithParam<V> {
protected:
    template <class Check> void for_each(Check check) const {
        for (const S state : all_states())
            for (const E event : all_events())
                check(state, event, next_state(GetParam(), state, event));
    }
    static std::string what(S state, E event) {
        return std::string(state_name(state)) + " + " + std::string(event_name(event));
    }
};
INSTANTIATE_TEST_SUITE_P(Both, EveryTransition, testing::Values(V::kBothSides, V::kClientOnly));

TEST_P(EveryTransition, LeadsToAStateOfTheSameProtocolAndNeverFrees) {
    for_each([](S state, E event, S next) {
        ASSERT_LT(static_cast<int>(next), kConnectionStates);
        EXPECT_EQ(next == S::kFree, state == S::kFree) << what(state, event);
        EXPECT_EQ(is_udp(next), is_udp(state)) << what(state, event);
        if (is_udp(state) != is_udp(event)) {
            EXPECT_EQ(next, state) << what(state, event);
        }
    });
}

TEST_P(EveryTransition, ConfirmedConnectionsNeverBecomeHalfOpenExceptByTheBackendsSynAck) {
    for_each([](S state, E event, S next) {
        if (!half_open(state) && half_open(next)) {
            EXPECT_EQ(state, S::kRstBackend) << what(state, event);
            EXPECT_EQ(event, E::kBackendSynAck) << what(state, event);
        }
    });
}

TEST_P(EveryTransition, OnlyResetsResetAndOnlyTheirSenderTakesThemBack) {
    for_each([](S state, E event, S next) {
        if (next == S::kRstClient && state != next) {
            EXPECT_EQ(event, E::kClientRst) << what(state, event);
        }
        if (next == S::kRstBackend && state != next) {
            EXPECT_EQ(event, E::kBackendRst) << what(state, event);
        }
        if (state == S::kRstClient && next != state) {
            EXPECT_TRUE(from_client(event) && event != E::kClientRst) << what(state, event);
        }
        if (state == S::kRstBackend && next != state) {
            EXPECT_TRUE(!from_client(event) && event != E::kBackendRst) << what(state, event);
        }
    });
}

TEST_P(EveryTransition, ClosingIsFinal) {
    for_each([](S state, E event, S next) {
        if (state == S::kClosingClient || state == S::kClosingBackend) {
            EXPECT_EQ(next, state) << what(state, event);
        } else if (next == S::kClosingClient) {
            EXPECT_EQ(std::pair(state, event), std::pair(S::kFinClient, E::kBackendFin));
        } else if (next == S::kClosingBackend) {
            EXPECT_EQ(std::pair(state, event), std::pair(S::kFinBackend, E::kClientFin));
        }
    });
}

TEST_P(EveryTransition, ASynOrAForeignSynAckAloneChangesNothing) {
    for_each([](S state, E event, S next) {
        if (event == E::kClientSyn || event == E::kClientSynAck || event == E::kBackendSyn) {
            EXPECT_EQ(next, state) << what(state, event);
        }
    });
}

TEST_P(EveryTransition, AFinFromASideIsRemembered) {
    for_each([](S state, E event, S next) {
        if (state == S::kEstablished && event == E::kClientFin) {
            EXPECT_EQ(next, S::kFinClient);
        }
        if (state == S::kEstablished && event == E::kBackendFin) {
            EXPECT_EQ(next, S::kFinBackend);
        }
        const bool fin = state == S::kFinClient || state == S::kFinBackend;
        const bool rst = event == E::kClientRst || event == E::kBackendRst;
        if (fin && !rst) {
            EXPECT_NE(next, S::kEstablished) << what(state, event);
        }
    });
}

// Everything reachable by packets that an attacker with a forged source can send.
TEST(ConnectionLifetime, TheClientAloneNeverConfirmsWhereTheBackendIsHeard) {
    std::set<S> reached;
    for (const E first : all_events()) {
        if (from_client(first) && initial_state(first) != S::kFree)
            reached.insert(initial_state(first));
    }
    for (std::size_t size = 0; size != reached.size();) {
        size = reached.size();
        for (const S state : std::set<S>(reached)) {
            for (const E event : all_events()) {
                if (from_client(event))
                    reached.insert(next_state(V::kBothSides, state, event));
            }
        }
    }
    for (const S state : reached)
        EXPECT_FALSE(confirmed(state)) << state_name(state);
    EXPECT_EQ(reached, (std::set<S>{S::kSynSeen, S::kMidstream, S::kUdpOneWay}));
}

TEST(ConnectionLifetime, EveryStateIsReachable) {
    std::set<S> reached = {S::kFree};
    for (const E event : all_events())
        reached.insert(initial_state(event));
    for (std::size_t size = 0; size != reached.size();) {
        size = reached.size();
        for (const S state : std::set<S>(reached)) {
            for (const E event : all_events())
                reached.insert(next_state(V::kBothSides, state, event));
        }
    }
    EXPECT_EQ(reached.size(), static_cast<std::size_t>(kConnectionStates));
}

TEST(ConnectionLifetime, OrdinaryLives) {
    EXPECT_EQ(run(V::kBothSides, {E::kClientSyn, E::kBackendSynAck}), S::kSynAckSeen);
    EXPECT_EQ(run(V::kBothSides, {E::kClientSyn, E::kBackendSynAck, E::kClientAck}),
              S::kEstablished);
    EXPECT_EQ(run(V::kBothSides, {E::kClientSyn, E::kBackendSynAck, E::kClientAck, E::kClientFin,
                                  E::kBackendAck, E::kBackendFin, E::kClientAck}),
              S::kClosingClient);
    EXPECT_EQ(run(V::kBothSides, {E::kClientSyn, E::kBackendSynAck, E::kClientAck, E::kBackendFin,
                                  E::kClientAck, E::kClientFin, E::kBackendAck}),
              S::kClosingBackend);
    EXPECT_EQ(run(V::kBothSides, {E::kClientSyn, E::kBackendRst}), S::kRstBackend);
    EXPECT_EQ(run(V::kBothSides, {E::kClientAck, E::kBackendAck}), S::kEstablished);
    EXPECT_EQ(run(V::kBothSides, {E::kClientDatagram, E::kClientDatagram}), S::kUdpOneWay);
    EXPECT_EQ(run(V::kBothSides, {E::kClientDatagram, E::kBackendDatagram}), S::kUdpAssured);
    EXPECT_EQ(run(V::kClientOnly, {E::kClientSyn, E::kClientAck}), S::kEstablished);
    EXPECT_EQ(run(V::kClientOnly, {E::kClientSyn, E::kClientAck, E::kClientFin, E::kClientAck}),
              S::kFinClient);
    EXPECT_EQ(run(V::kClientOnly, {E::kClientDatagram, E::kClientDatagram}), S::kUdpAssured);
}

TEST(ConnectionLifetime, ABlindResetIsTakenBack) {
    const auto established = {E::kClientSyn, E::kBackendSynAck, E::kClientAck};
    EXPECT_EQ(run(V::kBothSides, established), S::kEstablished);
    EXPECT_EQ(next_state(V::kBothSides, S::kEstablished, E::kClientRst), S::kRstClient);
    EXPECT_EQ(next_state(V::kBothSides, S::kRstClient, E::kBackendAck), S::kRstClient)
        << "the backend's data in flight proves nothing";
    EXPECT_EQ(next_state(V::kBothSides, S::kRstClient, E::kClientAck), S::kEstablished);
}

TEST(ConnectionLifetime, FlagsBecomeEvents) {
    for (int flags = 0; flags < 256; ++flags) {
        const auto bits = static_cast<std::uint8_t>(flags);
        const E client = tcp_event(Direction::kFromClient, bits);
        const E backend = tcp_event(Direction::kFromBackend, bits);
        EXPECT_EQ(static_cast<int>(backend) - static_cast<int>(client), kPacketEvents / 2);
        const E expected = (flags & WEIR_TCP_RST)                             ? E::kClientRst
                           : (flags & WEIR_TCP_SYN) && (flags & WEIR_TCP_ACK) ? E::kClientSynAck
                           : (flags & WEIR_TCP_SYN)                           ? E::kClientSyn
                           : (flags & WEIR_TCP_FIN)                           ? E::kClientFin
                                                                              : E::kClientAck;
        EXPECT_EQ(client, expected) << flags;
        const bool plain_syn = client == E::kClientSyn && !(flags & WEIR_TCP_FIN);
        for (const S state : all_states()) {
            const bool old = half_open(state) || state >= S::kFinClient;
            EXPECT_EQ(restarts(state, bits), plain_syn && old) << state_name(state) << flags;
        }
    }
    EXPECT_EQ(udp_event(Direction::kFromClient), E::kClientDatagram);
    EXPECT_EQ(udp_event(Direction::kFromBackend), E::kBackendDatagram);
}

TEST(ConnectionLifetime, OnlyClientsBeginConnectionsAndNeverWithAReset) {
    for (const E event : all_events()) {
        const bool begins = event == E::kClientSyn || event == E::kClientAck ||
                            event == E::kClientFin || event == E::kClientDatagram;
        EXPECT_EQ(initial_state(event) != S::kFree, begins) << event_name(event);
        EXPECT_FALSE(confirmed(initial_state(event)));
    }
}

TEST(ConnectionLifetime, WhatKeepsAnEntryAlive) {
    for (const S state : all_states()) {
        const bool client = refreshes(state, state, Direction::kFromClient, false);
        const bool client_dead = refreshes(state, state, Direction::kFromClient, true);
        const bool backend = refreshes(state, state, Direction::kFromBackend, true);
        const bool lives = is_udp(state) || state == S::kEstablished || state == S::kFinClient ||
                           state == S::kFinBackend;
        EXPECT_EQ(client, lives) << state_name(state);
        EXPECT_EQ(backend, lives) << state_name(state);
        EXPECT_EQ(client_dead, lives && !is_udp(state)) << state_name(state);
    }
    EXPECT_TRUE(refreshes(S::kSynSeen, S::kSynAckSeen, Direction::kFromBackend, false));
    EXPECT_TRUE(refreshes(S::kEstablished, S::kRstClient, Direction::kFromClient, false));
}

TEST(ConnectionLifetime, TimeoutsComeFromTheVip) {
    const std::uint16_t expected[kConnectionStates] = {0,  50, 50, 30, 30, 30, 3600,
                                                       60, 60, 60, 60, 10, 10};
    for (const S state : all_states())
        EXPECT_EQ(timeout_s(state, kTimeouts), expected[static_cast<int>(state)]);
}

TEST(ConnectionLifetime, FitsTheRow) {
    EXPECT_EQ(static_cast<std::uint8_t>(S::kFree), kRowFree);
    EXPECT_LE(kConnectionStates, 16);
}

std::string lifetime_page() {
    std::ostringstream page;
    page << "# Connection lifetime\n\n"
            "Checked against the code by `connection_lifetime_test`; "
            "`WEIR_WRITE_DOCS=1 connection_lifetime_test` writes it anew.\n"
            "A cell is the state after the packet; `·` means that nothing changes.\n";
    for (const V visibility : {V::kBothSides, V::kClientOnly}) {
        const bool both = visibility == V::kBothSides;
        page << (both ? "\n## nat, full-nat: both sides are heard\n\n"
                      : "\n## dsr-l2: only the client is heard\n\n");
        page << "| state | timeout |";
        std::string rule = "|---|---|";
        for (const E event : all_events()) {
            if (both || from_client(event)) {
                page << ' ' << event_name(event) << " |";
                rule += "---|";
            }
        }
        page << '\n' << rule << '\n';
        for (const S state : all_states()) {
            if (state == S::kFree)
                continue;
            constexpr weir_timeouts kNames = {1, 2, 3, 4, 5};
            constexpr const char* kTimeoutNames[] = {"", "syn", "established", "fin", "rst", "udp"};
            page << "| " << state_name(state) << " | " << kTimeoutNames[timeout_s(state, kNames)]
                 << " |";
            for (const E event : all_events()) {
                if (!both && !from_client(event))
                    continue;
                const S next = next_state(visibility, state, event);
                page << ' ' << (next == state ? "·" : state_name(next)) << " |";
            }
            page << '\n';
        }
    }
    page << "\n## What follows from the state\n\n"
            "| state | leaves probation | a SYN starts a new connection | packets keep it alive |\n"
            "|---|---|---|---|\n";
    for (const S state : all_states()) {
        if (state == S::kFree)
            continue;
        const bool alive = refreshes(state, state, Direction::kFromClient, false);
        const bool unless_down = !refreshes(state, state, Direction::kFromClient, true);
        page << "| " << state_name(state) << " | " << (confirmed(state) ? "yes" : "no") << " | "
             << (restarts(state, WEIR_TCP_SYN) ? "yes" : "no") << " | "
             << (!alive        ? "no"
                 : unless_down ? "yes, but not the client's alone when the backend is down"
                               : "yes")
             << " |\n";
    }
    return page.str();
}

TEST(ConnectionLifetime, TheDocumentedTableIsTheOneInTheCode) {
    const std::string path = std::string(WEIR_DOCS_DIR) + "/connection-lifetime.md";
    if (const char* write = std::getenv("WEIR_WRITE_DOCS"); write && std::string(write) == "1")
        std::ofstream(path) << lifetime_page();
    std::ifstream file(path);
    std::ostringstream found;
    found << file.rdbuf();
    EXPECT_EQ(found.str(), lifetime_page());
}

} // namespace
} // namespace weir::lb
