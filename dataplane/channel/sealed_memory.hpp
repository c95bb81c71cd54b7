// SPDX-License-Identifier: BSD-3-Clause
// Memory that the two processes share by descriptor: sealed segments of ForwardingState (written
// once, then immutable for everybody) and the engine's long-lived tables (written by the engine).
//
// Thread ownership: a mapping belongs to whoever holds the object; objects are moved, not shared.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace weir::channel {

// A file descriptor that closes itself.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    ~Descriptor();

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release();
    Descriptor duplicate() const;

private:
    int fd_ = -1;
};

enum class Access { read_only, read_write };

// Of a received memfd that is to be read once instead of being mapped: its size, if it is not empty
// and sealed against writing, shrinking and growing; and its first bytes.
std::optional<std::size_t> sealed_size(const Descriptor& descriptor, std::string& problem);
bool read_whole(const Descriptor& descriptor, std::span<std::byte> into, std::string& problem);

// A mapped memfd and its descriptor.
class SharedMemory {
public:
    SharedMemory() = default;
    SharedMemory(SharedMemory&& other) noexcept;
    SharedMemory& operator=(SharedMemory&& other) noexcept;
    ~SharedMemory();

    // A new zeroed memfd, mapped shared and writable. With `huge` it is made of 2 MB pages, or not
    // at all when there are not enough of them.
    static std::optional<SharedMemory> create(const char* name, std::size_t bytes, bool huge,
                                              std::string& problem);

    // A memfd that holds a copy of `content` and is sealed against any further change.
    static std::optional<SharedMemory>
    create_sealed(const char* name, std::span<const std::byte> content, std::string& problem);

    // Maps a received descriptor. With `must_be_sealed` the seals are checked first (write, shrink
    // and grow all sealed) and the mapping is private: the sender cannot change what was validated.
    static std::optional<SharedMemory> map(Descriptor descriptor, Access access,
                                           bool must_be_sealed, std::string& problem);

    std::span<std::byte> bytes() const { return bytes_; }
    int descriptor() const { return descriptor_.get(); }
    explicit operator bool() const { return bytes_.data() != nullptr; }

private:
    void unmap();
    Descriptor descriptor_;
    std::span<std::byte> bytes_;
};

} // namespace weir::channel
