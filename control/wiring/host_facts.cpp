// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/host_facts.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "dataplane/channel/messages.hpp"
#include "dataplane/channel/socket.hpp"

namespace weir::control {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{10};

// Ends with `path --version`: whether its libraries are there shows in nothing less.
std::string why_not_runnable(const std::string& path) {
    std::error_code ignored;
    if (!fs::exists(path, ignored))
        return path + " is not installed";
    int output[2];
    if (::pipe2(output, O_CLOEXEC) != 0)
        return std::string("cannot make a pipe: ") + std::strerror(errno);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, output[1], STDERR_FILENO);
    std::string program = path;
    std::string option = "--version";
    std::array<char*, 3> arguments{program.data(), option.data(), nullptr};
    pid_t child = 0;
    const int failed =
        ::posix_spawn(&child, path.c_str(), &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(output[1]);
    std::string text;
    pollfd readable{.fd = output[0], .events = POLLIN, .revents = 0};
    std::array<char, 512> part{};
    while (failed == 0 && ::poll(&readable, 1, 1000 * static_cast<int>(kPatience.count())) == 1) {
        const ssize_t got = ::read(output[0], part.data(), part.size());
        if (got <= 0)
            break;
        text.append(part.data(), static_cast<std::size_t>(got));
    }
    ::close(output[0]);
    if (failed != 0)
        return path + ": " + std::strerror(failed);
    int status = 0;
    if (::waitpid(child, &status, WNOHANG) == 0 && !text.empty())
        ::waitpid(child, &status, 0); // its output is closed: it is ending
    else if (text.empty())
        ::kill(child, SIGKILL), ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return "";
    return text.empty() ? path + " does not answer" : text.substr(0, text.find('\n'));
}

std::string why_no_af_xdp() {
    const int socket = ::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (socket < 0)
        return std::string("this kernel gives no AF_XDP socket: ") + std::strerror(errno);
    ::close(socket);
    return "";
}

bool has_free_hugepages() {
    std::ifstream file("/proc/meminfo");
    for (std::string key, value; file >> key >> value;)
        if (key == "HugePages_Free:")
            return value != "0";
    return false;
}

// "ixgbe", "veth"; empty: the kernel does not say.
std::string driver_of(const std::string& interface) {
    std::error_code problem;
    const fs::path link =
        fs::read_symlink("/sys/class/net/" + interface + "/device/driver", problem);
    return problem ? "" : link.filename().string();
}

std::optional<channel::Socket> connected(const std::string& runtime_directory) {
    std::string problem;
    return channel::Socket::connect(runtime_directory + "/" + channel::kSocketName, problem);
}

// 0: it does not say.
pid_t pid_of(const channel::Socket& socket) {
    const auto until = Clock::now() + kPatience;
    channel::Packet packet;
    while (Clock::now() < until) {
        const channel::Receive received = socket.receive(packet);
        if (received == channel::Receive::closed)
            return 0;
        if (received == channel::Receive::packet) {
            if (const auto hello = packet.as<channel::Hello>();
                hello && packet.type() == channel::MessageType::hello)
                return static_cast<pid_t>(hello->pid);
            continue;
        }
        pollfd readable{.fd = socket.descriptor(), .events = POLLIN, .revents = 0};
        ::poll(&readable, 1, 100);
    }
    return 0;
}

} // namespace

HostFacts look_at_host(const config::Config& config, const std::string& runtime_directory,
                       const std::string& dataplane) {
    HostFacts host;
    if (config.engine.mode != config::EngineMode::kAuto) // it makes no difference
        return host;
    host.dataplane_runs = connected(runtime_directory).has_value();
    if (!host.dataplane_runs)
        host.no_dataplane = why_not_runnable(dataplane);
    host.no_af_xdp = why_no_af_xdp();
    host.has_hugepages = has_free_hugepages();
    for (const config::InterfaceConfig& interface : config.interfaces)
        if (std::string driver = driver_of(interface.kernel_interface); !driver.empty())
            host.driver[interface.kernel_interface] = std::move(driver);
    return host;
}

Expected<void> end_dataplane(const std::string& runtime_directory) {
    const auto socket = connected(runtime_directory);
    if (!socket)
        return {};
    const pid_t pid = pid_of(*socket);
    const std::string which = "weir-dataplane (pid " + std::to_string(pid) + ")";
    if (pid <= 0 || ::kill(pid, SIGTERM) != 0)
        return Error{which + " has the devices and cannot be asked to end; end it first"};
    for (const auto until = Clock::now() + kPatience; Clock::now() < until;) {
        if (::kill(pid, 0) != 0 && errno == ESRCH)
            return {};
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return Error{which + " has the devices and does not end; end it first"};
}

} // namespace weir::control
