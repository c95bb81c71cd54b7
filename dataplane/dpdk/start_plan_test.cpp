// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/start_plan.hpp"

#include "dataplane/dpdk/burst.hpp"
#include "dataplane/lb/fragment_table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::dpdk {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Machine machine_with(unsigned cores) {
    Machine machine;
    for (unsigned core = 0; core < cores; core++)
        machine.online.push_back(core);
    machine.allowed = machine.online;
    return machine;
}

TEST(StartPlan, CoreListsReadLikePeopleWriteThem) {
    EXPECT_EQ(core_list({0}), "0");
    EXPECT_EQ(core_list({0, 1, 2, 3, 7}), "0-3,7");
    EXPECT_EQ(core_list({1, 3}), "1,3");
    EXPECT_EQ(core_list({}), "");
}

TEST(StartPlan, AutoLeavesTheFirstCoreToEverythingElse) {
    EXPECT_THAT(*choose_cores({}, machine_with(2), 64), ElementsAre(1));
    EXPECT_THAT(*choose_cores({}, machine_with(4), 64), ElementsAre(1, 2, 3));
    EXPECT_THAT(*choose_cores({}, machine_with(1), 64), ElementsAre(0));
    EXPECT_EQ(choose_cores({}, machine_with(32), 64)->size(), kMostAutoWorkers);
}

TEST(StartPlan, AutoTakesNoMoreWorkersThanQueues) {
    EXPECT_THAT(*choose_cores({}, machine_with(8), 2), ElementsAre(6, 7));
    EXPECT_EQ(choose_cores({}, machine_with(8), 0)->size(), 1u);
}

TEST(StartPlan, AListIsTakenAsWritten) {
    EXPECT_THAT(*choose_cores({1, 0}, machine_with(2), 1), ElementsAre(1, 0));
}

TEST(StartPlan, ACoreThatIsNotThereIsNamedWithThoseThatAre) {
    auto cores = choose_cores({0, 7}, machine_with(2), 64);
    ASSERT_FALSE(cores);
    EXPECT_EQ(cores.error().sentence,
              "engine.workers: core 7 is not available: this machine has cores 0-1");
}

TEST(StartPlan, ACoreThatIsForbiddenIsToldApart) {
    Machine machine = machine_with(4);
    machine.allowed = {2, 3};
    auto cores = choose_cores({0}, machine, 64);
    ASSERT_FALSE(cores);
    EXPECT_THAT(cores.error().sentence, HasSubstr("it may run on cores 2-3"));
}

TEST(StartPlan, BuffersCoverEveryQueueAndRing) {
    BufferPlan one = plan_buffers(1, 1, 1500);
    EXPECT_GE(one.count, 2 * kQueueDescriptors + kInboxSize + kPuntDataSize);
    EXPECT_EQ(one.data_room, 128 + 256 + 2048);
    EXPECT_GE(plan_buffers(1, 1, 9000).data_room, 128 + 256 + 9000 + 26);
    EXPECT_GE(plan_buffers(4, 2, 1500).count, one.count + 3 * 2 * kQueueDescriptors + kInboxSize);
    EXPECT_GE(plan_buffers(4, 2, 1500).count - plan_buffers(4, 1, 1500).count,
              kInboxSize + lb::kFragmentsHeld + kMostGenerated);
}

TEST(StartPlan, HugePagesAreTakenWhenThereAreEnough) {
    Machine machine = machine_with(2);
    machine.free_huge_bytes = std::size_t{200} << 20;
    const std::size_t small = std::size_t{100} << 20;
    const std::size_t large = std::size_t{300} << 20;
    EXPECT_TRUE(*choose_huge_pages(config::HugepageUse::kAuto, small, machine));
    EXPECT_FALSE(*choose_huge_pages(config::HugepageUse::kAuto, large, machine));
    EXPECT_FALSE(*choose_huge_pages(config::HugepageUse::kOff, small, machine));
    EXPECT_TRUE(*choose_huge_pages(config::HugepageUse::kOn, small, machine));
    auto refused = choose_huge_pages(config::HugepageUse::kOn, large, machine);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().sentence, HasSubstr("174 free huge pages"));
    EXPECT_THAT(refused.error().sentence, HasSubstr("but 100 are there"));
}

TEST(StartPlan, WorkersArePinnedAndTheRestFloats) {
    EalPlan plan{{1, 0}, {0, 1}, {}, true, 0};
    auto arguments = eal_arguments(plan);
    EXPECT_THAT(arguments, Contains("0@(0-1),1@1,2@0"));
    EXPECT_THAT(arguments, Contains("--in-memory"));
    EXPECT_THAT(arguments, Contains("--no-pci"));
    EXPECT_THAT(arguments, Not(Contains("--no-huge")));
}

TEST(StartPlan, WithoutHugePagesTheMemoryIsSetAside) {
    EalPlan plan{{0}, {0}, {"0000:3b:00.0"}, false, std::size_t{64} << 20};
    auto arguments = eal_arguments(plan);
    EXPECT_THAT(arguments, Contains("--no-huge"));
    EXPECT_THAT(arguments, Contains("113"));
    EXPECT_THAT(arguments, Contains("0000:3b:00.0"));
    EXPECT_THAT(arguments, Not(Contains("--no-pci")));
    EXPECT_THAT(arguments, Not(Contains("--in-memory")));
}

} // namespace
} // namespace weir::dpdk
