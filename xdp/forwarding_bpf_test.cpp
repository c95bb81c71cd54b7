// SPDX-License-Identifier: BSD-3-Clause
// The BPF build of the decision against the native one: same packets, same verdict, hash and bytes.
// And what the verifier pays for each program, against a stated bound.
#include <gtest/gtest.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "xdp/busy_table.hpp"
#include "xdp/forwarding_test.h"
#include "xdp/match_blocks.hpp"
#include "xdp/test_lab.hpp"
#include "xdp/test_run.hpp"

namespace {

using namespace weir::forwarding_test;
using namespace weir::xdp;

constexpr size_t kHeadroom = 256;
constexpr size_t kMaxFrame = 3072; // more would reach the program as fragments

struct CloseObject {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
};

class BpfDecision {
public:
    BpfDecision() : object_(bpf_object__open_file(WEIR_FORWARDING_TEST_OBJECT, nullptr)) {
        if (!object_ || bpf_object__load(object_.get()) != 0)
            return;
        program_ = bpf_program__fd(bpf_object__next_program(object_.get(), nullptr));
        parameters_ = bpf_object__find_map_fd_by_name(object_.get(), "parameters");
        results_ = bpf_object__find_map_fd_by_name(object_.get(), "results");
    }
    bool loaded() const { return program_ >= 0; }

    bool publish(const TestTable& table) {
        auto copy = [&](const char* name) {
            return Descriptor(dup(bpf_object__find_map_fd_by_name(object_.get(), name)));
        };
        auto blocks = MatchBlocks::open(copy("match_blocks"), copy("steer_state"));
        return blocks &&
               blocks->publish({table.header(), table.range_rows(), table.rows()}, 1).has_value();
    }

    // The packet after the program, its result, and what it returned.
    struct Outcome {
        int action = -1;
        Bytes frame;
        weir_test_result result{};
    };
    Outcome run(const Bytes& frame, const weir_test_parameters& parameters) {
        Outcome outcome;
        const uint32_t first = 0;
        if (bpf_map_update_elem(parameters_, &first, &parameters, BPF_ANY) != 0)
            return outcome;
        auto ran = weir::xdp_test::run_once(program_, frame);
        if (!ran || bpf_map_lookup_elem(results_, &first, &outcome.result) != 0)
            return outcome;
        outcome.action = static_cast<int>(ran->returned);
        outcome.frame = std::move(ran->frame);
        return outcome;
    }

private:
    std::unique_ptr<bpf_object, CloseObject> object_;
    int program_ = -1, parameters_ = -1, results_ = -1;
};

BpfDecision::Outcome run_native(const Bytes& frame, const weir_test_parameters& parameters,
                                const TestTable& table) {
    BpfDecision::Outcome outcome;
    Bytes room(kHeadroom);
    room.insert(room.end(), frame.begin(), frame.end());
    uint8_t* data = room.data() + kHeadroom;
    const uint8_t* end = room.data() + room.size();
    const weir_match_view view = table.view();
    weir_packet packet;
    memset(&packet, 0, sizeof(packet));
    outcome.action = XDP_DROP;
    if (!weir_test_parse(data, end, &parameters, &packet, &outcome.result)) {
        outcome.frame.assign(static_cast<const uint8_t*>(data), end);
        return outcome;
    }
    const weir_match match = weir_match_packet(&view, &packet);
    if (weir_test_decide(data, end, &parameters, &match, &packet, &outcome.result)) {
        data -= outcome.result.head_change;
        weir_test_leave(data, end, &parameters, &packet, &outcome.result);
        outcome.action = XDP_TX;
    }
    outcome.frame.assign(static_cast<const uint8_t*>(data), end);
    return outcome;
}

weir_test_parameters parameters_for(unsigned mode, uint16_t vlan_tci) {
    weir_test_parameters parameters{};
    parameters.key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    parameters.here[0] = address_of("192.0.2.200");
    parameters.here[1] = address_of("2001:db8::c8");
    parameters.there[0] = address_of("203.0.113.77");
    parameters.there[1] = address_of("2001:db8:2::4d");
    parameters.here_port = be16(45678);
    parameters.there_port = be16(8080);
    parameters.vlan_tci = vlan_tci;
    parameters.mode = static_cast<uint8_t>(mode);
    const std::array<uint8_t, 6> to = {2, 0xaa, 1, 2, 3, 4}, from = {2, 0xbb, 5, 6, 7, 8};
    memcpy(parameters.destination_mac, to.data(), 6);
    memcpy(parameters.source_mac, from.data(), 6);
    return parameters;
}

// Padding included: both builds start from zeroed memory.
bool same_bytes(const weir_test_result& a, const weir_test_result& b) {
    return std::ranges::equal(std::as_bytes(std::span(&a, 1)), std::as_bytes(std::span(&b, 1)));
}

std::string hex(const Bytes& bytes) {
    std::string text;
    char byte[4];
    for (uint8_t value : bytes) {
        snprintf(byte, sizeof(byte), "%02x", value);
        text += byte;
    }
    return text;
}

class ForwardingBpf : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = weir::xdp_test::missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        ASSERT_TRUE(decision_.loaded());
        ASSERT_TRUE(decision_.publish(table_));
    }
    // Both builds agree on this packet. Says whether it was forwarded.
    bool agree(const Bytes& frame, const weir_test_parameters& parameters) {
        const auto bpf = decision_.run(frame, parameters);
        const auto native = run_native(frame, parameters, table_);
        const bool same = bpf.action == native.action && bpf.frame == native.frame &&
                          same_bytes(bpf.result, native.result);
        if (!same)
            ADD_FAILURE() << "mode " << int{parameters.mode} << " tag " << parameters.vlan_tci
                          << "\npacket " << hex(frame) << "\nBPF    action " << bpf.action
                          << " verdict " << bpf.result.verdict << " " << hex(bpf.frame)
                          << "\nnative action " << native.action << " verdict "
                          << native.result.verdict << " " << hex(native.frame);
        return native.action == XDP_TX;
    }
    TestTable table_ = busy_table();
    BpfDecision decision_;
};

TEST_F(ForwardingBpf, GivesTheSameBytesForTheCorpus) {
    size_t forwarded = 0;
    for (unsigned mode = 0; mode < WEIR_TEST_MODES; mode++)
        for (uint16_t tag : {uint16_t{WEIR_NO_VLAN}, uint16_t{0x2065}})
            for (const auto& samples : {sound_packets(), unsound_packets()})
                for (const Sample& sample : samples)
                    forwarded += agree(build(sample.plan), parameters_for(mode, tag));
    // All sound TCP and UDP packets, in every mode, with a tag and without.
    size_t expected = 0;
    for (const Sample& sample : sound_packets())
        expected += sample.plan.protocol == 6 || sample.plan.protocol == 17;
    EXPECT_GE(forwarded, expected * WEIR_TEST_MODES * 2);
}

TEST_F(ForwardingBpf, GivesTheSameBytesForDamagedPackets) {
    std::mt19937_64 random(20);
    std::vector<Bytes> corpus;
    for (const auto& samples : {sound_packets(), unsound_packets()})
        for (const Sample& sample : samples)
            corpus.push_back(build(sample.plan));
    size_t compared = 0, forwarded = 0;
    std::array<size_t, WEIR_VERDICT_COUNT> seen{};
    while (compared < 24000 && !HasFailure()) {
        Bytes frame = corpus[random() % corpus.size()];
        damage(frame, random);
        if (frame.size() < 14 || frame.size() > kMaxFrame)
            continue; // the kernel runs no test on less than an Ethernet header
        const uint16_t tag = random() % 2 ? uint16_t{WEIR_NO_VLAN} : uint16_t{77};
        const auto parameters = parameters_for(random() % WEIR_TEST_MODES, tag);
        forwarded += agree(frame, parameters);
        seen[run_native(frame, parameters, table_).result.verdict]++;
        compared++;
    }
    EXPECT_GT(forwarded, compared / 10) << "too few packets got as far as a rewrite";
    EXPECT_LT(forwarded, compared) << "too few packets were refused";
    size_t verdicts = 0;
    for (size_t count : seen)
        verdicts += count != 0;
    EXPECT_GE(verdicts, 12u) << "the damage is too uniform";
}

TEST_F(ForwardingBpf, ADifferentKeyIsNoticed) {
    // Negative control: the comparison sees a single different hash.
    const Bytes frame = build(sound_packets()[0].plan);
    auto parameters = parameters_for(WEIR_TEST_DSR_L2, WEIR_NO_VLAN);
    const auto bpf = decision_.run(frame, parameters);
    parameters.key.k0 ^= 1;
    const auto native = run_native(frame, parameters, table_);
    EXPECT_NE(bpf.result.hash, native.result.hash);
    EXPECT_FALSE(same_bytes(bpf.result, native.result));
}

// The bounds leave room for a changed line, not for a doubled one. The kernel's own is a million.
class VerifierCost : public testing::TestWithParam<std::tuple<const char*, const char*, unsigned>> {
};

TEST_P(VerifierCost, StaysBelowItsBound) {
    if (std::string why = weir::xdp_test::missing_permission(); !why.empty())
        GTEST_SKIP() << why;
    const auto [name, path, bound] = GetParam();
    std::unique_ptr<bpf_object, CloseObject> object(bpf_object__open_file(path, nullptr));
    ASSERT_TRUE(object);
    ASSERT_EQ(bpf_object__load(object.get()), 0);
    bpf_prog_info info{};
    uint32_t bytes = sizeof(info);
    const int program = bpf_program__fd(bpf_object__next_program(object.get(), nullptr));
    ASSERT_EQ(bpf_obj_get_info_by_fd(program, &info, &bytes), 0);
    RecordProperty("verified_instructions", static_cast<int>(info.verified_insns));
    printf("%s: %u verified instructions of %u allowed here\n", name, info.verified_insns, bound);
    EXPECT_GT(info.verified_insns, 0u);
    EXPECT_LT(info.verified_insns, bound);
}

INSTANTIATE_TEST_SUITE_P(Programs, VerifierCost,
                         testing::Values(std::tuple("steer", WEIR_STEER_OBJECT, 100u),
                                         std::tuple("sorter", WEIR_SORTER_OBJECT, 120000u),
                                         std::tuple("guard", WEIR_GUARD_OBJECT, 50000u),
                                         std::tuple("balancer", WEIR_BALANCER_OBJECT, 600000u),
                                         std::tuple("forwarding_test", WEIR_FORWARDING_TEST_OBJECT,
                                                    50000u)),
                         [](const auto& test) { return std::string(std::get<0>(test.param)); });

} // namespace
