// SPDX-License-Identifier: BSD-3-Clause
// The edge towards libbpf: its messages, its errors as sentences for operators, and a descriptor
// that closes itself. Used by everything in xdp/; only weir-control links it.
#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include "config/expected.hpp"

struct bpf_object;

namespace weir::xdp {

enum class LogLevel { kDebug, kInfo, kWarning };

// Where libbpf's own messages go, one line each. Nothing is printed until this is called. Call
// before other threads use this library; `sink` runs on whichever thread calls into libbpf.
using LogSink = std::function<void(LogLevel, std::string_view)>;
void set_log_sink(LogSink sink);

// "cannot WHAT: REASON", the reason chosen for what the kernel means by `error` (an errno) here.
Error kernel_error(std::string_view what, int error);

class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor();

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

// A descriptor of its own for a map that `object` holds.
Expected<Descriptor> copy_of_map(const bpf_object* object, const char* name);

// "eth0" for messages; "interface 7" when there is none of that index.
std::string interface_name(unsigned ifindex);

} // namespace weir::xdp
