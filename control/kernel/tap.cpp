// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/tap.hpp"

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "control/kernel/rtnetlink.hpp"
#include "control/kernel/sysctl.hpp"

namespace weir::control {
namespace {

// What IFLA_INFO_DATA says about a tun device.
struct TunKind {
    bool tun = false;
    bool tap = false;
    bool persistent = false;
    bool multi_queue = false;
    bool packet_information = false;
};

TunKind tun_kind_of(const nlmsghdr* message) {
    TunKind kind;
    for (const nlattr* attribute : attributes_of(message, sizeof(ifinfomsg))) {
        if (mnl_attr_get_type(attribute) != IFLA_LINKINFO) {
            continue;
        }
        for (const nlattr* info : nested_in(attribute)) {
            if (mnl_attr_get_type(info) == IFLA_INFO_KIND) {
                kind.tun = std::strcmp(mnl_attr_get_str(info), "tun") == 0;
            }
            if (mnl_attr_get_type(info) != IFLA_INFO_DATA || !kind.tun) {
                continue;
            }
            for (const nlattr* data : nested_in(info)) {
                const uint16_t type = mnl_attr_get_type(data);
                if (mnl_attr_get_payload_len(data) != 1) {
                    continue;
                }
                const uint8_t value = mnl_attr_get_u8(data);
                kind.tap = kind.tap || (type == IFLA_TUN_TYPE && value == IFF_TAP);
                kind.persistent = kind.persistent || (type == IFLA_TUN_PERSIST && value != 0);
                kind.multi_queue = kind.multi_queue || (type == IFLA_TUN_MULTI_QUEUE && value != 0);
                kind.packet_information =
                    kind.packet_information || (type == IFLA_TUN_PI && value != 0);
            }
        }
    }
    return kind;
}

Expected<TunKind> read_tun_kind(NetlinkSocket& socket, int ifindex) {
    TunKind kind;
    NetlinkMessage message(RTM_GETLINK, 0);
    message.body<ifinfomsg>() = ifinfomsg{};
    Expected<void> read = socket.dump(
        message, [] {},
        [&](const nlmsghdr* header) {
            const auto* info = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(header));
            if (info->ifi_index == ifindex) {
                kind = tun_kind_of(header);
            }
        });
    if (!read) {
        return read.error();
    }
    return kind;
}

Error cannot(const std::string& what) {
    return {what + ": " + std::strerror(errno)};
}

Expected<void> create(const std::string& name) {
    if (name.empty() || name.size() >= IFNAMSIZ) {
        return Error{"\"" + name + "\" cannot name a network interface: 1 to 15 characters"};
    }
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return cannot("opening /dev/net/tun to make interface " + name);
    }
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE;
    std::memcpy(request.ifr_name, name.data(), name.size());
    Expected<void> done;
    if (ioctl(fd, TUNSETIFF, &request) != 0 || ioctl(fd, TUNSETPERSIST, 1) != 0) {
        done = cannot("making TAP interface " + name);
    }
    close(fd);
    return done;
}

} // namespace

Expected<Link> ensure_tap(NetlinkSocket& socket, const TapSettings& settings) {
    Expected<Link> link = find_link(socket, settings.name);
    if (!link) {
        if (Expected<void> created = create(settings.name); !created) {
            return created.error();
        }
        link = find_link(socket, settings.name);
        if (!link) {
            return link;
        }
    }
    const Expected<TunKind> kind = read_tun_kind(socket, link->index);
    if (!kind) {
        return kind.error();
    }
    if (!kind->tap || !kind->multi_queue || kind->packet_information) {
        return Error{"interface " + settings.name +
                     " is there but is no multi-queue TAP without packet information; remove it, "
                     "or give `kernel_interface` another name"};
    }
    if (!kind->persistent) {
        return Error{"TAP interface " + settings.name +
                     " is there but not persistent: another program made it and takes it along "
                     "when it ends; stop that program, or give `kernel_interface` another name"};
    }
    // Before it goes up: its link-local address would wait for duplicate address detection.
    if (Expected<void> quiet = disable_dad(settings.name); !quiet) {
        return quiet.error();
    }
    if (Expected<void> set =
            set_link(socket, *link, {.mac = settings.mac, .mtu = settings.mtu, .up = true});
        !set) {
        return set.error();
    }
    return find_link(socket, settings.name);
}

Expected<void> remove_tap(NetlinkSocket& socket, const std::string& name) {
    const Expected<Link> link = find_link(socket, name);
    if (!link) {
        return link.error();
    }
    NetlinkMessage message(RTM_DELLINK, 0);
    message.body<ifinfomsg>().ifi_index = link->index;
    if (const auto failure = socket.request(message); failure.error != 0) {
        return Error{"removing interface " + name + ": " + failure.reason};
    }
    return {};
}

} // namespace weir::control
