// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/inheritance.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <linux/magic.h>
#include <spdlog/spdlog.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace weir::dpdk {

lb::BootId boot_id() {
    std::string text;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> text;
    std::erase(text, '-');
    lb::BootId id{};
    for (std::size_t i = 0; i < id.size() && 2 * i + 1 < text.size(); i++)
        id[i] = static_cast<std::byte>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
    return id;
}

std::uint64_t monotonic_s() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec);
}

bool in_huge_pages(const channel::SharedMemory& memory) {
    struct statfs where {};
    return ::fstatfs(memory.descriptor(), &where) == 0 && where.f_type == HUGETLBFS_MAGIC;
}

bool Inheritance::take(const channel::Memory& message, channel::Descriptor descriptor) {
    const bool table = message.kind == channel::MemoryKind::connections;
    if (!table && message.kind != channel::MemoryKind::legend)
        return false;
    std::string problem;
    auto memory = channel::SharedMemory::map(std::move(descriptor), channel::Access::read_write,
                                             false, problem);
    if (!memory)
        spdlog::warn("connections of the dataplane before are lost: {}", problem);
    else if (table)
        tables.push_back(std::move(*memory));
    else
        legend = std::move(*memory);
    return true;
}

void Inheritance::open(std::uint32_t workers) {
    if (tables.empty())
        return;
    if (const auto* found = lb::adopt_legend(legend.bytes(), boot_id()))
        takeover = std::make_unique<lb::Takeover>(*found, workers);
    else
        spdlog::warn("the connections of the dataplane before are lost: it was of another release");
    if (!takeover)
        tables.clear();
}

bool Inheritance::fits(const lb::TableGeometry& geometry, config::HugepageUse hugepages) const {
    if (tables.size() != geometry.workers)
        return false;
    for (std::uint32_t worker = 0; worker < geometry.workers; worker++) {
        const auto found = lb::ConnectionReader::open(tables[worker].bytes());
        const bool huge = in_huge_pages(tables[worker]);
        if (!found || found->worker() != worker || found->workers() != geometry.workers ||
            found->capacity() != geometry.capacity || found->vips() != geometry.vips ||
            (huge && hugepages == config::HugepageUse::kOff) ||
            (!huge && hugepages == config::HugepageUse::kOn))
            return false;
    }
    return true;
}

void Inheritance::keep_fitting(const lb::TableGeometry& geometry, config::HugepageUse hugepages) {
    if (!fits(geometry, hugepages))
        read_out(true);
}

void Inheritance::read_out(bool give_back) {
    for (channel::SharedMemory& table : tables) {
        if (!takeover->salvage(table.bytes()))
            spdlog::warn("a connection table of the dataplane before is damaged; what it held is "
                         "lost");
        if (give_back && ::ftruncate(table.descriptor(), 0) != 0)
            spdlog::warn("a connection table of the dataplane before keeps its memory");
    }
    tables.clear();
}

} // namespace weir::dpdk
