// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/channel/sealed_memory.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace weir::channel {
namespace {

constexpr int kAllSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::string failed(const char* what) {
    return std::string(what) + ": " + std::strerror(errno);
}

bool check_seals(const Descriptor& descriptor, std::string& problem) {
    const int seals = ::fcntl(descriptor.get(), F_GET_SEALS);
    if (seals >= 0 && (seals & kAllSeals) == kAllSeals)
        return true;
    problem = "the memory segment is not sealed";
    return false;
}

std::optional<std::size_t> size_of(const Descriptor& descriptor, std::string& problem) {
    struct stat status {};
    if (::fstat(descriptor.get(), &status) != 0 || status.st_size <= 0) {
        problem = "the memory segment is empty";
        return std::nullopt;
    }
    return static_cast<std::size_t>(status.st_size);
}

} // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    if (this != &other) {
        if (fd_ >= 0)
            ::close(fd_);
        fd_ = other.release();
    }
    return *this;
}

Descriptor::~Descriptor() {
    if (fd_ >= 0)
        ::close(fd_);
}

int Descriptor::release() {
    return std::exchange(fd_, -1);
}

Descriptor Descriptor::duplicate() const {
    return Descriptor(::fcntl(fd_, F_DUPFD_CLOEXEC, 0));
}

std::optional<std::size_t> sealed_size(const Descriptor& descriptor, std::string& problem) {
    return check_seals(descriptor, problem) ? size_of(descriptor, problem) : std::nullopt;
}

bool read_whole(const Descriptor& descriptor, std::span<std::byte> into, std::string& problem) {
    std::size_t at = 0;
    while (at < into.size()) {
        const ssize_t read =
            ::pread(descriptor.get(), into.data() + at, into.size() - at, static_cast<off_t>(at));
        if (read < 0 && errno == EINTR)
            continue;
        if (read <= 0) {
            problem = read == 0 ? "the memory segment is shorter than it was"
                                : failed("cannot read a memory segment");
            return false;
        }
        at += static_cast<std::size_t>(read);
    }
    return true;
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : descriptor_(std::move(other.descriptor_)), bytes_(std::exchange(other.bytes_, {})) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
    if (this != &other) {
        unmap();
        descriptor_ = std::move(other.descriptor_);
        bytes_ = std::exchange(other.bytes_, {});
    }
    return *this;
}

SharedMemory::~SharedMemory() {
    unmap();
}

void SharedMemory::unmap() {
    if (bytes_.data())
        ::munmap(bytes_.data(), bytes_.size());
    bytes_ = {};
}

std::optional<SharedMemory> SharedMemory::create(const char* name, std::size_t bytes, bool huge,
                                                 std::string& problem) {
    unsigned flags = MFD_CLOEXEC | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0u);
    std::size_t size = huge ? (bytes + kHugePage - 1) / kHugePage * kHugePage : bytes;
    SharedMemory memory;
    memory.descriptor_ = Descriptor(::memfd_create(name, flags));
    if (!memory.descriptor_ || ::ftruncate(memory.descriptor(), static_cast<off_t>(size)) != 0) {
        problem = failed("cannot create shared memory");
        return std::nullopt;
    }
    // Huge pages are taken now: a later fault without a page would be a SIGBUS.
    int map_flags = MAP_SHARED | (huge ? MAP_POPULATE : 0);
    void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, map_flags, memory.descriptor(), 0);
    if (at == MAP_FAILED) {
        problem = failed("cannot map shared memory");
        return std::nullopt;
    }
    memory.bytes_ = {static_cast<std::byte*>(at), size};
    return memory;
}

std::optional<SharedMemory> SharedMemory::create_sealed(const char* name,
                                                        std::span<const std::byte> content,
                                                        std::string& problem) {
    Descriptor descriptor(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!descriptor) {
        problem = failed("cannot create a memory segment");
        return std::nullopt;
    }
    std::span<const std::byte> rest = content;
    while (!rest.empty()) {
        ssize_t written = ::write(descriptor.get(), rest.data(), rest.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            problem = failed("cannot fill a memory segment");
            return std::nullopt;
        }
        rest = rest.subspan(static_cast<std::size_t>(written));
    }
    if (::fcntl(descriptor.get(), F_ADD_SEALS, kAllSeals | F_SEAL_SEAL) != 0) {
        problem = failed("cannot seal a memory segment");
        return std::nullopt;
    }
    return map(std::move(descriptor), Access::read_only, true, problem);
}

std::optional<SharedMemory> SharedMemory::map(Descriptor descriptor, Access access,
                                              bool must_be_sealed, std::string& problem) {
    if (must_be_sealed && !check_seals(descriptor, problem))
        return std::nullopt;
    const auto size = size_of(descriptor, problem);
    if (!size)
        return std::nullopt;
    int protection = access == Access::read_write ? PROT_READ | PROT_WRITE : PROT_READ;
    int flags = must_be_sealed ? MAP_PRIVATE : MAP_SHARED;
    void* at = ::mmap(nullptr, *size, protection, flags, descriptor.get(), 0);
    if (at == MAP_FAILED) {
        problem = failed("cannot map a memory segment");
        return std::nullopt;
    }
    SharedMemory memory;
    memory.descriptor_ = std::move(descriptor);
    memory.bytes_ = {static_cast<std::byte*>(at), *size};
    return memory;
}

} // namespace weir::channel
