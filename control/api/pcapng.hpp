// SPDX-License-Identifier: BSD-3-Clause
// Blocks of a pcapng file (IETF draft-tuexen-opsawg-pcapng), little-endian, appended to a string.
// A file is a section, its interfaces in order, packets, statistics.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weir::control {

// Section Header Block (4.1), of unknown length.
void append_pcapng_section(std::string& out, std::string_view application);

// Interface Description Block (4.2): Ethernet, times in nanoseconds. The n-th is interface n - 1.
void append_pcapng_interface(std::string& out, std::string_view name, std::uint32_t snaplen);

struct PcapngPacket {
    std::uint32_t interface = 0;
    std::uint64_t time_ns = 0; // since 1970 UTC
    std::uint32_t original_length = 0;
    std::span<const std::uint8_t> bytes;
    bool outbound = false;
    std::string_view comment;
};
// Enhanced Packet Block (4.3).
void append_pcapng_packet(std::string& out, const PcapngPacket& packet);

// Interface Statistics Block (4.6).
void append_pcapng_statistics(std::string& out, std::uint32_t interface, std::uint64_t time_ns,
                              std::uint64_t delivered, std::string_view comment);

} // namespace weir::control
