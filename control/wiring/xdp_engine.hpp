// SPDX-License-Identifier: BSD-3-Clause
// The XDP balancer as the controller's engine. Program, maps and links are the kernel's and stay
// when control ends, however that comes about; the next control finds them pinned, goes on with
// their connections, and puts its own program in the old one's place by an update of the links.
// One io_context, one thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <optional>
#include <set>

#include "control/engine_link/forwarding_engine.hpp"
#include "control/kernel/netlink_socket.hpp"
#include "control/wiring/kernel_balancer.hpp"
#include "xdp/attachments.hpp"

namespace weir::control {

class XdpEngine final : public ForwardingEngine {
public:
    // `directory`: where to pin, see xdp/bpffs.hpp.
    XdpEngine(boost::asio::io_context& io, const std::string& directory);
    ~XdpEngine() override;

    [[nodiscard]] std::string name() const override { return "the XDP balancer"; }
    Expected<void> start(const config::Config& config, Handlers handlers) override;
    void stop() override;
    [[nodiscard]] const Engine* engine() const override {
        return ready_ ? &balancer_->engine() : nullptr;
    }
    [[nodiscard]] std::string last_end() const override { return ""; }
    void refresh() override {
        if (ready_)
            balancer_->refresh();
    }
    [[nodiscard]] std::shared_ptr<const Generation> live() const override {
        return balancer_ ? balancer_->live() : nullptr;
    }
    Expected<std::vector<InterfaceFacts>> take_interfaces(const config::Config& config) override;
    [[nodiscard]] bool publishing() const override { return in_flight_ != nullptr; }
    void publish(std::shared_ptr<const Generation> generation) override;
    bool order_capture(const channel::Capture&) override { return false; }

    // Takes an earlier control's balancer off all interfaces, with all that it remembers. Says
    // which those were, by the names of their pins.
    static std::set<std::string> release(const std::string& directory);
    // Off these only, and only if they are the ones that it is on; the memory goes with the last.
    static std::set<std::string> make_way(const std::string& directory,
                                          const config::Config& config);

private:
    static constexpr std::chrono::seconds kTend{1};

    Expected<std::optional<std::string>> find_maps() const;
    Expected<void> adopt(const std::string& maps);
    Expected<void> take_balancer(xdp::Balancer loaded);
    void begin();
    Expected<void> forward(const Generation& generation);
    Expected<void> attach();
    Expected<void> keep_maps();
    void tend();

    boost::asio::io_context& io_;
    std::string directory_;
    xdp::Attachments attachments_;
    config::Config config_;
    Handlers handlers_;
    std::optional<NetlinkSocket> netlink_;
    std::unique_ptr<KernelBalancer> balancer_;
    bool kept_ = false; // the maps are pinned as those in use
    bool ready_ = false;

    std::shared_ptr<const Generation> found_; // running when this control began
    std::shared_ptr<const Generation> in_flight_;
    std::set<std::string> generic_; // interfaces of which it has been said

    boost::asio::steady_timer tend_timer_;
};

} // namespace weir::control
