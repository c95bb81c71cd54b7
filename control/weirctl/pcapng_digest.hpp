// SPDX-License-Identifier: BSD-3-Clause
// Counts the packets of a pcapng stream as it passes by, and finds what its writer says at the end:
// the comment of the first Interface Statistics Block. For streams of our own server.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::weirctl {

class PcapngDigest {
public:
    // False: this is no pcapng; nothing is looked at any more.
    bool feed(std::string_view piece);

    [[nodiscard]] std::uint64_t packets() const { return packets_; }
    [[nodiscard]] bool has_statistics() const { return has_statistics_; }
    // Of "KEY=VALUE ..." in the comment; empty when it is not there.
    [[nodiscard]] std::string said(std::string_view key) const;
    // Ends inside no block.
    [[nodiscard]] bool whole() const { return rest_.empty(); }

private:
    void take(std::string_view block);

    std::string rest_; // of a block that has not come whole
    bool broken_ = false;
    std::uint64_t packets_ = 0;
    bool has_statistics_ = false;
    std::string comment_;
};

} // namespace weir::weirctl
