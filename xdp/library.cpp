// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/library.hpp"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>

namespace weir::xdp {
namespace {

LogSink& log_sink() {
    static LogSink sink;
    return sink;
}

int forward_message(libbpf_print_level level, const char* format, va_list arguments) {
    const LogSink& sink = log_sink();
    if (!sink)
        return 0;
    char line[1024];
    int length = vsnprintf(line, sizeof(line), format, arguments);
    if (length <= 0)
        return length;
    std::string_view text(line, std::min<size_t>(static_cast<size_t>(length), sizeof(line) - 1));
    while (!text.empty() && text.back() == '\n')
        text.remove_suffix(1);
    sink(level == LIBBPF_WARN   ? LogLevel::kWarning
         : level == LIBBPF_INFO ? LogLevel::kInfo
                                : LogLevel::kDebug,
         text);
    return length;
}

// libbpf prints to stderr unless told otherwise; a program that links this never wants that.
[[maybe_unused]] const auto kSilencedAtStart = libbpf_set_print(forward_message);

const char* reason_of(int error) {
    switch (error) {
    case EPERM:
        return "not permitted: it needs CAP_BPF and CAP_NET_ADMIN, and CAP_SYS_ADMIN to find a "
               "running program; run as root or grant them";
    case ENODEV:
    case ENXIO:
        return "the interface is gone";
    case ENOMEM:
    case E2BIG:
        return "not enough memory; each program's match table takes 8 MB";
    case EACCES:
    case EINVAL:
        return "the kernel refused it; kernel 5.15 or newer is needed, and `log = debug` shows why";
    case EBUSY:
        return "another program holds the interface; `ip link` or `bpftool net` shows which";
    case EOPNOTSUPP:
        return "this kernel or driver does not support it";
    default:
        return nullptr;
    }
}

} // namespace

void set_log_sink(LogSink sink) {
    log_sink() = std::move(sink);
    libbpf_set_print(forward_message);
}

Error kernel_error(std::string_view what, int error) {
    std::string sentence = "cannot ";
    sentence += what;
    sentence += ": ";
    const char* reason = reason_of(error);
    sentence += reason ? reason : std::strerror(error);
    return Error{std::move(sentence)};
}

Descriptor::~Descriptor() {
    if (fd_ >= 0)
        close(fd_);
}

Expected<Descriptor> copy_of_map(const bpf_object* object, const char* name) {
    const int map = bpf_object__find_map_fd_by_name(object, name);
    if (map < 0)
        return kernel_error(std::string("find the map ") + name, -map);
    Descriptor own(fcntl(map, F_DUPFD_CLOEXEC, 0));
    if (!own)
        return kernel_error(std::string("keep the map ") + name, errno);
    return own;
}

std::string interface_name(unsigned ifindex) {
    char name[IF_NAMESIZE];
    if (if_indextoname(ifindex, name))
        return name;
    return "interface " + std::to_string(ifindex);
}

} // namespace weir::xdp
