// SPDX-License-Identifier: BSD-3-Clause
// The balancer on its interfaces: a link each, pinned, so that it stays there when control ends. A
// program that takes another's place does so by an update of the link: no packet finds the
// interface without one, and no driver resets its queues. Control's main thread only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "xdp/library.hpp"

namespace weir::xdp {

enum class AttachMode { kNative, kGeneric }; // in the driver, or behind it for lack of support

class Attachments {
public:
    // `directory`: for the pins; it exists.
    explicit Attachments(std::string directory) : directory_(std::move(directory)) {}

    // Puts `program` on the interface, in place of one that an earlier control left there.
    Expected<AttachMode> attach(const std::string& name, int program);

    // Is that link alive, on the interface that has this name now?
    bool intact(const std::string& name) const;

    // Is the pinned link that of an interface of this network namespace?
    bool is_here(const std::string& name) const;

    // Names of pinned links, of this control or an earlier one.
    std::set<std::string> names() const;
    // Ids of the maps that the program of a link uses; empty when the link is dead.
    std::set<uint32_t> maps_of(const std::string& name) const;

    // Takes the program off the interface.
    void release(const std::string& name);

private:
    std::string pin_of(const std::string& name) const;
    Expected<void> replace(const std::string& name, int link, int program);
    Expected<AttachMode> create(const std::string& name, unsigned ifindex, int program);

    std::string directory_;
    std::map<std::string, Descriptor> links_;
};

// The name of the XDP program on an interface, in the way of a link; empty: there is none.
std::string program_on(unsigned ifindex);

} // namespace weir::xdp
