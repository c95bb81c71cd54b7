// SPDX-License-Identifier: BSD-3-Clause
// Connections written under one generation and by one number of workers, taken over under another.
#include "dataplane/lb/takeover.hpp"

#include "dataplane/forwarding/connection_state.h"
#include "dataplane/forwarding/select.h"
#include "dataplane/lb/state_sample.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <set>

namespace weir::lb {
namespace {

constexpr std::uint32_t kCapacity = 2048;
constexpr std::uint32_t kConnections = 400;
constexpr std::uint64_t kNow_s = 200'000; // more than 65536 s after the boot
constexpr std::uint8_t kRouter[6] = {2, 0, 0, 0, 0, 1};
constexpr BootId kBoot{std::byte{7}};

TableGeometry geometry_of(std::uint32_t worker, std::uint32_t workers) {
    return {kCapacity, 4, worker, workers, kCapacity / 4};
}

// Two backends; VIP 0 in nat, 1 in full-nat, 2 in direct return.
struct Generation {
    Generation() {
        sample.tables.hash_key = {1, 2};
        sample.tables.vips.resize(3, sample.tables.vips[0]);
        const std::uint8_t modes[] = {WEIR_FORWARD_NAT, WEIR_FORWARD_FULL_NAT, WEIR_FORWARD_DSR_L2};
        for (std::uint32_t i = 0; i < 3; i++) {
            weir_vip_row& vip = sample.tables.vips[i];
            vip.address = weir_address_from_v4(0x0a7100cb + (i << 24));
            vip.protocol = 6;
            vip.forward = modes[i];
            vip.identity = 100 + i;
        }
        for (std::uint32_t i = 0; i < 2; i++) {
            sample.tables.backends[i].address = weir_address_from_v4(0x0b00000a + (i << 24));
            sample.tables.backends[i].port = weir_swap16(8080);
            sample.tables.backends[i].identity = 200 + i;
        }
        sample.tables.snat[0].address = weir_address_from_v4(0x6400000a);
        sample.tables.snat[0].family = 4;
        sample.tables.interfaces[0].identity = 300;
    }
    const ForwardingState& state() {
        if (!opened) {
            root.emplace(build_root(sample.tables));
            opened =
                ForwardingState::open(root->span(), std::span(&sample.segment, 1), sample.problem);
        }
        EXPECT_TRUE(opened) << sample.problem;
        return *opened;
    }
    Sample sample;
    std::optional<Root> root;
    std::optional<ForwardingState> opened;
};

struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
};

class Memory {
public:
    explicit Memory(std::size_t bytes)
        : size_((bytes + 63) / 64 * 64),
          at_(static_cast<std::byte*>(std::aligned_alloc(64, size_))) {
        std::memset(at_.get(), 0, size_);
    }
    [[nodiscard]] std::span<std::byte> span() const { return {at_.get(), size_}; }

private:
    std::size_t size_;
    std::unique_ptr<std::byte, Free> at_;
};

// What one process has of memory, and the next one finds.
struct Left {
    Left() : legend(sizeof(RowLegend)) { format_legend(legend.span(), kBoot); }
    RowLegend& rows() const { return *adopt_legend(legend.span(), kBoot); }
    Memory legend;
    std::deque<Memory> tables;
};

// The n-th client's connection in VIP n % 3, as its worker would have recorded it.
NewConnection connection_of(const ForwardingState& state, std::uint32_t n, std::uint16_t port) {
    NewConnection made;
    HotRow row{};
    row.client = weir_address_from_v4(0x01000000 + n);
    row.client_port = static_cast<weir_be16>(n * 7 + 1);
    row.service_port = weir_swap16(80);
    row.vip = static_cast<std::uint16_t>(n % 3);
    row.backend = n / 3 % 2;
    row.snat_port = n % 3 == 1 ? port : 0;
    made.key = forward_key(row.client, row.client_port, row.service_port, row.vip);
    const weir_flow flow = forward_flow(state, row);
    made.forward_hash = index_hash(weir_flow_hash(&state.hash_key(), &flow));
    made.reply_indexed = n % 3 != 2;
    const weir_flow reply = reply_flow(state, row);
    made.reply_hash =
        made.reply_indexed ? index_hash(weir_flow_hash(&state.hash_key(), &reply)) : 0;
    made.backend = row.backend;
    made.snat_port = row.snat_port;
    made.state = WEIR_STATE_ESTABLISHED;
    made.probation = false;
    return made;
}

HotRow row_of(const NewConnection& made) {
    HotRow row{};
    row.client = {{made.key.client_high, made.key.client_low}};
    row.client_port = static_cast<weir_be16>(made.key.ports_and_vip);
    row.service_port = static_cast<weir_be16>(made.key.ports_and_vip >> 16);
    row.vip = static_cast<std::uint16_t>(made.key.ports_and_vip >> 32);
    row.snat_port = made.snat_port;
    row.backend = made.backend & (kBackendRowLimit - 1);
    return row;
}

// A process of so many workers that took over what was left.
class Process {
public:
    explicit Process(std::uint32_t workers)
        : workers_(workers), counters_memory_(CountersView::bytes_needed(workers)),
          counters_(CountersView::format(counters_memory_.span(), workers)), parts_(workers) {}

    void start_anew(Left& left) {
        left.tables.clear();
        lay_out(left);
    }
    Takeover::Numbers take_over(Left& left, const ForwardingState& state,
                                std::uint64_t time_s = kNow_s) {
        Takeover takeover(left.rows(), workers_);
        if (left.tables.size() == workers_) {
            for (std::uint32_t i = 0; i < workers_; i++) {
                const auto found =
                    WorkerMemory::adopt(left.tables[i].span(), geometry_of(i, workers_));
                EXPECT_TRUE(found);
                parts_[i] = found->memory;
                takeover.note_adopted(i, *found);
            }
        } else {
            for (const Memory& table : left.tables)
                EXPECT_TRUE(takeover.salvage(table.span()));
            start_anew(left);
        }
        const Takeover::Now now{state, nullptr, time_s, parts_, counters_};
        for (std::uint32_t i = 0; i < workers_; i++)
            takeover.look_through(i, now);
        const Takeover::Numbers numbers = takeover.settle(now, strays);
        write_legend(left.rows(), state);
        left.rows().alive_s = time_s;
        for (WorkerMemory& part : parts_)
            EXPECT_TRUE(part.table.consistent());
        return numbers;
    }
    void open_connections(const ForwardingState& state) {
        const Workers workers{workers_, nullptr};
        std::vector<std::uint16_t> next(workers_);
        for (std::uint32_t n = 0; n < kConnections; n++) {
            const std::uint32_t owner =
                owner_of_row(state, workers, row_of(connection_of(state, n, 0)));
            // The ports that are dealt to this worker.
            const auto port = static_cast<std::uint16_t>(state.snat()[0].first_port + owner +
                                                         workers_ * next[owner]++);
            NewConnection made = connection_of(state, n, weir_swap16(port));
            made.last_hop = parts_[owner].last_hops->acquire(kRouter, WEIR_NO_VLAN, 0);
            EXPECT_EQ(parts_[owner]
                          .table
                          .insert(
                              made, static_cast<std::uint16_t>(kNow_s - 5), UINT32_MAX,
                              [](const HotRow&) { return false; }, [](EntryIndex, const HotRow&) {})
                          .outcome,
                      InsertOutcome::kInserted);
        }
    }
    WorkerMemory& part(std::uint32_t worker) { return parts_[worker]; }
    CountersView& counters() { return counters_; }

    // The worker that has the n-th connection, with its row.
    std::optional<std::pair<std::uint32_t, HotRow>> find(const ForwardingState& state,
                                                         std::uint32_t n) {
        const NewConnection wanted = connection_of(state, n, 0);
        for (std::uint32_t i = 0; i < workers_; i++) {
            const EntryIndex entry = parts_[i].table.find_forward(wanted.forward_hash, wanted.key);
            if (entry != kNoEntry)
                return std::pair(i, parts_[i].table.row(entry));
        }
        return std::nullopt;
    }

    StrayReplies strays;

private:
    void lay_out(Left& left) {
        for (std::uint32_t i = 0; i < workers_; i++) {
            left.tables.emplace_back(WorkerMemory::bytes_needed(geometry_of(i, workers_)));
            parts_[i] = WorkerMemory::format(left.tables[i].span(), geometry_of(i, workers_));
        }
    }

    std::uint32_t workers_;
    Memory counters_memory_;
    CountersView counters_;
    std::vector<WorkerMemory> parts_;
};

class TakeoverTest : public ::testing::Test {
protected:
    // A first process that leaves its connections.
    void leave(std::uint32_t workers) {
        Process process(workers);
        process.start_anew(left);
        write_legend(left.rows(), before.state());
        left.rows().alive_s = kNow_s;
        process.open_connections(before.state());
    }
    Generation before, after;
    Left left;
};

TEST_F(TakeoverTest, TheSameWorkersGoOnWithEverything) {
    leave(2);
    Process next(2);
    const Takeover::Numbers numbers = next.take_over(left, after.state());
    EXPECT_EQ(numbers.adopted, kConnections);
    EXPECT_EQ(numbers.moved, 0u);
    EXPECT_EQ(numbers.refused, 0u);
    std::uint64_t of_backends = 0;
    std::uint64_t of_vips = 0;
    for (std::uint32_t worker = 0; worker < 2; worker++) {
        EXPECT_EQ(next.counters().worker(worker).connections_adopted,
                  next.part(worker).table.entries());
        for (std::uint32_t row = 0; row < 2; row++)
            of_backends += next.counters().backend(worker, row).connections_active;
        for (std::uint32_t row = 0; row < 3; row++)
            of_vips += next.counters().vip(worker, row).connections_active;
    }
    EXPECT_EQ(of_backends, kConnections);
    EXPECT_EQ(of_vips, kConnections);
    const HotRow row = next.find(after.state(), 0)->second;
    const LastHop* hop = next.part(next.find(after.state(), 0)->first)
                             .last_hops->find(static_cast<std::uint16_t>(row.last_hop));
    ASSERT_NE(hop, nullptr);
    EXPECT_EQ(std::memcmp(hop->mac, kRouter, 6), 0);
}

TEST_F(TakeoverTest, LastHopsAreFreeAgainWithTheirLastConnection) {
    leave(1);
    Process next(1);
    next.take_over(left, after.state());
    WorkerMemory& part = next.part(0);
    const auto hop = static_cast<std::uint16_t>(next.find(after.state(), 0)->second.last_hop);
    for (std::uint32_t i = 0; i < kConnections; i++)
        part.last_hops->release(hop);
    EXPECT_EQ(part.last_hops->find(hop), nullptr);
}

class OtherWorkers : public TakeoverTest,
                     public ::testing::WithParamInterface<std::pair<std::uint32_t, std::uint32_t>> {
};

TEST_P(OtherWorkers, EveryConnectionGoesToItsOwnerAndKeepsBackendAndPort) {
    const auto [from, to] = GetParam();
    leave(from);
    Process witness(from); // what there was
    witness.take_over(left, before.state());
    Process next(to);
    const Takeover::Numbers numbers = next.take_over(left, after.state());
    EXPECT_EQ(numbers.adopted, kConnections);
    EXPECT_GT(numbers.moved, 0u);
    const Workers workers{to, nullptr};
    std::uint32_t strays = 0;
    std::uint16_t ports = 0;
    for (std::uint32_t n = 0; n < kConnections; n++) {
        const auto found = next.find(after.state(), n);
        ASSERT_TRUE(found) << n;
        const auto& [holder, row] = *found;
        EXPECT_EQ(holder, owner_of_row(after.state(), workers, row));
        EXPECT_EQ(row.backend, n / 3 % 2);
        EXPECT_EQ(row.last_seen_s, static_cast<std::uint16_t>(kNow_s - 5));
        EXPECT_NE(next.part(holder).last_hops->find(static_cast<std::uint16_t>(row.last_hop)),
                  nullptr);
        ports += row.snat_port != 0;
        const weir_flow reply = reply_flow(after.state(), row);
        const auto stray = next.strays.holder(weir_flow_hash(&after.state().hash_key(), &reply));
        const bool elsewhere = owner_of_replies(after.state(), workers, row) != holder;
        EXPECT_EQ(stray, elsewhere ? std::optional(holder) : std::nullopt);
        EXPECT_EQ((row.flags & kRowStrayReplies) != 0, elsewhere);
        strays += elsewhere;
    }
    EXPECT_EQ(ports, (kConnections + 1) / 3);
    if (to == 1)
        EXPECT_EQ(strays, 0u);
    else
        EXPECT_GT(strays, 10u);
}

INSTANTIATE_TEST_SUITE_P(Workers, OtherWorkers,
                         ::testing::Values(std::pair(1u, 2u), std::pair(2u, 1u), std::pair(2u, 3u),
                                           std::pair(4u, 2u)));

TEST_F(TakeoverTest, StrayConnectionsStayKnownWhenTheNextProcessDiesToo) {
    leave(1);
    Process second(2);
    second.take_over(left, after.state());
    Process third(2);
    EXPECT_EQ(third.take_over(left, after.state()).adopted, kConnections);
    for (std::uint32_t n = 1; n < kConnections; n += 3) {
        const auto found = third.find(after.state(), n);
        ASSERT_TRUE(found);
        const weir_flow reply = reply_flow(after.state(), found->second);
        const std::uint64_t hash = weir_flow_hash(&after.state().hash_key(), &reply);
        EXPECT_EQ(third.strays.holder(hash), second.strays.holder(hash));
    }
}

// Of `refused`: the connections that the change concerns, and no other.
void expect_refused(Left& left, Generation& after, std::uint64_t refused) {
    Process next(1);
    const Takeover::Numbers numbers = next.take_over(left, after.state());
    EXPECT_EQ(numbers.refused, refused);
    EXPECT_EQ(numbers.adopted, kConnections - refused);
}

TEST_F(TakeoverTest, RowsOfABackendThatIsAnotherNowAreRefused) {
    leave(1);
    after.sample.tables.backends[1].identity = 999;
    std::uint64_t of_backend = 0;
    for (std::uint32_t n = 0; n < kConnections; n++)
        of_backend += n / 3 % 2;
    expect_refused(left, after, of_backend);
}

TEST_F(TakeoverTest, BackendsThatHaveChangedPlacesGetNobodysConnections) {
    leave(1);
    std::swap(after.sample.tables.backends[0], after.sample.tables.backends[1]);
    expect_refused(left, after, kConnections);
}

TEST_F(TakeoverTest, RowsOfAVipThatIsGoneAreRefused) {
    leave(1);
    after.sample.tables.vips[0].identity = 0;
    expect_refused(left, after, (kConnections + 2) / 3);
}

TEST_F(TakeoverTest, RowsOfAVipInAnotherModeAreRefused) {
    leave(1);
    after.sample.tables.vips[0].forward = WEIR_FORWARD_DSR_L2;
    expect_refused(left, after, (kConnections + 2) / 3);
}

TEST_F(TakeoverTest, FullNatRowsOfAnotherSnatAddressAreRefused) {
    leave(1);
    after.sample.tables.snat[0].address = weir_address_from_v4(0x6500000a);
    expect_refused(left, after, (kConnections + 1) / 3);
}

TEST_F(TakeoverTest, NothingGoesOnUnderAnotherHashKey) {
    leave(1);
    after.sample.tables.hash_key = {3, 4};
    expect_refused(left, after, kConnections);
}

TEST_F(TakeoverTest, ADamagedRowCostsItselfOnly) {
    leave(1);
    Process probe(1);
    probe.take_over(left, before.state());
    for (EntryIndex entry = 0; entry < 3; entry++)
        const_cast<HotRow&>(probe.part(0).table.row(entry)).client_port ^= 1;
    expect_refused(left, after, 3);
}

TEST_F(TakeoverTest, AgesGoOnOverTheGapAndWhatIsTooOldIsRefused) {
    leave(1);
    Process soon(1);
    EXPECT_EQ(soon.take_over(left, after.state(), kNow_s + 3600).adopted, kConnections);
    EXPECT_EQ(soon.find(after.state(), 0)->second.last_seen_s,
              static_cast<std::uint16_t>(kNow_s - 5));
    left.rows().alive_s = kNow_s;
    Process late(1);
    const auto numbers = late.take_over(left, after.state(), kNow_s + kLongestTimeout_s - 4);
    EXPECT_EQ(numbers.refused, kConnections);
}

TEST_F(TakeoverTest, LastHopsOfAnotherInterfaceAreForgotten) {
    leave(1);
    after.sample.tables.interfaces[0].identity = 301;
    Process next(1);
    EXPECT_EQ(next.take_over(left, after.state()).adopted, kConnections);
    EXPECT_EQ(next.find(after.state(), 0)->second.last_hop, kNoLastHop);
}

TEST_F(TakeoverTest, ALegendOfAnotherBootOrReleaseIsNone) {
    BootId other = kBoot;
    other[3] = std::byte{1};
    EXPECT_EQ(adopt_legend(left.legend.span(), other), nullptr);
    left.rows().version++;
    EXPECT_EQ(adopt_legend(left.legend.span(), kBoot), nullptr);
    EXPECT_EQ(adopt_legend(left.legend.span().first(64), kBoot), nullptr);
}

TEST_F(TakeoverTest, EveryWorkerKnowsTheNetworksThatAnyKnew) {
    leave(2);
    Process witness(2);
    witness.take_over(left, before.state());
    witness.part(0).persistence->remember(11, 0, 200, static_cast<std::uint16_t>(kNow_s));
    witness.part(1).persistence->remember(12, 1, 201, static_cast<std::uint16_t>(kNow_s));
    Process next(3);
    next.take_over(left, after.state(), kNow_s + 10);
    for (std::uint32_t worker = 0; worker < 3; worker++)
        for (const std::uint64_t network : {11u, 12u}) {
            const auto* entry = next.part(worker).persistence->find(
                network, static_cast<std::uint16_t>(kNow_s + 10), 60);
            ASSERT_NE(entry, nullptr);
            EXPECT_EQ(entry->backend, network - 11);
        }
}

TEST_F(TakeoverTest, AStrayThatHasEndedIsNoneAnyMore) {
    StrayReplies strays;
    EXPECT_FALSE(strays.holder(5));
    const StrayReplies::Stray all[] = {{5, 1}, {9, 0}, {5 + (1u << 20), 1}};
    strays.fill(all);
    EXPECT_EQ(strays.holder(5), 1u);
    EXPECT_EQ(strays.holder(5 + (1u << 20)), 1u);
    strays.remove(5);
    EXPECT_FALSE(strays.holder(5));
    EXPECT_EQ(strays.holder(9), 0u);
    EXPECT_EQ(strays.holder(5 + (1u << 20)), 1u);
    EXPECT_FALSE(strays.holder(6));
}

} // namespace
} // namespace weir::lb
