// SPDX-License-Identifier: BSD-3-Clause
// The words after `weirctl` -> a Command, or what to say and the exit code. Called by run.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

namespace weir::weirctl {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kBadUsage = 2; // or a bad configuration

enum class Verb : std::uint8_t {
    kCheck,
    kApply,
    kStatus,
    kVipList,
    kVipShow,
    kPoolList,
    kPoolShow,
    kBackend,
    kNode,
    kCounters,
    kDrops,
    kConnections,
    kCapture,
    kExplain,
    kEvents,
};

struct Command {
    Verb verb = Verb::kStatus;
    std::string runtime_directory = "/run/weir";
    bool json = false;
    std::string file;         // check, apply
    std::string name;         // of the VIP or pool to show
    std::string action;       // backend: drain | ready | disable | weight; node: drain | resume
    bool force = false;       // node drain
    std::string backend;      // POOL/NAME; connections: empty for all
    std::uint16_t weight = 0; // backend weight
    std::string vip;          // connections, capture: empty for all
    // connections; empty or 0: not said
    std::string client;
    std::string state;
    std::uint32_t limit = 0;
    bool count = false;
    std::string packet;      // explain
    bool follow = false;     // events
    std::uint64_t after = 0; // events: only later ones
    // capture; empty or 0: not said
    std::string verdict;
    std::uint64_t packets = 0;
    std::string duration;
    std::uint32_t snaplen = 0;
    std::string write; // file, or "-" for standard output
};

struct ParsedCommand {
    std::optional<Command> command; // nothing: all has been said, end with exit_code
    int exit_code = kDone;
};

ParsedCommand parse_command_line(int argc, const char* const* argv, const std::string& version,
                                 std::ostream& out, std::ostream& err);

} // namespace weir::weirctl
