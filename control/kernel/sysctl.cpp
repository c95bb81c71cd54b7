// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/sysctl.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace weir::control {
namespace {

class File {
public:
    File(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC)) {}
    ~File() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    [[nodiscard]] int fd() const { return fd_; }

private:
    int fd_;
};

std::string path_of(const std::string& name) {
    return "/proc/sys/" + name;
}

Expected<void> write_all(const std::vector<std::pair<std::string, std::string>>& settings) {
    for (const auto& [name, value] : settings) {
        if (Expected<void> done = write_sysctl(name, value); !done) {
            return done;
        }
    }
    return {};
}

} // namespace

Expected<std::string> read_sysctl(const std::string& name) {
    const File file(path_of(name), O_RDONLY);
    std::string value;
    char buffer[4096];
    ssize_t got = -1;
    while (file.fd() >= 0 && (got = read(file.fd(), buffer, sizeof(buffer))) > 0) {
        value.append(buffer, static_cast<size_t>(got));
    }
    if (got < 0) {
        return Error{"reading " + path_of(name) + ": " + std::strerror(errno)};
    }
    while (!value.empty() && value.back() == '\n') {
        value.pop_back();
    }
    return value;
}

Expected<void> write_sysctl(const std::string& name, const std::string& value) {
    const Expected<std::string> present = read_sysctl(name);
    if (present && *present == value) {
        return {};
    }
    const File file(path_of(name), O_WRONLY);
    if (file.fd() < 0 ||
        write(file.fd(), value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
        return Error{"writing \"" + value + "\" to " + path_of(name) + ": " + std::strerror(errno)};
    }
    return {};
}

Expected<void> prepare_interface(const std::string& interface) {
    const std::string v4 = "net/ipv4/conf/" + interface + "/";
    return write_all({{v4 + "arp_ignore", "1"},
                      {v4 + "arp_announce", "2"},
                      {v4 + "promote_secondaries", "1"},
                      // The kernel sends redirects when either says so.
                      {v4 + "send_redirects", "0"},
                      {"net/ipv4/conf/all/send_redirects", "0"}});
}

Expected<void> disable_dad(const std::string& interface) {
    const std::string v6 = "net/ipv6/conf/" + interface + "/";
    if (access("/proc/sys/net/ipv6", F_OK) != 0) {
        return {}; // a kernel without IPv6
    }
    return write_all({{v6 + "accept_dad", "0"}, {v6 + "dad_transmits", "0"}});
}

Expected<std::string> merge_port_lists(const std::string& present, const config::PortRange& added) {
    std::vector<std::pair<uint32_t, uint32_t>> ranges{{added.first, added.last}};
    for (size_t begin = 0; begin < present.size();) {
        const size_t end = std::min(present.find(',', begin), present.size());
        const std::string entry = present.substr(begin, end - begin);
        const size_t dash = std::min(entry.find('-'), entry.size());
        const auto first = net::parse_decimal(entry.substr(0, dash), 65535);
        const auto last =
            dash == entry.size() ? first : net::parse_decimal(entry.substr(dash + 1), 65535);
        if (!first || !last || *last < *first) {
            return Error{"net.ipv4.ip_local_reserved_ports has an entry \"" + entry +
                         "\" that is no port or range of ports"};
        }
        ranges.emplace_back(*first, *last);
        begin = end + 1;
    }
    std::sort(ranges.begin(), ranges.end());
    std::vector<std::pair<uint32_t, uint32_t>> merged;
    for (const auto& range : ranges) {
        if (!merged.empty() && range.first <= merged.back().second + 1) {
            merged.back().second = std::max(merged.back().second, range.second);
        } else {
            merged.push_back(range);
        }
    }
    std::string text;
    for (const auto& [first, last] : merged) {
        text += (text.empty() ? "" : ",") + std::to_string(first) +
                (first == last ? "" : "-" + std::to_string(last));
    }
    return text;
}

Expected<void> reserve_local_ports(const config::PortRange& ports) {
    const std::string name = "net/ipv4/ip_local_reserved_ports";
    const Expected<std::string> present = read_sysctl(name);
    if (!present) {
        return present.error();
    }
    const Expected<std::string> merged = merge_port_lists(*present, ports);
    if (!merged) {
        return merged.error();
    }
    return write_sysctl(name, *merged);
}

} // namespace weir::control
