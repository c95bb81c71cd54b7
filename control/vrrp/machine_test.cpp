// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/away.hpp"

#include <gtest/gtest.h>

namespace weir::control::vrrp {
namespace {

using std::chrono::milliseconds;

net::IpAddress ip(const char* text) {
    return net::IpAddress::parse(text).value();
}

// One node with a clock that only the test moves.
class Node : public testing::Test {
protected:
    Actions give(const Event& event) {
        const Step result = step(settings, machine, event, now);
        machine = result.machine;
        return result.actions;
    }
    Actions after(Micros time, const Event& event = Tick{}) {
        now += time;
        return give(event);
    }
    Heard heard(std::uint8_t priority, const char* source = "192.0.2.9") const {
        return {priority, settings.interval, ip(source)};
    }
    // Serves the timer exactly when it is due.
    Actions at_timer() {
        now = machine.timer.value();
        return give(Tick{});
    }
    void become_owner() {
        give(Startup{});
        at_timer();
        ASSERT_EQ(machine.state, State::kOwner);
    }

    Settings settings{.priority = 100, .interval = milliseconds{32}, .source = ip("192.0.2.2")};
    Machine machine;
    Moment now{std::chrono::hours{1}};
};

TEST_F(Node, TimesAreThoseOfTheRfc) {
    // 6.1: Skew = ((256 - priority) * Active_Adver_Interval) / 256, Down = 3 * interval + Skew.
    EXPECT_EQ(skew(settings, 128, milliseconds{32}), milliseconds{16});
    EXPECT_EQ(down_interval(settings, 128, milliseconds{32}), milliseconds{112});
    EXPECT_EQ(skew(settings, 255, milliseconds{256}), milliseconds{1});
    // RFC 3768 section 6.1: the skew is a part of a second, whatever the interval.
    Settings v2 = settings;
    v2.version = Version::k2;
    EXPECT_EQ(down_interval(v2, 128, milliseconds{2000}), milliseconds{6500});
}

TEST_F(Node, WaitsForTheDownIntervalThenOwns) {
    EXPECT_EQ(give(Startup{}), (Actions{.why = Why::kStarted}));
    EXPECT_EQ(machine.state, State::kBackup);
    const Micros down = down_interval(settings, 100, settings.interval);
    EXPECT_EQ(after(down - Micros{1}), Actions{});
    EXPECT_EQ(after(Micros{1}), (Actions{.send = 100, .acquire = true, .why = Why::kSilence}));
    EXPECT_EQ(machine.state, State::kOwner);
}

TEST_F(Node, TheAddressOwnerOwnsAtOnce) {
    settings.priority = 255;
    EXPECT_EQ(give(Startup{}), (Actions{.send = 255, .acquire = true, .why = Why::kStarted}));
}

TEST_F(Node, SendsEveryInterval) {
    become_owner();
    EXPECT_EQ(after(settings.interval - Micros{1}), Actions{});
    EXPECT_EQ(after(Micros{1}), (Actions{.send = 100}));
    // A little late: the next one is not late too.
    EXPECT_EQ(after(settings.interval + milliseconds{3}), (Actions{.send = 100}));
    EXPECT_EQ(after(settings.interval - milliseconds{3}), (Actions{.send = 100}));
}

TEST_F(Node, StaysBackupWhileABetterOrEqualOwnerIsHeard) {
    give(Startup{});
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(after(settings.interval, heard(i % 2 == 0 ? 100 : 200)), Actions{});
    EXPECT_EQ(machine.state, State::kBackup);
}

TEST_F(Node, TakesTheIntervalOfTheOwner) {
    give(Startup{});
    give(Heard{200, milliseconds{1000}, ip("192.0.2.9")});
    EXPECT_EQ(*machine.timer - now, down_interval(settings, 100, milliseconds{1000}));
    at_timer();
    EXPECT_EQ(*machine.timer - now, settings.interval); // its own adverts: its own interval
}

TEST_F(Node, SilenceBeginsWhenAnAdvertWasReceivedNotWhenItWasRead) {
    give(Startup{});
    Heard advert = heard(200);
    advert.age = milliseconds{40};
    after(milliseconds{50}, advert);
    EXPECT_EQ(*machine.timer,
              now - milliseconds{40} + down_interval(settings, 100, advert.interval));
    advert.priority = kReleasePriority;
    give(advert);
    EXPECT_EQ(*machine.timer, now - milliseconds{40} + skew(settings, 100, settings.interval));
}

TEST_F(Node, AnOldAdvertOfALateReaderDoesNotPromoteIt) {
    give(Startup{});
    Heard advert = heard(200);
    advert.age = milliseconds{500};
    after(milliseconds{600}, advert);
    EXPECT_EQ(give(Tick{}), (Actions{.listening_once_more = true}));
    EXPECT_EQ(machine.state, State::kBackup);
}

TEST_F(Node, PreemptsALowerOwnerAfterItsDownInterval) {
    give(Startup{});
    const Moment due = *machine.timer;
    after(milliseconds{10}, heard(50));
    after(milliseconds{10}, heard(50));
    EXPECT_EQ(machine.timer, due);
    EXPECT_TRUE(at_timer().acquire);
}

TEST_F(Node, DoesNotPreemptWhenToldNotTo) {
    settings.preempt = false;
    give(Startup{});
    for (int i = 0; i < 20; i++)
        EXPECT_EQ(after(settings.interval, heard(1)), Actions{});
    EXPECT_TRUE(at_timer().acquire); // silence is another matter
}

TEST_F(Node, PreemptDelayCountsFromTheFirstLowerAdvert) {
    settings.preempt_delay = milliseconds{200};
    give(Startup{});
    const Moment first = now;
    Actions last{};
    while (!last.acquire && now < first + std::chrono::seconds{2}) {
        give(heard(50));
        last = after(milliseconds{10});
    }
    ASSERT_TRUE(last.acquire);
    EXPECT_GE(now - first, milliseconds{200});
    EXPECT_LE(now - first, milliseconds{220} + down_interval(settings, 100, settings.interval));
}

TEST_F(Node, ABetterOwnerInBetweenStartsThePreemptDelayAnew) {
    settings.preempt_delay = milliseconds{50};
    give(Startup{});
    give(heard(50));
    after(milliseconds{40}, heard(200));
    after(milliseconds{20}, heard(50));
    EXPECT_EQ(*machine.timer - now, down_interval(settings, 100, settings.interval));
}

TEST_F(Node, APriorityOfZeroShortensTheWaitToTheSkew) {
    give(Startup{});
    give(heard(200));
    give(heard(0));
    EXPECT_EQ(*machine.timer - now, skew(settings, 100, settings.interval));
    const Actions actions = at_timer();
    EXPECT_TRUE(actions.acquire);
    EXPECT_EQ(actions.why, Why::kReleased);
}

TEST_F(Node, OwnerYieldsToHigherAndToTheHigherAddressOnly) {
    become_owner();
    EXPECT_EQ(give(heard(101)), (Actions{.release = true, .why = Why::kHigherPriority}));
    EXPECT_EQ(machine.state, State::kBackup);
    at_timer();
    EXPECT_EQ(give(heard(100, "192.0.2.9")),
              (Actions{.release = true, .why = Why::kSameHigherAddress}));
    at_timer();
    EXPECT_FALSE(give(heard(100, "192.0.2.1")).release);
    EXPECT_EQ(machine.state, State::kOwner);
}

TEST_F(Node, OwnerAssertsItselfAgainstLowerOnceAnInterval) {
    become_owner();
    after(milliseconds{5});
    EXPECT_EQ(give(heard(99)), (Actions{.send = 100, .announce = true}));
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(give(heard(99)), Actions{}); // a flood brings no flood
    after(settings.interval);
    EXPECT_TRUE(give(heard(99)).send);
}

TEST_F(Node, OwnerAnswersAPriorityOfZero) {
    become_owner();
    EXPECT_EQ(after(milliseconds{5}, heard(0)), (Actions{.send = 100}));
}

TEST_F(Node, EndingAsOwnerReleases) {
    become_owner();
    EXPECT_EQ(give(Shutdown{}), (Actions{.send = 0, .release = true, .why = Why::kStopped}));
    EXPECT_EQ(machine.state, State::kInit);
    EXPECT_EQ(after(std::chrono::hours{1}), Actions{});
    EXPECT_EQ(give(heard(1)), Actions{});
}

TEST_F(Node, EndingAsBackupSaysNothing) {
    give(Startup{});
    EXPECT_EQ(give(Shutdown{}), (Actions{.why = Why::kStopped}));
}

TEST_F(Node, TrackedFactsChangeThePriorityThatIsSent) {
    become_owner();
    EXPECT_EQ(give(SetPriority{40}), Actions{});
    EXPECT_EQ(after(settings.interval), (Actions{.send = 40}));
    EXPECT_TRUE(give(heard(50)).release);
}

TEST_F(Node, ALateBackupListensOnceMoreBeforeItPromotesItself) {
    give(Startup{});
    now = *machine.timer + settings.interval;
    EXPECT_EQ(give(Tick{}), (Actions{.listening_once_more = true}));
    EXPECT_EQ(machine.state, State::kBackup);
    EXPECT_EQ(*machine.timer - now, settings.interval);
    // The owner was there all the time.
    Node::give(heard(200));
    EXPECT_EQ(*machine.timer - now, down_interval(settings, 100, settings.interval));
    EXPECT_FALSE(machine.listening);
}

TEST_F(Node, ABackupThatIsAlwaysLateStillTakesOver) {
    give(Startup{});
    now = *machine.timer + std::chrono::seconds{1};
    EXPECT_TRUE(give(Tick{}).listening_once_more);
    now = *machine.timer + std::chrono::seconds{1};
    EXPECT_TRUE(give(Tick{}).acquire);
}

TEST_F(Node, AnOwnerThatWasAwayForAsLongAsItsPeersWaitStepsDownSilently) {
    become_owner();
    now = *machine.timer + 2 * settings.interval; // its last advert is three intervals old
    EXPECT_EQ(give(Tick{}), (Actions{.release = true, .why = Why::kLate}));
    EXPECT_EQ(machine.state, State::kBackup);
    EXPECT_TRUE(at_timer().acquire); // alone after all
}

TEST_F(Node, AnOwnerThatWasAwayForLessGoesOn) {
    become_owner();
    now = *machine.timer + 2 * settings.interval - Micros{1};
    EXPECT_FALSE(was_away(settings, machine, now));
    EXPECT_TRUE(was_away(settings, machine, now + Micros{1}));
    EXPECT_EQ(give(Tick{}), (Actions{.send = 100}));
}

TEST_F(Node, NothingIsHeardBeforeTheStart) {
    EXPECT_EQ(give(heard(1)), Actions{});
    EXPECT_EQ(give(Tick{}), Actions{});
    EXPECT_EQ(give(Shutdown{}), Actions{});
}

TEST(VrrpMachine, ALeaseIsOverBeforeAnyPeerTakesOver) {
    for (const Version version : {Version::k2, Version::k3})
        for (const int interval_ms : {10, 30, 100, 1000, 40950})
            for (int priority = 1; priority <= 254; priority++) {
                Settings settings;
                settings.version = version;
                settings.interval = Micros{1000 * interval_ms};
                const Micros peer =
                    down_interval(settings, static_cast<std::uint8_t>(priority), settings.interval);
                EXPECT_GE(peer - lease_time(settings), settings.interval / 2);
                // One advert may be late by more than an interval before the neighbours notice.
                EXPECT_GT(lease_time(settings), 2 * settings.interval);
            }
}

} // namespace
} // namespace weir::control::vrrp
