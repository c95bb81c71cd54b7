// SPDX-License-Identifier: BSD-3-Clause
// What the dataplane before this one has left, as control kept it: the workers' memory and the
// legend of their rows. Where workers and tables are as before, the memory itself is used on; else
// the connections are read out of it and it is given back. Nothing of a connection is judged before
// the first generation is there (lb/takeover.hpp).
#pragma once

#include "config/config.hpp"
#include "dataplane/channel/messages.hpp"
#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/lb/takeover.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace weir::dpdk {

// The kernel's name for this boot.
lb::BootId boot_id();
std::uint64_t monotonic_s();

struct Inheritance {
    std::vector<channel::SharedMemory> tables; // by worker; empty: nothing to be used on
    channel::SharedMemory legend;
    std::unique_ptr<lb::Takeover> takeover; // null: nothing was left

    // One message of control's and its descriptor. False: it belongs elsewhere.
    bool take(const channel::Memory& message, channel::Descriptor descriptor);
    // All has come. What a table of another layout or boot holds is let go.
    void open(std::uint32_t workers);
    // Keeps the tables that workers of this geometry can use on in such pages; reads the others
    // out.
    void keep_fitting(const lb::TableGeometry& geometry, config::HugepageUse hugepages);
    // Reads all tables out. `give_back`: their pages become free whoever else holds the memory.
    void read_out(bool give_back);

private:
    [[nodiscard]] bool fits(const lb::TableGeometry& geometry, config::HugepageUse hugepages) const;
};

// Whether the memory lies in huge pages.
bool in_huge_pages(const channel::SharedMemory& memory);

} // namespace weir::dpdk
