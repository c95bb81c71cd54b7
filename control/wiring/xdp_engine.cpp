// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/xdp_engine.hpp"

#include <boost/asio/post.hpp>
#include <net/if.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "xdp/bpffs.hpp"
#include "xdp/steering.hpp"

namespace weir::control {
namespace {

// What control mounts where others do not see it is gone with control, and the program with it.
std::vector<std::string> mount_problem(const std::string& directory, bool mounted) {
    std::error_code own_problem;
    std::error_code host_problem;
    const auto own = std::filesystem::read_symlink("/proc/self/ns/mnt", own_problem);
    const auto host = std::filesystem::read_symlink("/proc/1/ns/mnt", host_problem);
    if (!mounted || own_problem || host_problem || own == host)
        return {};
    return {"the BPF filesystem of " + directory +
            " is mounted for this process alone: forwarding will end with weir-control; mount one "
            "before it starts and name a directory on it with --bpffs"};
}

} // namespace

XdpEngine::XdpEngine(boost::asio::io_context& io, const std::string& directory)
    : io_(io), directory_(directory), attachments_(directory + "/links"), tend_timer_(io) {}

XdpEngine::~XdpEngine() = default;

// --- beginning -----------------------------------------------------------------------------------

Expected<void> XdpEngine::start(const config::Config& config, Handlers handlers) {
    config_ = config;
    handlers_ = std::move(handlers);
    const auto mounted = xdp::prepare_bpffs(directory_);
    if (!mounted)
        return mounted.error();
    if (auto made = xdp::make_directory(directory_ + "/links"); !made)
        return made;
    if (*mounted)
        spdlog::info("mounted a BPF filesystem for {}", directory_);
    handlers_.problems("pins", mount_problem(directory_, *mounted));
    auto socket = NetlinkSocket::open();
    if (!socket)
        return socket.error();
    netlink_.emplace(std::move(*socket));
    const auto maps = find_maps();
    if (!maps)
        return maps.error();
    if (*maps)
        if (auto adopted = adopt(**maps); !adopted)
            spdlog::warn("the XDP balancer that was found is replaced, and its connections are "
                         "forgotten: {}",
                         adopted.error().sentence);
    if (!balancer_) {
        auto loaded = xdp::Balancer::load(
            balancer_sizes_for(balancer_rows_of(config_), config_.engine.connections));
        if (!loaded)
            return loaded.error();
        if (auto taken = take_balancer(std::move(*loaded)); !taken)
            return taken;
    }
    begin();
    return {};
}

// The pinned maps that packets go by now. Those of a control that was killed while it changed from
// one set to another may be the new ones.
Expected<std::optional<std::string>> XdpEngine::find_maps() const {
    const std::string usual = maps_in(directory_);
    std::set<std::uint32_t> in_use;
    for (const std::string& link : attachments_.names())
        in_use.merge(attachments_.maps_of(link));
    for (const std::string& maps : {usual + "_new", usual})
        if (const auto id = xdp::map_id(maps + "/connections"); id && in_use.contains(*id))
            return std::optional(maps);
    if (!in_use.empty())
        spdlog::warn("the XDP balancer that was found is of another version and is replaced; its "
                     "connections are forgotten");
    else if (xdp::map_id(usual + "/connections"))
        return std::optional(usual);
    return std::optional<std::string>{};
}

Expected<void> XdpEngine::take_balancer(xdp::Balancer loaded) {
    auto balancer = KernelBalancer::make(io_, std::move(loaded));
    if (!balancer)
        return balancer.error();
    balancer_ = std::move(*balancer);
    return {};
}

Expected<void> XdpEngine::adopt(const std::string& maps) {
    auto found = xdp::Balancer::adopt(maps);
    if (!found)
        return found.error();
    if (auto taken = take_balancer(std::move(*found)); !taken)
        return taken;
    // Row numbers and health go on from there, whatever becomes of the maps.
    auto generation = balancer_->found_generation();
    std::string why = generation ? balancer_->unfit(config_) : generation.error().sentence;
    if (generation)
        found_ = *generation;
    if (!why.empty()) {
        balancer_.reset();
        return Error{std::move(why)};
    }
    balancer_->set_live(found_);
    kept_ = maps == maps_in(directory_);
    return {};
}

// As soon as all interfaces are there.
void XdpEngine::begin() {
    const auto present = interfaces_of(config_);
    Expected<void> attached = !present            ? Expected<void>(present.error())
                              : balancer_->live() ? attach()
                                                  : Expected<void>();
    handlers_.problems("engine", attached ? std::vector<std::string>{}
                                          : std::vector{attached.error().sentence});
    if (!attached) {
        tend_timer_.expires_after(kTend);
        tend_timer_.async_wait([this](const boost::system::error_code& error) {
            if (!error)
                begin();
        });
        return;
    }
    ready_ = true;
    balancer_->describe_interfaces(*netlink_, config_);
    spdlog::info("engine: the XDP balancer, {}",
                 live() ? "with the connections of generation " + std::to_string(live()->number())
                        : "nothing published yet");
    boost::asio::post(io_, [this] {
        if (ready_)
            handlers_.ready(found_);
    });
    tend();
    balancer_->sweep();
}

void XdpEngine::stop() {
    ready_ = false;
    in_flight_.reset();
    tend_timer_.cancel();
}

Expected<std::vector<InterfaceFacts>> XdpEngine::take_interfaces(const config::Config& config) {
    return interface_facts(*netlink_, config);
}

// --- publishing ----------------------------------------------------------------------------------

void XdpEngine::publish(std::shared_ptr<const Generation> generation) {
    in_flight_ = std::move(generation);
    const auto done = forward(*in_flight_);
    if (done)
        balancer_->set_live(in_flight_);
    boost::asio::post(io_, [this, accepted = done.has_value(),
                            why = done ? std::string() : done.error().sentence] {
        if (const auto answered = std::exchange(in_flight_, nullptr))
            handlers_.answered(answered, accepted, why);
    });
}

// The maps first: a program is never attached before it knows what to do.
Expected<void> XdpEngine::forward(const Generation& generation) {
    const auto present = interfaces_of(config_);
    if (!present)
        return present.error();
    const bool first = balancer_->maps().generation() == 0;
    if (auto published = balancer_->publish(generation, *present); !published)
        return published;
    auto attached = kept_ ? Expected<void>() : keep_maps();
    if (attached)
        attached = attach();
    if (!attached && first) {
        const auto withdrawn = balancer_->maps().withdraw();
        return withdrawn ? attached : withdrawn;
    }
    return attached;
}

// Links that are there get this control's program; those of interfaces that are no longer
// configured go, and nothing else is touched.
Expected<void> XdpEngine::attach() {
    std::set<std::string> wanted;
    for (std::size_t i = 0; i < config_.interfaces.size(); i++) {
        const std::string& name = config_.interfaces[i].kernel_interface;
        wanted.insert(xdp::pin_name(name));
        if (attachments_.intact(name))
            continue;
        // A dataplane that was killed leaves its program there; one that runs is not in question
        // (control/main.cpp).
        if (const unsigned ifindex = ::if_nametoindex(name.c_str());
            xdp::program_on(ifindex) == "weir_steer")
            if (auto detached = xdp::Steering(ifindex).detach(); !detached)
                return detached.error();
        const auto mode = attachments_.attach(name, balancer_->maps().program());
        if (!mode)
            return mode.error();
        const bool native = *mode == xdp::AttachMode::kNative;
        if (!native && generic_.insert(name).second)
            spdlog::warn("the driver of {} has no native XDP: packets pass the generic path, which "
                         "is several times slower",
                         name);
        balancer_->set_driver(i, std::string("xdp, ") + (native ? "native" : "generic"));
    }
    for (const std::string& name : attachments_.names())
        if (!wanted.contains(name)) {
            attachments_.release(name);
            spdlog::info("the balancer is off {}, which is no longer configured", name);
        }
    if (!kept_) {
        for (const std::string& name : xdp::names_in(directory_))
            if (name.starts_with("maps_") && !name.ends_with("_new"))
                xdp::remove_directory(directory_ + "/" + name);
        const std::string maps = maps_in(directory_);
        kept_ = std::rename((maps + "_new").c_str(), maps.c_str()) == 0;
    }
    return {};
}

// Until the program is attached the old maps keep their name.
Expected<void> XdpEngine::keep_maps() {
    const std::string maps = maps_in(directory_) + "_new";
    xdp::remove_directory(maps);
    if (auto made = xdp::make_directory(maps); !made)
        return made;
    return balancer_->maps().pin(maps);
}

std::set<std::string> XdpEngine::release(const std::string& directory) {
    xdp::Attachments attachments(directory + "/links");
    std::set<std::string> released = attachments.names();
    for (const std::string& name : released)
        attachments.release(name);
    for (const std::string& name : xdp::names_in(directory))
        if (name.starts_with("maps_") || name == "links")
            xdp::remove_directory(std::filesystem::path(directory) / name);
    return released;
}

// Another node's links may lie in the same directory by mistake.
std::set<std::string> XdpEngine::make_way(const std::string& directory,
                                          const config::Config& config) {
    xdp::Attachments attachments(directory + "/links");
    std::set<std::string> released;
    for (const config::InterfaceConfig& interface : config.interfaces) {
        if (!attachments.is_here(interface.kernel_interface))
            continue;
        attachments.release(interface.kernel_interface);
        released.insert(xdp::pin_name(interface.kernel_interface));
    }
    if (!released.empty() && attachments.names().empty())
        release(directory);
    return released;
}

// --- upkeep --------------------------------------------------------------------------------------

// An interface that was made anew is another device to the maps, and has no program.
void XdpEngine::tend() {
    tend_timer_.expires_after(kTend);
    tend_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error)
            tend();
    });
    if (!live() || in_flight_)
        return;
    const bool intact = std::all_of(
        config_.interfaces.begin(), config_.interfaces.end(),
        [this](const auto& interface) { return attachments_.intact(interface.kernel_interface); });
    if (intact)
        return;
    const auto again = forward(*live());
    handlers_.problems("engine interfaces",
                       again ? std::vector<std::string>{} : std::vector{again.error().sentence});
}

} // namespace weir::control
