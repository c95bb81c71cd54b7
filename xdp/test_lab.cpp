// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/test_lab.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cstring>
#include <fstream>
#include <stdexcept>

namespace weir::xdp_test {
namespace {

xdp::Descriptor current_namespace() {
    return xdp::Descriptor(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

void enter(const xdp::Descriptor& space) {
    if (setns(space.get(), CLONE_NEWNET) != 0)
        throw std::runtime_error("setns: " + std::string(strerror(errno)));
}

xdp::Descriptor fresh_namespace() {
    if (unshare(CLONE_NEWNET) != 0)
        throw std::runtime_error("unshare: " + std::string(strerror(errno)));
    return current_namespace();
}

void run_ip(const std::string& arguments) {
    const std::string command = "ip " + arguments;
    if (system(command.c_str()) != 0)
        throw std::runtime_error(command + " failed");
}

} // namespace

std::string missing_permission() {
    // An empty program that returns 0: what the kernel says to it is what it says to ours.
    bpf_insn program[2] = {};
    program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
    program[1].code = BPF_JMP | BPF_EXIT;
    xdp::Descriptor loaded(
        bpf_prog_load(BPF_PROG_TYPE_XDP, "weir_can_load", "GPL", program, 2, nullptr));
    if (!loaded)
        return "BPF programs cannot be loaded here: " + std::string(strerror(errno));
    const pid_t child = fork();
    if (child == 0)
        _exit(unshare(CLONE_NEWNET) == 0 ? 0 : 1);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        return "network namespaces cannot be made here";
    return "";
}

Lab::Lab() : before_(current_namespace()) {
    client_ = fresh_namespace();
    balancer_ = fresh_namespace();
    const std::string client_path =
        "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(client_.get());
    ip("link set lo up");
    ip("link add b0 address 02:00:00:00:00:02 type veth peer name c0 netns " + client_path);
    ip("addr add 192.0.2.2/24 dev b0");
    ip("addr add 198.51.100.10/32 dev b0"); // the VIP
    ip("-6 addr add 2001:db8::2/64 dev b0 nodad");
    ip("-6 addr add 2001:db8:1::10/128 dev b0 nodad");
    ip("link set b0 up");
    in_client([] {
        run_ip("link set lo up");
        run_ip("addr add 192.0.2.1/24 dev c0");
        run_ip("-6 addr add 2001:db8::1/64 dev c0 nodad");
        run_ip("link set c0 up");
        run_ip("route add 198.51.100.0/24 via 192.0.2.2");
        run_ip("-6 route add 2001:db8:1::/64 via 2001:db8::2");
    });
    ifindex_ = if_nametoindex("b0");
}

Lab::~Lab() {
    setns(before_.get(), CLONE_NEWNET);
}

void Lab::ip(const std::string& arguments) const {
    run_ip(arguments);
}

void Lab::router() const {
    std::ofstream("/proc/sys/net/ipv4/ip_forward") << "1\n";
}

void Lab::client_ip(const std::string& arguments) const {
    in_client([&] { run_ip(arguments); });
}

void Lab::in_client(const std::function<void()>& work) const {
    enter(client_);
    try {
        work();
    } catch (...) {
        enter(balancer_);
        throw;
    }
    enter(balancer_);
}

Attempt Lab::connect(const std::string& address, uint16_t port, int type) const {
    sockaddr_storage to{};
    socklen_t bytes = 0;
    if (address.find(':') == std::string::npos) {
        auto* v4 = reinterpret_cast<sockaddr_in*>(&to);
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        inet_pton(AF_INET, address.c_str(), &v4->sin_addr);
        bytes = sizeof(*v4);
    } else {
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&to);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr);
        bytes = sizeof(*v6);
    }
    xdp::Descriptor made;
    int error = 0;
    in_client([&] {
        made = xdp::Descriptor(socket(to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!made)
            throw std::runtime_error("socket: " + std::string(strerror(errno)));
        if (::connect(made.get(), reinterpret_cast<sockaddr*>(&to), bytes) != 0 &&
            errno != EINPROGRESS)
            error = errno;
    });
    return Attempt(std::move(made), error);
}

void Lab::send_frame(std::vector<uint8_t> frame, uint16_t linear_bytes) const {
    // struct virtio_net_hdr (its kernel header is not C++): 10 bytes, hdr_len is the third and
    // fourth, host order.
    uint8_t header[10] = {};
    memcpy(header + 2, &linear_bytes, sizeof(linear_bytes));
    frame.insert(frame.begin(), std::begin(header), std::end(header));
    in_client([&] {
        xdp::Descriptor wire(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
        const int on = 1;
        sockaddr_ll to{};
        to.sll_family = AF_PACKET;
        to.sll_ifindex = static_cast<int>(if_nametoindex("c0"));
        if (setsockopt(wire.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0 ||
            sendto(wire.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
                   sizeof(to)) < 0)
            throw std::runtime_error("send_frame: " + std::string(strerror(errno)));
    });
}

int Attempt::error() {
    int pending = 0;
    socklen_t bytes = sizeof(pending);
    getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &pending, &bytes);
    if (error_ == 0)
        error_ = pending;
    return error_;
}

void Attempt::send(const std::string& payload) {
    if (::send(socket_.get(), payload.data(), payload.size(), 0) < 0 && error_ == 0)
        error_ = errno;
}

MountPlace::MountPlace() {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
        throw std::runtime_error("mounts of our own: " + std::string(strerror(errno)));
    char place[] = "/tmp/weir-mount-XXXXXX";
    if (mkdtemp(place) == nullptr)
        throw std::runtime_error("mkdtemp: " + std::string(strerror(errno)));
    path_ = place;
}

MountPlace::~MountPlace() {
    umount2(path_.c_str(), MNT_DETACH);
    rmdir(path_.c_str());
}

} // namespace weir::xdp_test
