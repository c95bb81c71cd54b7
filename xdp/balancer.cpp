// SPDX-License-Identifier: BSD-3-Clause
// Loading and counters. What is published: balancer_publisher.cpp; connections:
// balancer_connections.cpp; another engine's: balancer_given.cpp; what outlives control:
// balancer_pins.cpp.
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "dataplane/lb/counters.hpp"
#include "xdp/objects.hpp"

namespace weir::xdp {
namespace {

constexpr const char* kSettings = ".rodata.settings";
constexpr const char* kInjection = ".data.injection";
constexpr uint32_t kProbationShare = 4; // of the table, for exceptions that may be forged

struct MapSize {
    const char* name;
    uint32_t entries;
};

// Pages for the largest root that these rows can make.
uint32_t root_pages(const weir_balancer_capacities& rows) {
    const size_t bytes =
        sizeof(lb::StateHeader) + size_t{rows.vips} * sizeof(weir_vip_row) +
        size_t{rows.pools} * (sizeof(weir_pool_row) + 2 * sizeof(lb::SegmentRow)) +
        size_t{rows.members} * sizeof(uint32_t) + size_t{rows.backends} * sizeof(weir_backend_row) +
        size_t{rows.next_hops} * sizeof(weir_next_hop_row) +
        WEIR_MATCH_MAX_ROWS * sizeof(weir_match_row) + WEIR_MAX_RANGES * sizeof(weir_range_row) +
        WEIR_MAX_SNAT_ADDRESSES * sizeof(weir_snat_row) +
        WEIR_MAX_INTERFACES * sizeof(weir_interface_row);
    return static_cast<uint32_t>(bytes / WEIR_ROOT_PAGE_BYTES + 2); // tables begin aligned
}

Expected<void> set_sizes(bpf_object* object, const BalancerSizes& sizes) {
    const weir_balancer_capacities& rows = sizes.rows;
    for (const MapSize& size :
         {MapSize{"vip_rows", 2 * rows.vips}, MapSize{"pool_rows", 2 * rows.pools},
          MapSize{"member_rows", 2 * rows.members}, MapSize{"backend_rows", 2 * rows.backends},
          MapSize{"next_hop_rows", 2 * rows.next_hops}, MapSize{"slot_rows", rows.slot_rows},
          MapSize{"running_roots", 2 * root_pages(rows)}, MapSize{"vip_counts", rows.vips},
          MapSize{"vip_active", rows.vips}, MapSize{"vip_held", rows.vips},
          MapSize{"backend_counts", rows.backends}, MapSize{"backend_active", rows.backends},
          MapSize{"vip_unrecorded", rows.vips}, MapSize{"backend_unrecorded", rows.backends},
          MapSize{"recent_hops", rows.vips}, MapSize{"round_cursors", rows.pools},
          MapSize{"connections", sizes.connections}, MapSize{"replies", sizes.connections}}) {
        bpf_map* map = bpf_object__find_map_by_name(object, size.name);
        const int error = map ? bpf_map__set_max_entries(map, std::max(size.entries, 1u)) : -ENOENT;
        if (error != 0)
            return kernel_error(std::string("size the balancer's map ") + size.name, -error);
    }
    return {};
}

Expected<void> set_up(bpf_object* object, const BalancerSizes& sizes) {
    const weir_balancer_settings settings{
        .capacities = sizes.rows,
        .processors =
            sizes.injected ? 1 : static_cast<uint32_t>(std::max(libbpf_num_possible_cpus(), 1)),
        .injected = sizes.injected,
        .half_open = std::max(sizes.connections / kProbationShare, 1u)};
    bpf_map* map = bpf_object__find_map_by_name(object, kSettings);
    const int error = map ? bpf_map__set_initial_value(map, &settings, sizeof(settings)) : -ENOENT;
    if (error != 0)
        return kernel_error("set up the balancer", -error);
    return {};
}

} // namespace

// --- Mapping -------------------------------------------------------------------------------------

Expected<Mapping> Mapping::of(int map, const char* name) {
    bpf_map_info info{};
    uint32_t bytes = sizeof(info);
    if (bpf_obj_get_info_by_fd(map, &info, &bytes) != 0)
        return kernel_error(std::string("look at the balancer's map ") + name, errno);
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    Mapping mapping;
    mapping.stride_ = (size_t{info.value_size} + 7) / 8 * 8;
    mapping.values_ = info.max_entries;
    mapping.bytes_ = (mapping.stride_ * mapping.values_ + page - 1) / page * page;
    void* at = mmap(nullptr, mapping.bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    if (at == MAP_FAILED)
        return kernel_error(std::string("map the balancer's ") + name, errno);
    mapping.at_ = static_cast<std::byte*>(at);
    return mapping;
}

Mapping::Mapping(Mapping&& other) noexcept
    : at_(std::exchange(other.at_, nullptr)), bytes_(other.bytes_), stride_(other.stride_),
      values_(other.values_) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(bytes_, other.bytes_);
    std::swap(stride_, other.stride_);
    std::swap(values_, other.values_);
    return *this;
}

Mapping::~Mapping() {
    if (at_)
        munmap(at_, bytes_);
}

// --- Balancer ------------------------------------------------------------------------------------

void Balancer::CloseObject::operator()(bpf_object* object) const {
    bpf_object__close(object);
}

Balancer::Balancer(Object object, const BalancerSizes& sizes, MatchBlocks blocks)
    : object_(std::move(object)), sizes_(sizes), blocks_(std::move(blocks)),
      arena_(sizes.rows.slot_rows) {}

int Balancer::map(const char* name) const {
    return bpf_object__find_map_fd_by_name(object_.get(), name);
}

Expected<Balancer::Object> Balancer::open_object() {
    const std::span<const char> bytes = balancer_object();
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "weir_balancer");
    Object object(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
    if (!object)
        return kernel_error("open the balancer", errno);
    return object;
}

Expected<Balancer> Balancer::load(const BalancerSizes& sizes) {
    auto object = open_object();
    if (!object)
        return object.error();
    if (auto sized = set_sizes(object->get(), sizes); !sized)
        return sized.error();
    return start(std::move(*object), sizes);
}

Expected<Balancer> Balancer::start(Object object, const BalancerSizes& sizes) {
    if (auto set = set_up(object.get(), sizes); !set)
        return set.error();
    if (int error = bpf_object__load(object.get()); error != 0)
        return kernel_error("load the balancer", -error);
    auto match = copy_of_map(object.get(), "match_blocks");
    auto state = copy_of_map(object.get(), "steer_state");
    if (!match || !state)
        return (!match ? match : state).error();
    auto blocks = MatchBlocks::open(std::move(*match), std::move(*state));
    if (!blocks)
        return blocks.error();
    Balancer balancer(std::move(object), sizes, std::move(*blocks));
    balancer.program_ =
        bpf_program__fd(bpf_object__find_program_by_name(balancer.object_.get(), "weir_balance"));
    if (auto mapped = balancer.map_rows(); !mapped)
        return mapped.error();
    return balancer;
}

Expected<void> Balancer::map_rows() {
    const std::array<std::pair<const char*, Mapping*>, 15> wanted = {{
        {"vip_rows", &rows_[kVips]},
        {"pool_rows", &rows_[kPools]},
        {"member_rows", &rows_[kMembers]},
        {"backend_rows", &rows_[kBackends]},
        {"next_hop_rows", &rows_[kNextHops]},
        {"slot_rows", &slots_},
        {"running_roots", &roots_},
        {"vip_active", &vip_active_},
        {"vip_held", &vip_held_},
        {"backend_active", &backend_active_},
        {"exceptions", &exceptions_},
        {"vip_unrecorded", &vip_unrecorded_},
        {"backend_unrecorded", &backend_unrecorded_},
        {"round_cursors", &cursors_},
        {kInjection, &injection_},
    }};
    for (const auto& [name, mapping] : wanted) {
        auto mapped = Mapping::of(map(name), name);
        if (!mapped)
            return mapped.error();
        *mapping = std::move(*mapped);
    }
    return {};
}

bool adds_up(const weir_balancer_counts& counts) {
    uint64_t came = 0;
    uint64_t left = 0;
    uint64_t judged = 0;
    uint64_t sent = 0;
    for (const weir_balancer_port& port : counts.ports) {
        came += port.rx_packets;
        left += port.tx_packets;
    }
    for (uint32_t verdict = 1; verdict < WEIR_VERDICT_COUNT; verdict++) {
        judged += counts.verdicts[verdict];
        if (lb::verdict_info(verdict).verdict_class == WEIR_CLASS_FORWARD)
            sent += counts.verdicts[verdict];
    }
    return came == judged && left == sent;
}

volatile weir_balancer_injection& Balancer::injection() const {
    return *reinterpret_cast<volatile weir_balancer_injection*>(injection_.value(0));
}

uint64_t Balancer::count_in(const Mapping& counts, uint32_t row) {
    if (row >= counts.values())
        return 0;
    auto* count = reinterpret_cast<int64_t*>(counts.value(row));
    const int64_t now = std::atomic_ref<int64_t>(*count).load(std::memory_order_relaxed);
    return static_cast<uint64_t>(std::max<int64_t>(now, 0));
}

template <class Value> Expected<Value> Balancer::sum(const char* name, uint32_t row) const {
    static_assert(sizeof(Value) % sizeof(uint64_t) == 0);
    const int processors = libbpf_num_possible_cpus();
    std::vector<Value> values(static_cast<size_t>(std::max(processors, 1)));
    if (processors < 1 || bpf_map_lookup_elem(map(name), &row, values.data()) != 0)
        return kernel_error("read the balancer's counters", processors < 1 ? -processors : errno);
    std::array<uint64_t, sizeof(Value) / sizeof(uint64_t)> total{};
    for (const Value& value : values) {
        std::array<uint64_t, sizeof(Value) / sizeof(uint64_t)> words;
        std::memcpy(words.data(), &value, sizeof(value));
        for (size_t i = 0; i < words.size(); i++)
            total[i] += words[i];
    }
    Value result;
    std::memcpy(&result, total.data(), sizeof(result));
    return result;
}

Expected<weir_balancer_counts> Balancer::counts() const {
    return sum<weir_balancer_counts>("balancer_counts", 0);
}

Expected<weir_balancer_row_counts> Balancer::vip_counts(uint32_t row) const {
    return sum<weir_balancer_row_counts>("vip_counts", row);
}

Expected<weir_balancer_row_counts> Balancer::backend_counts(uint32_t row) const {
    return sum<weir_balancer_row_counts>("backend_counts", row);
}

Expected<void> Balancer::clear(const char* name) const {
    const int fd = map(name);
    std::array<std::byte, 64> key{}; // longer than any of ours
    while (bpf_map_get_next_key(fd, nullptr, key.data()) == 0)
        if (bpf_map_delete_elem(fd, key.data()) != 0 && errno != ENOENT)
            return kernel_error(std::string("empty the balancer's map ") + name, errno);
    return {};
}

Expected<void> Balancer::forget_all() {
    for (const char* name : {"connections", "replies", "persistence", "datagrams"})
        if (auto cleared = clear(name); !cleared)
            return cleared;
    for (const Mapping* mapping : {&vip_active_, &backend_active_, &cursors_, &exceptions_,
                                   &vip_unrecorded_, &backend_unrecorded_})
        std::memset(mapping->value(0), 0, mapping->stride() * mapping->values());
    const auto processors = static_cast<size_t>(std::max(libbpf_num_possible_cpus(), 1));
    const std::vector<std::byte> zero(processors * sizeof(weir_balancer_counts));
    const auto reset = [&](const char* name, uint32_t rows) {
        for (uint32_t row = 0; row < rows; row++)
            if (bpf_map_update_elem(map(name), &row, zero.data(), BPF_ANY) != 0)
                return false;
        return true;
    };
    if (!reset("balancer_counts", 1) || !reset("buckets", 2) ||
        !reset("recent_hops", vip_active_.values()) || !reset("vip_counts", vip_active_.values()) ||
        !reset("backend_counts", backend_active_.values()))
        return kernel_error("reset the balancer's counters", errno);
    return {};
}

} // namespace weir::xdp
