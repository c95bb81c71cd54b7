// SPDX-License-Identifier: BSD-3-Clause
// A worker's memory is taken over from a process that was killed at a random instant, and from a
// copy that was made at a random instant: no connection ever comes back with what was another's.
#include "dataplane/lb/worker_memory.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <random>
#include <set>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace weir::lb {
namespace {

constexpr std::uint32_t kCapacity = 256;
constexpr std::uint32_t kVips = 4;
constexpr TableGeometry kGeometry{kCapacity, kVips, 0, 1, kCapacity / 4};
constexpr int kKills = 1000;

std::uint32_t mixed(std::uint64_t value) {
    return static_cast<std::uint32_t>((value * 0x9e3779b97f4a7c15) >> 32);
}

// The n-th life of client `id`: everything but the client's address differs from life to life, so
// that a row with parts of two lives, or of two clients, is no life of anybody.
struct Life {
    std::uint32_t id;
    std::uint32_t number;

    [[nodiscard]] std::uint64_t seed() const { return std::uint64_t{id} << 32 | number; }
    [[nodiscard]] NewConnection connection() const {
        NewConnection made;
        const weir_address client = weir_address_from_v4(0x0a000000 + id);
        made.key = forward_key(client, static_cast<weir_be16>(number), 80,
                               static_cast<std::uint16_t>(mixed(seed()) % kVips));
        made.forward_hash = mixed(seed() + 1);
        made.reply_indexed = number % 3 != 0;
        made.reply_hash = made.reply_indexed ? mixed(seed() + 2) : 0;
        made.probation = number % 2 == 0;
        made.backend = mixed(seed() + 3) % kBackendRowLimit;
        made.snat_address = static_cast<std::uint8_t>(mixed(seed() + 4));
        made.snat_port = static_cast<std::uint16_t>(mixed(seed() + 5));
        made.state = 6;
        return made;
    }
};

// What the writer says of itself, in memory that it shares with the judge. `busy` is the client
// that is being changed, so its state is open.
struct Ledger {
    static constexpr std::uint32_t kClients = 200;
    std::atomic<std::uint32_t> busy;
    std::atomic<std::uint32_t> steps;
    struct Client {
        std::uint32_t life; // its last one
        bool confirmed;
    } client[kClients];
};

// Opens, touches, confirms and ends connections for ever.
class Writer {
public:
    Writer(std::span<std::byte> memory, Ledger& ledger, std::uint64_t seed)
        : table_(WorkerMemory::format(memory, kGeometry).table), ledger_(ledger), random_(seed),
          entry_(Ledger::kClients, kNoEntry) {}

    void step() {
        const auto id = static_cast<std::uint32_t>(random_() % Ledger::kClients);
        ledger_.busy.store(id, std::memory_order_seq_cst);
        if (entry_[id] == kNoEntry)
            open(id);
        else if (random_() % 4 == 0)
            end(id);
        else
            touch(id);
        ledger_.busy.store(kNoEntry, std::memory_order_seq_cst);
        ledger_.steps.fetch_add(1, std::memory_order_relaxed);
    }

private:
    void open(std::uint32_t id) {
        Ledger::Client& client = ledger_.client[id];
        const Life life{id, ++client.life};
        const auto result = table_.insert(
            life.connection(), now(), UINT32_MAX, [](const HotRow&) { return false; },
            [this](EntryIndex entry, const HotRow&) { pushed_out(entry); });
        if (result.outcome != InsertOutcome::kInserted)
            return;
        entry_[id] = result.entry;
        client.confirmed = !life.connection().probation;
    }
    void pushed_out(EntryIndex entry) {
        for (EntryIndex& other : entry_)
            if (other == entry)
                other = kNoEntry;
    }
    void touch(std::uint32_t id) {
        table_.update(entry_[id], 6, static_cast<std::uint16_t>(random_() % 8), now());
        table_.promote(entry_[id], now());
        ledger_.client[id].confirmed = true;
    }
    void end(std::uint32_t id) {
        table_.erase(entry_[id]);
        entry_[id] = kNoEntry;
        ledger_.client[id].confirmed = false;
    }
    std::uint16_t now() { return static_cast<std::uint16_t>(random_()); }

    ConnectionTable table_;
    Ledger& ledger_;
    std::mt19937_64 random_;
    std::vector<EntryIndex> entry_;
};

class Shared {
public:
    explicit Shared(std::size_t bytes)
        : at_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
          bytes_(bytes) {}
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
    ~Shared() { ::munmap(at_, bytes_); }
    [[nodiscard]] std::span<std::byte> span() const {
        return {static_cast<std::byte*>(at_), bytes_};
    }

private:
    void* at_;
    std::size_t bytes_;
};

// The client whose life this row is, or nothing when it is nobody's.
std::optional<Life> life_of(const HotRow& row, const ColdRow& cold) {
    const std::uint32_t id = weir_address_v4(&row.client) - 0x0a000000;
    const Life life{id, row.client_port};
    const NewConnection wanted = life.connection();
    const bool same =
        matches_forward(row, wanted.key) && row.backend == wanted.backend &&
        row.snat_address == wanted.snat_address && row.snat_port == wanted.snat_port &&
        cold.forward_hash == wanted.forward_hash && cold.reply_hash == wanted.reply_hash &&
        ((row.flags & kRowReplyIndexed) != 0) == wanted.reply_indexed;
    return same ? std::optional(life) : std::nullopt;
}

// Takes the memory over: every connection in it was one, and none is there twice.
std::vector<Life> adopted_lives(std::span<std::byte> memory) {
    std::vector<Life> lives;
    std::set<std::uint64_t> seen;
    const auto adopted = WorkerMemory::adopt(memory, kGeometry);
    if (!adopted) {
        ADD_FAILURE() << "not a table any more";
        return lives;
    }
    const ConnectionTable& table = adopted->memory.table;
    EXPECT_TRUE(table.consistent());
    for (EntryIndex entry = 0; entry < kCapacity; entry++) {
        const HotRow& row = table.row(entry);
        if (row.state == kRowFree)
            continue;
        const auto life = life_of(row, table.cold(entry));
        EXPECT_TRUE(life) << "entry " << entry << " is no connection that ever was";
        if (!life || life->id >= Ledger::kClients)
            continue;
        EXPECT_TRUE(seen.insert(life->seed()).second)
            << "life " << life->number << " of client " << life->id << " has come back twice";
        lives.push_back(*life);
    }
    return lives;
}

// The life of each client, who has one at a time; 0: none.
std::vector<std::uint32_t> by_client(const std::vector<Life>& lives) {
    std::vector<std::uint32_t> number(Ledger::kClients, 0);
    for (const Life& life : lives) {
        EXPECT_EQ(number[life.id], 0u) << "client " << life.id << " has come back twice";
        number[life.id] = life.number;
    }
    return number;
}

TEST(TakeoverAfterAKill, BringsBackWhatWasConfirmedAndNothingElse) {
    std::mt19937_64 random(20261128);
    const Shared memory(WorkerMemory::bytes_needed(kGeometry));
    const Shared about(sizeof(Ledger));
    auto& ledger = *reinterpret_cast<Ledger*>(about.span().data());
    std::uint64_t came_back = 0;
    std::uint64_t in_the_middle = 0;
    for (int kill = 0; kill < kKills && !HasFailure(); kill++) {
        std::memset(about.span().data(), 0, sizeof(Ledger));
        const std::uint64_t seed = random();
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            Writer writer(memory.span(), ledger, seed);
            for (;;)
                writer.step();
        }
        while (ledger.steps.load(std::memory_order_relaxed) < 500)
            std::this_thread::yield();
        const auto until = std::chrono::steady_clock::now() +
                           std::chrono::nanoseconds(static_cast<std::int64_t>(random() % 100'000));
        while (std::chrono::steady_clock::now() < until) {
        }
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);

        const std::vector<std::uint32_t> lives = by_client(adopted_lives(memory.span()));
        const std::uint32_t busy = ledger.busy.load();
        in_the_middle += busy != kNoEntry;
        for (std::uint32_t id = 0; id < Ledger::kClients; id++) {
            if (id == busy)
                continue;
            const Ledger::Client& client = ledger.client[id];
            EXPECT_EQ(lives[id], client.confirmed ? client.life : 0) << "client " << id;
            came_back += lives[id] != 0;
        }
    }
    EXPECT_GT(came_back, 1000u * 10);
    EXPECT_GT(in_the_middle, 100u) << "the kills have missed the instants that matter";
}

// Harsher than a kill: while the copy is made the writer goes on, so rows are torn in the copy that
// no process leaves so. A client may be there with two lives, one of which ended meanwhile.
TEST(TakeoverOfATornCopy, NeverBringsBackAConnectionThatWasNot) {
    std::mt19937_64 random(1128);
    const Shared memory(WorkerMemory::bytes_needed(kGeometry));
    const Shared copy(WorkerMemory::bytes_needed(kGeometry));
    const Shared about(sizeof(Ledger));
    auto& ledger = *reinterpret_cast<Ledger*>(about.span().data());
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        Writer writer(memory.span(), ledger, 7);
        for (;;)
            writer.step();
    }
    std::uint64_t came_back = 0;
    for (int round = 0; round < kKills && !HasFailure(); round++) {
        const std::uint32_t before = ledger.steps.load();
        while (ledger.steps.load() < before + 50)
            std::this_thread::yield();
        std::memcpy(copy.span().data(), memory.span().data(), copy.span().size());
        came_back += adopted_lives(copy.span()).size();
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_GT(came_back, 1000u);
}

// The judge's own negative control: a row with another's backend, whose check was made to fit.
TEST(TakeoverOfATornCopy, TheJudgeKnowsAWrongBackend) {
    HotRow row{};
    const Life life{3, 7};
    const NewConnection wanted = life.connection();
    row.client = weir_address_from_v4(0x0a000003);
    row.client_port = 7;
    row.service_port = 80;
    row.vip = static_cast<std::uint16_t>(wanted.key.ports_and_vip >> 32);
    row.snat_port = wanted.snat_port;
    row.snat_address = wanted.snat_address;
    row.backend = wanted.backend & (kBackendRowLimit - 1);
    row.flags = wanted.reply_indexed ? kRowReplyIndexed : 0;
    ColdRow cold{};
    cold.forward_hash = wanted.forward_hash;
    cold.reply_hash = wanted.reply_hash;
    EXPECT_TRUE(life_of(row, cold));
    row.backend ^= 1;
    EXPECT_FALSE(life_of(row, cold));
}

} // namespace
} // namespace weir::lb
