// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/leases.hpp"

#include <bpf/bpf.h>
#include <sys/mman.h>

#include <cerrno>
#include <functional>
#include <string>

namespace weir::xdp {
namespace {

constexpr size_t kBytes = WEIR_MAX_LEASES * sizeof(uint64_t);
static_assert(kBytes % 4096 == 0, "the map's memory is whole pages");

} // namespace

void Leases::Unmap::operator()(uint64_t* memory) const {
    munmap(memory, kBytes);
}

size_t Leases::HashAddress::operator()(const weir_address& address) const {
    return std::hash<uint64_t>()(address.word[0] * 31 + address.word[1]);
}

bool Leases::SameAddress::operator()(const weir_address& a, const weir_address& b) const {
    return weir_address_equal(&a, &b);
}

Leases::Leases(Descriptor addresses, Descriptor deadlines, Memory memory)
    : addresses_map_(std::move(addresses)), deadlines_map_(std::move(deadlines)),
      deadlines_(std::move(memory)) {}

Expected<Leases> Leases::make() {
    LIBBPF_OPTS(bpf_map_create_opts, by_address, .map_flags = BPF_F_NO_PREALLOC);
    Descriptor addresses(bpf_map_create(BPF_MAP_TYPE_HASH, "weir_leased", sizeof(weir_address),
                                        sizeof(uint32_t), WEIR_MAX_LEASED_ADDRESSES, &by_address));
    if (!addresses)
        return kernel_error("make the map of leased addresses", errno);
    LIBBPF_OPTS(bpf_map_create_opts, shared, .map_flags = BPF_F_MMAPABLE);
    Descriptor deadlines(bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_leases", sizeof(uint32_t),
                                        sizeof(uint64_t), WEIR_MAX_LEASES, &shared));
    if (!deadlines)
        return kernel_error("make the map of leases", errno);
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, deadlines.get(), 0);
    if (memory == MAP_FAILED)
        return kernel_error("map the memory of the leases", errno);
    return Leases(std::move(addresses), std::move(deadlines),
                  Memory(static_cast<uint64_t*>(memory)));
}

Expected<void> Leases::assign(std::span<const LeasedAddress> addresses) {
    decltype(assigned_) wanted;
    for (const LeasedAddress& leased : addresses) {
        if (leased.lease >= WEIR_MAX_LEASES)
            return Error{"there are leases for at most " + std::to_string(WEIR_MAX_LEASES) +
                         " groups"};
        wanted[leased.address] = leased.lease;
    }
    for (auto entry = assigned_.begin(); entry != assigned_.end();) {
        if (wanted.contains(entry->first)) {
            entry++;
            continue;
        }
        if (bpf_map_delete_elem(addresses_map_.get(), &entry->first) != 0 && errno != ENOENT)
            return kernel_error("end a lease", errno);
        entry = assigned_.erase(entry);
    }
    for (const auto& [address, lease] : wanted) {
        if (const auto there = assigned_.find(address);
            there != assigned_.end() && there->second == lease)
            continue;
        if (bpf_map_update_elem(addresses_map_.get(), &address, &lease, BPF_ANY) != 0)
            return kernel_error("put an address under a lease", errno);
        assigned_[address] = lease;
    }
    return {};
}

} // namespace weir::xdp
