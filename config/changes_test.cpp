// SPDX-License-Identifier: BSD-3-Clause
#include "config/changes.hpp"

#include <gtest/gtest.h>

#include "config/keys.hpp"
#include "config/parse.hpp"

namespace weir::config {
namespace {

Config parsed(const std::string& text) {
    auto result = parse_config(text, "test.toml");
    EXPECT_TRUE(result) << format(result.diagnostics);
    return result.config.value_or(Config{});
}

std::string text_with(const std::string& engine, const std::string& interface,
                      const std::string& rest) {
    return "[engine]\n" + engine + "\n[interface.up]\n" + interface + "\n" + rest;
}

const std::string kDevice = "device = \"0000:3b:00.0\"\naddresses = [\"10.0.0.1/24\"]";

struct Change {
    std::string engine;
    std::string interface;
    std::string rest;
    std::vector<std::string> expected;
};

TEST(RestartNeeded, NamesEachKey) {
    const Config running = parsed(text_with("", kDevice, ""));
    const std::string other = "device = \"0000:3b:00.1\"\naddresses = [\"10.0.0.1/24\"]";
    const std::vector<Change> changes = {
        {"", kDevice, "", {}},
        {"mode = \"dpdk\"", kDevice, "", {"engine.mode"}},
        {"workers = [2]", kDevice, "", {"engine.workers"}},
        {"idle = \"poll\"", kDevice, "", {"engine.idle"}},
        {"connections = 4096", kDevice, "", {"engine.connections"}},
        {"hugepages = \"off\"", kDevice, "", {"engine.hugepages"}},
        {"", other, "", {"interface.up.device"}},
        {"", kDevice + "\nmtu = 9000", "", {"interface.up.mtu"}},
        {"", kDevice + "\nvlan = 7", "", {"interface.up.vlan"}},
        {"", kDevice + "\nkernel_interface = \"x\"", "", {"interface.up.kernel_interface"}},
        {"", kDevice + "\npunt.control_pps = 100", "", {"interface.up.punt.control_pps"}},
        {"", kDevice + "\npunt.echo_pps = 1", "", {"interface.up.punt.echo_pps"}},
        {"", kDevice + "\npunt.other_pps = 1", "", {"interface.up.punt.other_pps"}},
        {"", kDevice, "[snat]\nports = \"2000-3000\"", {"snat.ports"}},
        {"", kDevice, "[api]\nlisten = \"127.0.0.1:1\"", {"api.listen"}},
        {"", kDevice, "[cluster]\nhash_key_file = \"/k\"", {"cluster.hash_key_file"}},
        {"", kDevice, "[interface.b]\ndevice = \"eth0\"", {"interface.b"}},
        {"", "device = \"eth0\"", "", {"interface.up.device"}},
    };
    for (const Change& change : changes) {
        const Config wanted = parsed(text_with(change.engine, change.interface, change.rest));
        EXPECT_EQ(restart_needed(running, wanted), change.expected)
            << change.engine << change.interface << change.rest;
    }
}

TEST(RestartNeeded, CoversEveryKeyThatTheListSaysNeedsOne) {
    std::size_t keys = 0;
    for (const Key& key : all_keys()) {
        keys += key.effect == Effect::kRestart ? 1 : 0;
    }
    EXPECT_EQ(keys, 15U) << "a key changed its effect: NamesEachKey and restart_needed() must too";
}

TEST(RestartNeeded, InterfacesComeGoAndMove) {
    const std::string a = "[interface.a]\ndevice = \"eth0\"\n";
    const std::string b = "[interface.b]\ndevice = \"eth1\"\n";
    EXPECT_EQ(restart_needed(parsed(a + b), parsed(b + a)), std::vector<std::string>{"interface"});
    EXPECT_EQ(restart_needed(parsed(a + b), parsed(a)), std::vector<std::string>{"interface.b"});
    EXPECT_EQ(restart_needed(parsed(a), parsed(b)),
              (std::vector<std::string>{"interface.b", "interface.a"}));
}

TEST(RestartNeeded, LeavesTheRestLive) {
    const Config running = parsed(text_with("", kDevice, ""));
    const Config wanted = parsed(text_with(
        "reset_grace = \"5s\"\nanswers_pps = 1\nicmp_pps = 2",
        "device = \"0000:3b:00.0\"\naddresses = [\"10.0.0.2/24\"]\ngateway = \"10.0.0.9\"",
        "[node]\nname = \"b\"\n[snat]\naddresses = [\"192.0.2.64/28\"]\n"
        "[tunnel]\nsources = [\"192.0.2.80/28\"]\ngue_port = 1\n"
        "[pool.p]\nbackends = [{ address = \"10.1.0.1:80\" }]\n"
        "[vip.v]\naddress = \"203.0.113.1\"\nport = 80\nprotocol = \"tcp\"\nforward = \"nat\"\n"
        "pool = \"p\"\n"));
    EXPECT_EQ(restart_needed(running, wanted), std::vector<std::string>{});
}

} // namespace
} // namespace weir::config
