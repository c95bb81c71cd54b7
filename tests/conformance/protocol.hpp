// SPDX-License-Identifier: BSD-3-Clause
// How the suite (engine.py) speaks to an engine under test. On stdin come frames of commands, each
// answered by one frame on stdout; a frame is a 4-byte length and that many bytes, all integers
// little-endian.
//
//   'B' u8 workers, u32 connections a worker, u32 half-open ones   begin a sequence: all empty
//   'S' u32 bytes, state text                                      the next generation
//   'N'                                                            no generation any more
//   'T' u64 milliseconds                                           time passes
//   'P' u8 worker, u8 interface, u8 flags, u16 bytes, frame        a packet comes in
//       flags: 1 from the kernel's side, 2 more packets of the same burst follow
//   'E'                                                            end of the sequence
//
// 'P' is answered by what happened: u16 verdicts, each u8 worker, u8 verdict number, u32 count;
// then u16 frames, each u8 worker, u8 way (0 sent, 1 to the kernel as control, 2 to the kernel), u8
// interface, u16 bytes and the frame. With flag 2 the answer is empty and comes with the last one.
// 'T' is answered in the same way. 'E' by u8 books closed, u32 buffers leaked. 'B', 'S' and 'N' by
// nothing. Anything wrong with a command ends the program with a sentence on stderr.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace weir::conformance {

struct Input {
    std::uint8_t worker;
    std::uint8_t interface;
    bool from_kernel;
    std::span<const std::uint8_t> frame;
};

struct Outcome {
    struct Count {
        std::uint8_t worker;
        std::uint8_t verdict;
        std::uint32_t count;
    };
    struct Frame {
        std::uint8_t worker;
        std::uint8_t way;
        std::uint8_t interface;
        std::vector<std::uint8_t> bytes;
    };
    std::vector<Count> verdicts;
    std::vector<Frame> frames;
};

// What is behind the protocol: the DPDK workers, the XDP programs.
class Engine {
public:
    virtual ~Engine() = default;
    virtual void begin(std::uint32_t workers, std::uint32_t connections,
                       std::uint32_t half_open) = 0;
    virtual void publish(const std::string& state_text) = 0;
    virtual void unpublish() = 0;
    virtual Outcome pass(std::uint64_t milliseconds) = 0;
    virtual void put(const Input& input) = 0; // of the burst under way
    virtual Outcome run() = 0;                // the burst, until all is quiet
    struct End {
        bool books_closed;
        std::uint32_t leaked;
    };
    virtual End end() = 0;
};

class Bytes {
public:
    explicit Bytes(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
    bool more() const { return !bytes_.empty(); }
    template <class Integer> Integer take() {
        Integer value;
        std::memcpy(&value, take(sizeof(value)).data(), sizeof(value));
        return value;
    }
    std::span<const std::uint8_t> take(std::size_t size) {
        if (bytes_.size() < size)
            throw std::runtime_error("a command ends too early");
        auto taken = bytes_.first(size);
        bytes_ = bytes_.subspan(size);
        return taken;
    }

private:
    std::span<const std::uint8_t> bytes_;
};

// Reads commands until stdin ends. Returns the program's exit code.
int serve(Engine& engine);

} // namespace weir::conformance
