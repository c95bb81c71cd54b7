// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/pcapng.hpp"

#include <algorithm>

namespace weir::control {
namespace {

// Numbers of the draft: blocks of section 11.1, options of 3.5.1, 4.1, 4.2, 4.3 and 4.6.
constexpr std::uint32_t kSection = 0x0a0d0d0a;
constexpr std::uint32_t kInterface = 1;
constexpr std::uint32_t kStatistics = 5;
constexpr std::uint32_t kPacket = 6;
constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
constexpr std::uint16_t kLinkEthernet = 1;
constexpr std::uint16_t kEnd = 0;
constexpr std::uint16_t kComment = 1;
constexpr std::uint16_t kSectionApplication = 4;
constexpr std::uint16_t kInterfaceName = 2;
constexpr std::uint16_t kInterfaceTimeResolution = 9;
constexpr std::uint16_t kPacketFlags = 2;
constexpr std::uint16_t kStatisticsDelivered = 8;
constexpr std::uint32_t kInbound = 1; // bits 0 and 1 of the flags (4.3.1)
constexpr std::uint32_t kOutbound = 2;
constexpr std::size_t kMostOptionBytes = 0xffff;

class Block {
public:
    Block(std::string& out, std::uint32_t type) : out_(out), start_(out.size()) {
        number(type, 4);
        number(0, 4); // the length, when it is known
    }
    void number(std::uint64_t value, int bytes) {
        for (int i = 0; i < bytes; i++)
            out_ += static_cast<char>(value >> (8 * i) & 0xff);
    }
    // A time in an interface's resolution: the upper half comes first (4.3).
    void time(std::uint64_t time) {
        number(time >> 32, 4);
        number(time, 4);
    }
    void bytes(std::string_view text) {
        out_ += text;
        out_.append((4 - text.size() % 4) % 4, '\0');
    }
    void option(std::uint16_t code, std::string_view value) {
        value = value.substr(0, kMostOptionBytes);
        number(code, 2);
        number(value.size(), 2);
        bytes(value);
    }
    void option_header(std::uint16_t code, std::uint16_t length) {
        number(code, 2);
        number(length, 2);
    }
    void finish() {
        option_header(kEnd, 0);
        const auto length = static_cast<std::uint32_t>(out_.size() - start_ + 4);
        number(length, 4);
        for (int i = 0; i < 4; i++)
            out_[start_ + 4 + static_cast<std::size_t>(i)] =
                static_cast<char>(length >> (8 * i) & 0xff);
    }

private:
    std::string& out_;
    std::size_t start_;
};

} // namespace

void append_pcapng_section(std::string& out, std::string_view application) {
    Block block(out, kSection);
    block.number(kByteOrder, 4);
    block.number(1, 2); // version 1.0
    block.number(0, 2);
    block.number(UINT64_MAX, 8); // the section's length is not known
    block.option(kSectionApplication, application);
    block.finish();
}

void append_pcapng_interface(std::string& out, std::string_view name, std::uint32_t snaplen) {
    Block block(out, kInterface);
    block.number(kLinkEthernet, 2);
    block.number(0, 2);
    block.number(snaplen, 4);
    block.option(kInterfaceName, name);
    block.option(kInterfaceTimeResolution, "\x09"); // 10^-9 s
    block.finish();
}

void append_pcapng_packet(std::string& out, const PcapngPacket& packet) {
    Block block(out, kPacket);
    block.number(packet.interface, 4);
    block.time(packet.time_ns);
    block.number(packet.bytes.size(), 4);
    block.number(packet.original_length, 4);
    block.bytes({reinterpret_cast<const char*>(packet.bytes.data()), packet.bytes.size()});
    block.option(kComment, packet.comment);
    block.option_header(kPacketFlags, 4);
    block.number(packet.outbound ? kOutbound : kInbound, 4);
    block.finish();
}

void append_pcapng_statistics(std::string& out, std::uint32_t interface, std::uint64_t time_ns,
                              std::uint64_t delivered, std::string_view comment) {
    Block block(out, kStatistics);
    block.number(interface, 4);
    block.time(time_ns);
    if (!comment.empty())
        block.option(kComment, comment);
    block.option_header(kStatisticsDelivered, 8);
    block.number(delivered, 8);
    block.finish();
}

} // namespace weir::control
