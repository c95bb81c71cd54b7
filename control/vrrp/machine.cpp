// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/machine.hpp"

#include <algorithm>

#include "control/vrrp/away.hpp"

namespace weir::control::vrrp {
namespace {

struct Stepper {
    const Settings& settings;
    Machine machine;
    Moment now;
    Actions actions{};

    Micros own_down_interval() const {
        return down_interval(settings, machine.priority, machine.owner_interval);
    }

    void wait_for_owner(Moment from) { machine.timer = from + own_down_interval(); }

    void send(std::uint8_t priority) { actions.send = priority; }

    void send_and_rearm() {
        send(machine.priority);
        machine.timer = now + settings.interval;
    }

    void become_owner(Why why) {
        machine.state = State::kOwner;
        machine.lower_since.reset();
        machine.assert_after.reset();
        machine.listening = false;
        machine.released = false;
        actions.acquire = true;
        actions.why = why;
        send_and_rearm();
    }

    void become_backup(Why why, Moment from) {
        actions.release = machine.state == State::kOwner;
        machine.state = State::kBackup;
        machine.lower_since.reset();
        machine.listening = false;
        machine.released = false;
        actions.why = why;
        wait_for_owner(from);
    }

    void operator()(const Startup&) {
        if (machine.state != State::kInit)
            return;
        if (machine.priority == 0)
            machine.priority = settings.priority;
        machine.owner_interval = settings.interval;
        if (machine.priority == kOwnerPriority)
            become_owner(Why::kStarted);
        else
            become_backup(Why::kStarted, now);
    }

    void operator()(const Shutdown&) {
        if (machine.state == State::kOwner) {
            send(kReleasePriority);
            actions.release = true;
        }
        if (machine.state != State::kInit)
            actions.why = Why::kStopped;
        machine = Machine{.priority = machine.priority};
    }

    void operator()(const SetPriority& wanted) { machine.priority = wanted.priority; }

    void operator()(const Tick&) {
        if (!machine.timer || now < *machine.timer)
            return;
        const Micros late = std::chrono::duration_cast<Micros>(now - *machine.timer);
        if (machine.state == State::kOwner)
            advert_is_due();
        else if (machine.state == State::kBackup)
            owner_is_silent(late);
    }

    void advert_is_due() {
        if (was_away(settings, machine, now)) {
            machine.owner_interval = settings.interval;
            become_backup(Why::kLate, now);
            return;
        }
        send(machine.priority);
        machine.timer = std::max(*machine.timer + settings.interval, now);
    }

    void owner_is_silent(Micros late) {
        if (late >= settings.interval && !machine.listening) {
            machine.listening = true;
            machine.timer = now + machine.owner_interval;
            actions.listening_once_more = true;
            return;
        }
        become_owner(machine.released ? Why::kReleased : Why::kSilence);
    }

    void operator()(const Heard& heard) {
        if (machine.state == State::kBackup)
            heard_as_backup(heard);
        else if (machine.state == State::kOwner)
            heard_as_owner(heard);
    }

    void heard_as_backup(const Heard& heard) {
        const Moment at = now - heard.age;
        if (heard.priority == kReleasePriority) {
            machine.released = true;
            machine.timer = at + skew(settings, machine.priority, machine.owner_interval);
            return;
        }
        if (heard.priority < machine.priority && settings.preempt) {
            if (!machine.lower_since)
                machine.lower_since = at;
            if (at - *machine.lower_since >= settings.preempt_delay)
                return; // the timer goes on: at its end we take over
        } else {
            machine.lower_since.reset();
        }
        machine.listening = false;
        machine.released = false;
        machine.owner_interval = heard.interval;
        wait_for_owner(at);
    }

    void heard_as_owner(const Heard& heard) {
        if (heard.priority == kReleasePriority) {
            send_and_rearm();
            return;
        }
        const bool higher = heard.priority > machine.priority;
        if (higher || (heard.priority == machine.priority && heard.source > settings.source)) {
            machine.owner_interval = heard.interval;
            become_backup(higher ? Why::kHigherPriority : Why::kSameHigherAddress, now - heard.age);
            return;
        }
        if (machine.assert_after && now < *machine.assert_after)
            return;
        machine.assert_after = now + settings.interval;
        actions.announce = true;
        send_and_rearm();
    }
};

} // namespace

Micros skew(const Settings& settings, std::uint8_t priority, Micros owner_interval) {
    const Micros whole = settings.version == Version::k2 ? Micros{1'000'000} : owner_interval;
    return (256 - priority) * whole / 256;
}

Micros down_interval(const Settings& settings, std::uint8_t priority, Micros owner_interval) {
    return 3 * owner_interval + skew(settings, priority, owner_interval);
}

Micros lease_time(const Settings& settings) {
    return 5 * settings.interval / 2;
}

Step step(const Settings& settings, Machine machine, const Event& event, Moment now) {
    Stepper stepper{.settings = settings, .machine = machine, .now = now};
    std::visit(stepper, event);
    return {stepper.machine, stepper.actions};
}

std::string_view to_string(State state) {
    switch (state) {
    case State::kBackup:
        return "backup";
    case State::kOwner:
        return "owner";
    case State::kInit:
        break;
    }
    return "init";
}

std::string_view to_string(Why why) {
    switch (why) {
    case Why::kStarted:
        return "it can forward";
    case Why::kStopped:
        return "it cannot forward, or was told to end";
    case Why::kSilence:
        return "no owner was heard";
    case Why::kReleased:
        return "the owner gave up";
    case Why::kHigherPriority:
        return "an owner with a higher priority is there";
    case Why::kSameHigherAddress:
        return "an owner with the same priority and a higher address is there";
    case Why::kLate:
        return "it was stopped for longer than its peers wait";
    case Why::kNone:
        break;
    }
    return "";
}

} // namespace weir::control::vrrp
