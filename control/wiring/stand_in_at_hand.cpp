// SPDX-License-Identifier: BSD-3-Clause
// The stand-in's part that keeps a balancer at hand: a new one, or the one that an earlier control
// has left.
#include "control/wiring/stand_in_engine.hpp"

#include <boost/asio/post.hpp>
#include <net/if.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "xdp/attachments.hpp"

namespace weir::control {

void StandInEngine::run_loader(std::function<Expected<xdp::Balancer>()> make) {
    if (loader_.joinable())
        loader_.join();
    loading_ = true;
    loader_ = std::thread([this, make = std::move(make)] {
        auto balancer = std::make_shared<Expected<xdp::Balancer>>(make());
        boost::asio::post(io_, [this, balancer] {
            loading_ = false;
            if (std::exchange(looking_for_left_, false))
                left_is_found(std::move(*balancer));
            else
                loaded(std::move(*balancer));
        });
    });
}

void StandInEngine::load() {
    if (loading_)
        return;
    weir_balancer_capacities rows = balancer_rows_of(config_);
    if (const auto live = dataplane_.live())
        rows = larger_of(rows, balancer_rows_of(live->state())); // after reloads
    run_loader([sizes = balancer_sizes_for(rows, config_.engine.connections)] {
        return xdp::Balancer::load(sizes);
    });
}

void StandInEngine::loaded(Expected<xdp::Balancer> balancer) {
    const auto made = balancer ? equip(std::move(*balancer)) : Expected<void>(balancer.error());
    handlers_.problems("stand-in",
                       made ? std::vector<std::string>{}
                            : std::vector{"nothing would forward while weir-dataplane is gone: " +
                                          made.error().sentence});
    if (!made)
        return;
    keep();
    balancer_->maps().begin_giving();
    hold_all();
    if (const auto live = dataplane_.live(); live && dataplane_there())
        if (auto followed = follow(live); !followed)
            spdlog::warn("{}", followed.error().sentence);
}

Expected<void> StandInEngine::equip(xdp::Balancer balancer) {
    auto made = KernelBalancer::make(io_, std::move(balancer));
    if (!made)
        return made.error();
    balancer_ = std::move(*made);
    balancer_->describe_interfaces(*netlink_, config_);
    for (std::size_t i = 0; i < config_.interfaces.size(); i++)
        balancer_->set_driver(i, "xdp, in place");
    return {};
}

void StandInEngine::keep() {
    if (!pins_)
        return;
    if (const auto kept = pins_->keep(balancer_->maps()); !kept)
        spdlog::warn("the kernel's balancer would end with weir-control: {}",
                     kept.error().sentence);
}

void StandInEngine::retire() {
    steering_.set_balancer(-1);
    balancer_.reset();
    if (pins_)
        pins_->forget();
}

// The balancer forwards by this generation, too, from when it has to.
Expected<void> StandInEngine::follow(const std::shared_ptr<const Generation>& generation) {
    const auto interfaces = interfaces_of(config_);
    if (!interfaces)
        return interfaces.error();
    if (auto published = balancer_->publish(*generation, *interfaces); !published)
        return published;
    const bool first = balancer_->live() == nullptr;
    balancer_->set_live(generation);
    if (!standing_in_)
        hold_unknown();
    if (first) {
        steering_.set_balancer(balancer_->maps().program());
        refresh_holds();
        spdlog::info("the kernel's balancer that would stand in is ready");
    }
    return {};
}

// --- one that an earlier control has left --------------------------------------------------------

// It may be what forwards now: until it is known what it is, it stays where it is.
void StandInEngine::look_for_left() {
    auto pins = StandInPins::prepare(bpffs_);
    if (!pins) {
        spdlog::info("the kernel's balancer would end with weir-control: {}",
                     pins.error().sentence);
        return;
    }
    pins_.emplace(std::move(*pins));
    steering_.keep_in(pins_->programs());
    const auto maps = pins_->left();
    if (!maps || !is_called()) {
        pins_->forget();
        return;
    }
    looking_for_left_ = true;
    steering_.set_balancer(std::nullopt);
    run_loader([maps] { return xdp::Balancer::adopt(*maps); });
}

// Where a dataplane has ended of itself nothing calls a balancer.
bool StandInEngine::is_called() const {
    return std::ranges::all_of(config_.interfaces, [](const auto& interface) {
        return xdp::program_on(::if_nametoindex(interface.kernel_interface.c_str())) ==
               "weir_steer";
    });
}

void StandInEngine::left_is_found(Expected<xdp::Balancer> balancer) {
    const std::string why = balancer ? take_left(std::move(*balancer)) : balancer.error().sentence;
    if (!why.empty()) {
        spdlog::info("the kernel's balancer that an earlier weir-control has left is not used: {}",
                     why);
        retire();
        if (dataplane_.live())
            load();
    }
    if (std::exchange(dataplane_waits_, false))
        dataplane_ready(nullptr);
}

// Why not; empty: it is this control's now.
std::string StandInEngine::take_left(xdp::Balancer balancer) {
    if (auto equipped = equip(std::move(balancer)); !equipped)
        return equipped.error().sentence;
    const auto generation = balancer_->found_generation();
    if (!generation)
        return generation.error().sentence;
    if (!*generation)
        return "nothing was published to it";
    if (std::string why = balancer_->unfit(config_); !why.empty())
        return why;
    if (!dataplane_seen_) {
        go_on(*generation);
        return "";
    }
    bool used = false;
    const auto seen = balancer_->maps().for_each_connection(
        [&](const weir_connection_key&, const weir_connection&) { used = true; });
    if (!seen || used)
        return seen ? "it has stood in before" : seen.error().sentence;
    balancer_->maps().begin_giving();
    if (const auto live = dataplane_.live(); live && dataplane_there()) {
        if (auto followed = follow(live); !followed)
            return followed.error().sentence;
    } else if (dataplane_.ended() && !tables_.empty()) { // meanwhile
        balancer_->set_live(*generation);
        steering_.set_balancer(balancer_->maps().program());
        stand_in();
    }
    return "";
}

// What it held because the dataplane's tables knew it is lost with them.
void StandInEngine::go_on(std::shared_ptr<const Generation> generation) {
    standing_in_ = true;
    since_ = Clock::now();
    balancer_->set_live(std::move(generation));
    steering_.set_balancer(balancer_->maps().program());
    if (auto turned = steering_.balance_in_place(true); !turned)
        spdlog::error("{}", turned.error().sentence);
    hold_all(false);
    reading_ = {}; // there is nothing to read, also when a successor is lost
    reading_.network = lb::PersistenceTable::kEntries;
    reading_.finished = true;
    balancer_->sweep();
    spdlog::warn("weir-dataplane is gone: the kernel's balancer goes on as an earlier weir-control "
                 "has left it");
    handlers_.event("the kernel's balancer", "goes on as an earlier weir-control has left it");
    look();
    handlers_.ready(balancer_->live());
}

} // namespace weir::control
