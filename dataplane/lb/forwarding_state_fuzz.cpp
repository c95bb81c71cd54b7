// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer target: no bytes that ForwardingState::open accepts crash or misdirect a reader.
// The input is laid over a valid generation as {offset, value} patches, so that the fuzzer starts
// behind the magic number; an input with an odd first byte is a root as it stands.
#include "dataplane/lb/state_sample.hpp"

using namespace weir::lb;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Sample sample;
    static const std::vector<std::byte> good = build_root(sample.tables);
    if (size == 0)
        return 0;
    std::vector<std::byte> bytes = good;
    if (data[0] % 2 != 0) {
        const auto* first = reinterpret_cast<const std::byte*>(data + 1);
        bytes.assign(first, first + size - 1);
    } else {
        for (std::size_t at = 1; at + 3 <= size; at += 3) {
            std::size_t offset = std::size_t{data[at]} * 256 + data[at + 1];
            bytes[offset % bytes.size()] = static_cast<std::byte>(data[at + 2]);
        }
    }
    if (bytes.empty())
        return 0;
    Root root(bytes);
    std::string problem;
    auto rows = ForwardingState::segments_of(root.span(), problem);
    if (!rows)
        return 0;
    std::vector<Segment> segments;
    for (const SegmentRow& row : *rows)
        segments.push_back({row.id, sample.slots, sample.segment.member_bound});
    auto state = ForwardingState::open(root.span(), segments, problem);
    std::mt19937_64 random(size);
    if (state)
        walk(*state, random);
    return 0;
}
