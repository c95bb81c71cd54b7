// SPDX-License-Identifier: BSD-3-Clause
#include "tests/conformance/protocol.hpp"

#include <cstdio>

namespace weir::conformance {
namespace {

template <class Integer> void append(std::vector<std::uint8_t>& to, Integer value) {
    std::uint8_t bytes[sizeof(value)];
    std::memcpy(bytes, &value, sizeof(value));
    to.insert(to.end(), bytes, bytes + sizeof(value));
}

void append(std::vector<std::uint8_t>& to, const Outcome& outcome) {
    append(to, static_cast<std::uint16_t>(outcome.verdicts.size()));
    for (const Outcome::Count& count : outcome.verdicts) {
        append(to, count.worker);
        append(to, count.verdict);
        append(to, count.count);
    }
    append(to, static_cast<std::uint16_t>(outcome.frames.size()));
    for (const Outcome::Frame& frame : outcome.frames) {
        append(to, frame.worker);
        append(to, frame.way);
        append(to, frame.interface);
        append(to, static_cast<std::uint16_t>(frame.bytes.size()));
        to.insert(to.end(), frame.bytes.begin(), frame.bytes.end());
    }
}

void packet(Engine& engine, Bytes& commands, std::vector<std::uint8_t>& answer) {
    Input input{};
    input.worker = commands.take<std::uint8_t>();
    input.interface = commands.take<std::uint8_t>();
    const auto flags = commands.take<std::uint8_t>();
    input.from_kernel = flags & 1;
    input.frame = commands.take(commands.take<std::uint16_t>());
    engine.put(input);
    append(answer, (flags & 2) != 0 ? Outcome{} : engine.run());
}

void command(Engine& engine, Bytes& commands, std::vector<std::uint8_t>& answer) {
    const auto kind = commands.take<char>();
    switch (kind) {
    case 'B': {
        const auto workers = commands.take<std::uint8_t>();
        const auto connections = commands.take<std::uint32_t>();
        return engine.begin(workers, connections, commands.take<std::uint32_t>());
    }
    case 'S': {
        auto text = commands.take(commands.take<std::uint32_t>());
        return engine.publish({text.begin(), text.end()});
    }
    case 'N':
        return engine.unpublish();
    case 'T':
        return append(answer, engine.pass(commands.take<std::uint64_t>()));
    case 'P':
        return packet(engine, commands, answer);
    case 'E': {
        const Engine::End end = engine.end();
        append(answer, static_cast<std::uint8_t>(end.books_closed));
        return append(answer, end.leaked);
    }
    default:
        throw std::runtime_error("unknown command " + std::to_string(kind));
    }
}

} // namespace

int serve(Engine& engine) {
    std::vector<std::uint8_t> frame;
    std::vector<std::uint8_t> answer;
    std::uint32_t length = 0;
    while (std::fread(&length, sizeof(length), 1, stdin) == 1) {
        frame.resize(length);
        if (std::fread(frame.data(), 1, length, stdin) != length)
            return 1;
        answer.assign(sizeof(length), 0);
        try {
            for (Bytes commands(frame); commands.more();)
                command(engine, commands, answer);
        } catch (const std::exception& problem) {
            std::fprintf(stderr, "%s\n", problem.what());
            return 1;
        }
        const auto size = static_cast<std::uint32_t>(answer.size() - sizeof(length));
        std::memcpy(answer.data(), &size, sizeof(size));
        std::fwrite(answer.data(), 1, answer.size(), stdout);
        std::fflush(stdout);
    }
    return 0;
}

} // namespace weir::conformance
