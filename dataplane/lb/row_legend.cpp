// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/row_legend.hpp"

#include <initializer_list>

namespace weir::lb {
namespace {

// Not keyed: the rows are control's own.
std::uint64_t mixed(std::initializer_list<std::uint64_t> words) {
    std::uint64_t sum = 0x5765'6972'6c65'6764;
    for (const std::uint64_t word : words) {
        sum = (sum ^ word) * 0x9e3779b97f4a7c15;
        sum ^= sum >> 32;
    }
    return sum == 0 ? 1 : sum;
}

// Numbers that `rows` does not reach mean nothing any more.
template <class Row, std::size_t Size>
void write(std::array<std::uint64_t, Size>& to, std::span<const Row> rows) {
    for (std::size_t i = 0; i < Size; i++) {
        const std::uint64_t wanted = i < rows.size() ? fingerprint(rows[i]) : 0;
        if (to[i] != wanted)
            __atomic_store_n(&to[i], wanted, __ATOMIC_RELEASE);
    }
}

} // namespace

std::uint64_t fingerprint(const weir_vip_row& vip) {
    if (vip.identity == 0)
        return 0;
    return mixed({vip.identity, vip.address.word[0], vip.address.word[1],
                  std::uint64_t{vip.protocol} | std::uint64_t{vip.forward} << 8});
}

std::uint64_t fingerprint(const weir_backend_row& backend) {
    if (backend.state == WEIR_BACKEND_FREE)
        return 0;
    return mixed({backend.identity, backend.address.word[0], backend.address.word[1],
                  std::uint64_t{backend.port}});
}

std::uint64_t fingerprint(const weir_snat_row& snat) {
    return mixed({snat.address.word[0], snat.address.word[1]});
}

std::uint64_t fingerprint(const weir_interface_row& interface) {
    return mixed({interface.identity});
}

RowLegend& format_legend(std::span<std::byte> memory, const BootId& boot_id) {
    auto& legend = *reinterpret_cast<RowLegend*>(memory.data());
    legend.version = kLegendVersion;
    legend.bytes = sizeof(RowLegend);
    legend.boot_id = boot_id;
    __atomic_store_n(&legend.magic, kLegendMagic, __ATOMIC_RELEASE);
    return legend;
}

RowLegend* adopt_legend(std::span<std::byte> memory, const BootId& boot_id) {
    if (memory.size() < sizeof(RowLegend))
        return nullptr;
    auto* legend = reinterpret_cast<RowLegend*>(memory.data());
    const bool ours = legend->magic == kLegendMagic && legend->version == kLegendVersion &&
                      legend->bytes == sizeof(RowLegend) && legend->boot_id == boot_id;
    return ours ? legend : nullptr;
}

void write_legend(RowLegend& legend, const ForwardingState& state) {
    legend.hash_key = state.hash_key();
    write(legend.vips, state.vips());
    write(legend.backends, state.backends());
    write(legend.snat, state.snat());
    write(legend.interfaces, state.interfaces());
}

} // namespace weir::lb
