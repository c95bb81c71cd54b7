// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/tap.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

namespace weir::dpdk {

Expected<channel::Descriptor> open_tap(const std::string& name) {
    if (name.empty() || name.size() >= IFNAMSIZ)
        return Error{"'" + name + "' is not the name of an interface"};
    if (::if_nametoindex(name.c_str()) == 0)
        return Error{"there is no interface '" + name + "' to attach to"};
    channel::Descriptor tap(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!tap)
        return Error{std::string("cannot open /dev/net/tun: ") + std::strerror(errno)};
    ifreq request{};
    std::memcpy(request.ifr_name, name.c_str(), name.size());
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE;
    if (::ioctl(tap.get(), TUNSETIFF, &request) == 0)
        return tap;
    if (errno == EINVAL || errno == EBUSY)
        return Error{"interface '" + name +
                     "' is not a TAP with several queues (`ip tuntap add mode tap multi_queue`)"};
    return Error{"cannot attach to the TAP '" + name + "': " + std::strerror(errno)};
}

} // namespace weir::dpdk
