// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/pcapng_digest.hpp"

#include <algorithm>
#include <cstddef>

namespace weir::weirctl {
namespace {

// Of the draft (draft-tuexen-opsawg-pcapng), as control/api/pcapng.cpp writes them.
constexpr std::uint32_t kPacketBlock = 6;
constexpr std::uint32_t kStatisticsBlock = 5;
constexpr std::uint32_t kCommentOption = 1;
constexpr std::size_t kSmallestBlock = 12;
constexpr std::size_t kLargestBlock = std::size_t{1} << 20;
constexpr std::size_t kStatisticsFixed = 20; // type, length, interface, time

std::uint32_t number(std::string_view bytes, std::size_t at, std::size_t size) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; i++)
        value |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
    return value;
}

} // namespace

bool PcapngDigest::feed(std::string_view piece) {
    if (broken_)
        return false;
    rest_ += piece;
    std::size_t at = 0;
    while (rest_.size() - at >= 8) {
        const std::size_t length = number(rest_, at + 4, 4);
        if (length < kSmallestBlock || length % 4 != 0 || length > kLargestBlock) {
            broken_ = true;
            return false;
        }
        if (rest_.size() - at < length)
            break;
        take(std::string_view(rest_).substr(at, length));
        at += length;
    }
    rest_.erase(0, at);
    return true;
}

void PcapngDigest::take(std::string_view block) {
    const std::uint32_t type = number(block, 0, 4);
    packets_ += type == kPacketBlock;
    if (type != kStatisticsBlock || has_statistics_)
        return;
    has_statistics_ = true;
    for (std::size_t at = kStatisticsFixed; at + 4 <= block.size() - 4;) {
        const std::uint32_t code = number(block, at, 2);
        const std::size_t length = number(block, at + 2, 2);
        at += 4;
        if (code == 0 || at + length > block.size() - 4)
            return;
        if (code == kCommentOption)
            comment_ = block.substr(at, length);
        at += (length + 3) / 4 * 4;
    }
}

std::string PcapngDigest::said(std::string_view key) const {
    const std::string text = " " + comment_ + " ";
    const std::string wanted = " " + std::string(key) + "=";
    const std::size_t at = text.find(wanted);
    if (at == std::string::npos)
        return {};
    const std::size_t begin = at + wanted.size();
    return text.substr(begin, text.find(' ', begin) - begin);
}

} // namespace weir::weirctl
