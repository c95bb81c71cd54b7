// SPDX-License-Identifier: BSD-3-Clause
// What the packet fuzzers start from: packet_seeds DIRECTORY PREFIX writes every packet of the test
// corpus, and ICMP errors about plain and encapsulated ones, a file each behind PREFIX bytes of the
// fuzzer's own.
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "dataplane/forwarding/test_corpus.hpp"

namespace {

using namespace weir::forwarding_test;

// An error from a router about `quoted`, an IP packet from a source of ours.
Bytes error_about(const Bytes& quoted, bool six) {
    PacketPlan error;
    error.source = six ? "2001:db8:5::1" : "192.0.2.77";
    error.destination = six ? "2001:db8:9::ff00" : "10.9.0.240";
    error.protocol = six ? 58 : 1;
    error.icmp_type = six ? 2 : 3;
    error.icmp_code = six ? 0 : 4;
    error.icmp_word = 1400;
    error.payload = quoted;
    error.payload.resize(std::min<size_t>(quoted.size(), 200));
    return build(error);
}

Bytes from_us(const Bytes& l4, uint8_t protocol, bool six) {
    PacketPlan plan;
    plan.source = six ? "2001:db8:9::ff00" : "10.9.0.240";
    plan.destination = six ? "2001:db8:8::7" : "203.0.113.7";
    plan.protocol = protocol;
    return build_ip(plan, l4);
}

std::vector<Bytes> errors_about(const PacketPlan& plan) {
    std::vector<Bytes> errors;
    const Bytes inner = build_ip(plan);
    const uint8_t carried = is_v6(plan) ? 41 : 4;
    Bytes gue;
    put16(gue, 50000);
    put16(gue, 6080);
    put16(gue, static_cast<unsigned>(inner.size() + 12));
    put32(gue, carried); // no checksum, variant 0, the protocol
    put16(gue, 0);
    put(gue, inner);
    for (const bool six : {false, true}) {
        errors.push_back(error_about(from_us(inner, carried, six), six));
        errors.push_back(error_about(from_us(gue, 17, six), six));
    }
    PacketPlan sent = plan;
    sent.source = is_v6(plan) ? "2001:db8:9::ff00" : "10.9.0.240";
    errors.push_back(error_about(build_ip(sent), is_v6(plan)));
    return errors;
}

} // namespace

int main(int count, char** argument) {
    if (count != 3)
        return 2;
    const std::string directory = argument[1];
    const int prefix = atoi(argument[2]);
    std::vector<Bytes> frames;
    for (const auto& samples : {sound_packets(), unsound_packets()}) {
        for (const Sample& sample : samples) {
            frames.push_back(build(sample.plan));
            for (const Bytes& error : errors_about(sample.plan))
                frames.push_back(error);
        }
    }
    for (size_t i = 0; i < frames.size(); i++) {
        std::ofstream file(directory + "/seed-" + std::to_string(i), std::ios::binary);
        // The first byte's top bit lets the fuzzers repair IPv4 checksums.
        file.put(static_cast<char>(0x80 | (i & 0x0f)));
        for (int at = 1; at < prefix; at++)
            file.put(static_cast<char>(i * 37));
        file.write(reinterpret_cast<const char*>(frames[i].data()),
                   static_cast<std::streamsize>(frames[i].size()));
        if (!file)
            return 1;
    }
    printf("%zu seeds\n", frames.size());
    return 0;
}
