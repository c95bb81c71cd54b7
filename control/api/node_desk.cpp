// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/node_desk.hpp"

#include <boost/asio/steady_timer.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>

namespace weir::control {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{10};

HttpResponse answer(unsigned status, const json& body) {
    return {status, "application/json",
            body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"};
}

HttpResponse refusal(unsigned status, const std::string& sentence) {
    return answer(status, {{"error", sentence}});
}

const vrrp::GroupStatus* find(const std::vector<vrrp::GroupStatus>& groups,
                              const std::string& name) {
    const auto found = std::find_if(groups.begin(), groups.end(),
                                    [&](const auto& group) { return group.name == name; });
    return found == groups.end() ? nullptr : &*found;
}

double milliseconds(Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

// Looks again and again until it has its answer. Keeps itself alive meanwhile.
class Task : public std::enable_shared_from_this<Task> {
public:
    Task(boost::asio::io_context& io, const NodeDesk::Access& access,
         const NodeDesk::Limits& limits, HttpRespond respond)
        : access_(access), limits_(limits), timer_(io), respond_(std::move(respond)),
          begun_(Clock::now()) {}
    virtual ~Task() = default;

    void go_on() {
        if (look())
            return;
        timer_.expires_after(kLook);
        timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
            if (!error)
                self->go_on();
        });
    }

protected:
    // True: has answered.
    virtual bool look() = 0;

    bool end(const HttpResponse& response) {
        respond_(response);
        return true;
    }
    [[nodiscard]] Clock::duration passed() const { return Clock::now() - begun_; }

    const NodeDesk::Access access_;
    const NodeDesk::Limits limits_;

private:
    boost::asio::steady_timer timer_;
    HttpRespond respond_;
    const Clock::time_point begun_;
};

class Drain final : public Task {
public:
    Drain(boost::asio::io_context& io, const NodeDesk::Access& access,
          const NodeDesk::Limits& limits, HttpRespond respond, bool force)
        : Task(io, access, limits, std::move(respond)), force_(force) {
        for (const vrrp::GroupStatus& group : access_.groups())
            if (group.state == vrrp::State::kOwner)
                groups_.push_back({group.name, group.received, {}, {}});
    }

private:
    struct HandedOver {
        std::string group;
        std::uint64_t received; // adverts, when the drain began: an owner hears no other
        std::string to;         // empty: not yet
        Clock::duration after{};
    };

    bool look() override {
        if (!all_are_handed_over()) {
            if (passed() < limits_.hand_over)
                return false;
            if (!force_)
                return take_back();
        }
        return wait_for_quiet();
    }

    bool all_are_handed_over() {
        const std::vector<vrrp::GroupStatus> now = access_.groups();
        for (HandedOver& group : groups_) {
            const vrrp::GroupStatus* status = find(now, group.group);
            if (!group.to.empty() || status == nullptr || status->state == vrrp::State::kOwner ||
                status->received == group.received || !status->owner)
                continue;
            group.to = status->owner->to_string();
            group.after = passed();
        }
        return std::all_of(groups_.begin(), groups_.end(),
                           [](const HandedOver& group) { return !group.to.empty(); });
    }

    bool take_back() {
        std::string names;
        for (const HandedOver& group : groups_)
            if (group.to.empty())
                names += (names.empty() ? "" : ", ") + group.group;
        if (const auto resumed = access_.set_drained(false); !resumed)
            return end(refusal(500, resumed.error().sentence));
        return end(refusal(
            409,
            "no other node has taken over " + names + " within " +
                std::to_string(std::chrono::ceil<std::chrono::seconds>(limits_.hand_over).count()) +
                " s, so this node has it again; see to the other node, or drain with force"));
    }

    bool wait_for_quiet() {
        const NodeDesk::Traffic now = access_.traffic();
        const auto time = Clock::now();
        if (!first_packets_) {
            first_packets_ = last_packets_ = now.packets;
            quiet_since_ = handed_over_at_ = time;
        }
        if (now.packets != last_packets_) {
            last_packets_ = now.packets;
            quiet_since_ = time;
        }
        const bool quiet = time - quiet_since_ >= limits_.quiet;
        if (!quiet && time - handed_over_at_ < limits_.strays)
            return false;
        json groups = json::array();
        for (const HandedOver& group : groups_)
            groups.push_back(
                {{"name", group.group},
                 {"owner", group.to.empty() ? json() : json(group.to)},
                 {"handover_ms", group.to.empty() ? json() : json(milliseconds(group.after))}});
        return end(answer(200, {{"state", "drained"},
                                {"groups", std::move(groups)},
                                {"stray_packets", last_packets_ - *first_packets_},
                                {"quiet", quiet},
                                {"connections", now.connections}}));
    }

    const bool force_;
    std::vector<HandedOver> groups_;
    std::optional<std::uint64_t> first_packets_;
    std::uint64_t last_packets_ = 0;
    Clock::time_point handed_over_at_, quiet_since_;
};

class Resumption final : public Task {
public:
    using Task::Task;

private:
    bool look() override {
        const std::vector<vrrp::GroupStatus> now = access_.groups();
        const bool taking_part = std::none_of(now.begin(), now.end(), [](const auto& group) {
            return group.state == vrrp::State::kInit;
        });
        if (!taking_part && passed() < limits_.hand_over)
            return false;
        json groups = json::array();
        for (const vrrp::GroupStatus& group : now)
            groups.push_back({{"name", group.name}, {"state", vrrp::to_string(group.state)}});
        return end(answer(200, {{"state", "in service"}, {"groups", std::move(groups)}}));
    }
};

} // namespace

void NodeDesk::handle(const HttpRequest& request, HttpRespond respond) {
    const json wish = json::parse(request.body, nullptr, false);
    const std::string action =
        wish.is_object() && wish.contains("action") && wish["action"].is_string()
            ? wish["action"].get<std::string>()
            : std::string();
    const bool force_is_right =
        !wish.is_object() || !wish.contains("force") || wish["force"].is_boolean();
    if ((action != "drain" && action != "resume") || !force_is_right)
        return respond(refusal(400, R"(the body has to be {"action": "drain"}, with "force": true )"
                                    R"(if need be, or {"action": "resume"})"));
    const bool drain = action == "drain";
    if (drain && access_.groups().empty())
        return respond(refusal(409, "the VIPs of this node are its own (ownership.mode = "
                                    "\"static\"): there is no node to hand them to"));
    if (!running_.expired())
        return respond(refusal(409, "the node is being drained or resumed right now"));
    std::shared_ptr<Task> task;
    if (drain)
        task = std::make_shared<Drain>(io_, access_, limits_, respond,
                                       wish.contains("force") && wish["force"].get<bool>());
    else
        task = std::make_shared<Resumption>(io_, access_, limits_, respond);
    if (const auto set = access_.set_drained(drain); !set)
        return respond(refusal(500, set.error().sentence));
    running_ = task;
    task->go_on();
}

} // namespace weir::control
