// SPDX-License-Identifier: BSD-3-Clause
// Whole texts through parse_config(): the golden messages of testdata/broken (WEIR_UPDATE_GOLDEN=1
// rewrites them), the good ones, and what hostile texts get.
#include "config/parse.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include <gtest/gtest.h>

#include "config/document.hpp"

namespace weir::config {
namespace {

namespace fs = std::filesystem;

const fs::path kTestdata = WEIR_CONFIG_TESTDATA;

std::string contents(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    EXPECT_TRUE(stream) << path;
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<fs::path> tomls(const char* directory) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(kTestdata / directory)) {
        if (entry.path().extension() == ".toml") {
            found.push_back(entry.path());
        }
    }
    std::sort(found.begin(), found.end());
    return found;
}

Config good(const std::string& text) {
    auto result = parse_config(text, "test.toml");
    EXPECT_TRUE(result) << format(result.diagnostics);
    return result ? *result.config : Config{};
}

// Every refusal must point into the text it refuses.
void expect_sound(const ParseResult& result, std::string_view text) {
    ASSERT_NE(result.config.has_value(), !result.diagnostics.empty());
    const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
    for (const Diagnostic& diagnostic : result.diagnostics) {
        EXPECT_GE(diagnostic.line, 1U);
        EXPECT_LE(diagnostic.line, lines);
        EXPECT_GE(diagnostic.column, 1U);
        EXPECT_LE(diagnostic.column, diagnostic.source_line.size() + 1);
        EXPECT_FALSE(diagnostic.message.empty());
    }
    const std::string shown = format(result.diagnostics);
    EXPECT_TRUE(std::none_of(shown.begin(), shown.end(), [](char c) {
        return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t';
    }));
}

TEST(BrokenConfigs, GiveTheirGoldenMessages) {
    const auto files = tomls("broken");
    ASSERT_GE(files.size(), 20U);
    const bool update = std::getenv("WEIR_UPDATE_GOLDEN") != nullptr;
    for (const fs::path& file : files) {
        SCOPED_TRACE(file.filename());
        const std::string text = contents(file);
        const auto result = parse_config(text, file.filename().string());
        EXPECT_FALSE(result) << "accepted";
        expect_sound(result, text);
        const fs::path golden = fs::path(file).replace_extension(".expected");
        if (update) {
            std::ofstream(golden, std::ios::binary) << format(result.diagnostics);
        }
        ASSERT_TRUE(fs::exists(golden)) << "no golden message; run with WEIR_UPDATE_GOLDEN=1";
        EXPECT_EQ(format(result.diagnostics), contents(golden));
    }
}

TEST(BrokenConfigs, HaveNoGoldenWithoutItsText) {
    for (const auto& entry : fs::directory_iterator(kTestdata / "broken")) {
        EXPECT_TRUE(fs::exists(fs::path(entry.path()).replace_extension(".toml"))) << entry.path();
    }
}

TEST(GoodConfigs, AreAccepted) {
    const auto files = tomls("good");
    ASSERT_GE(files.size(), 2U);
    for (const fs::path& file : files) {
        const auto result = load_config(file.string());
        EXPECT_TRUE(result) << format(result.diagnostics);
    }
}

TEST(GoodConfigs, EveryKeyArrives) {
    const Config config = good(contents(kTestdata / "good" / "everything.toml"));
    EXPECT_EQ(config.node.name, "lb-a");
    EXPECT_EQ(config.engine.mode, EngineMode::kDpdk);
    EXPECT_EQ(config.engine.workers, (std::vector<unsigned>{2, 3, 4}));
    EXPECT_EQ(config.engine.idle, IdlePolicy::kPoll);
    EXPECT_EQ(config.engine.connections, 2'097'152U);
    EXPECT_EQ(config.engine.hugepages, HugepageUse::kOn);
    EXPECT_EQ(config.ownership, OwnershipMode::kStatic);
    ASSERT_TRUE(config.api_listen);
    EXPECT_EQ(config.api_listen->to_string(), "[::1]:9640");
    EXPECT_EQ(config.snat.addresses.size(), 3U);
    EXPECT_EQ(config.snat.addresses[1].to_string(), "192.0.2.100/32");
    EXPECT_EQ(config.snat.ports, (PortRange{20000, 29999}));

    ASSERT_EQ(config.interfaces.size(), 3U);
    const InterfaceConfig& uplink = config.interfaces[0];
    EXPECT_EQ(uplink.name, "uplink");
    EXPECT_EQ(uplink.device, Device(PciDevice{"0000:3b:00.0"}));
    EXPECT_EQ(uplink.addresses.size(), 2U);
    EXPECT_EQ(uplink.gateway_v4->to_string(), "192.0.2.1");
    EXPECT_EQ(uplink.gateway_v6->to_string(), "fe80::1");
    EXPECT_EQ(uplink.mtu, 9000);
    EXPECT_EQ(uplink.vlan, 100);
    EXPECT_EQ(uplink.kernel_interface, "up0");
    EXPECT_EQ(uplink.punt, (PuntLimits{5000, 10, 0}));
    EXPECT_EQ(config.interfaces[1].device, Device(VdevDevice{"net_tap0,iface=lan0"}));
    EXPECT_EQ(config.interfaces[1].kernel_interface, "weir-lan");
    EXPECT_EQ(config.interfaces[2].device, Device(KernelInterface{"eth3.100"}));
    EXPECT_EQ(config.interfaces[2].kernel_interface, "eth3.100");
    EXPECT_EQ(config.interfaces[2].punt, PuntLimits{});
}

TEST(GoodConfigs, PoolsAndVipsArriveInFileOrder) {
    const Config config = good(contents(kTestdata / "good" / "everything.toml"));
    ASSERT_EQ(config.pools.size(), 7U);
    const PoolConfig& web = config.pools[0];
    EXPECT_EQ(web.name, "web");
    EXPECT_EQ(web.maglev_size, 4093U);
    EXPECT_EQ(web.panic_threshold_percent, 40);
    ASSERT_EQ(web.backends.size(), 3U);
    EXPECT_EQ(web.backends[0].name, "10.0.0.11:8080");
    EXPECT_EQ(web.backends[0].weight, 10);
    EXPECT_EQ(web.backends[0].probe_port, 9000);
    EXPECT_EQ(web.backends[1].name, "web-b");
    EXPECT_EQ(web.backends[1].weight, 0);
    EXPECT_EQ(web.health.type, HealthType::kHttp);
    EXPECT_EQ(web.health.path, "/healthz");
    EXPECT_EQ(web.health.host, "www.example.org");
    EXPECT_EQ(web.health.expect_status, (std::vector<StatusRange>{{204, 204}, {200, 202}}));
    EXPECT_EQ(web.health.expect_body, "fine");
    EXPECT_EQ(web.health.interval, std::chrono::milliseconds(500));
    EXPECT_EQ(web.health.timeout, std::chrono::milliseconds(250));
    EXPECT_EQ(web.health.rise, 1);
    EXPECT_EQ(web.health.fall, 5);
    EXPECT_EQ(config.pools[1].scheduler, Scheduler::kSourceHash);
    EXPECT_EQ(config.pools[1].backends[1].address.port, std::nullopt);
    EXPECT_EQ(config.pools[1].backends[1].probe_port, 53); // the VIP's
    EXPECT_EQ(config.pools[2].backends[0].probe_port, 0);  // no health check

    ASSERT_EQ(config.vips.size(), 9U);
    EXPECT_EQ(config.vips[0].name, "web");
    EXPECT_EQ(config.vips[0].pool, 0U);
    EXPECT_EQ(config.vips[0].timeouts.established, std::chrono::hours(18));
    EXPECT_EQ(config.vips[0].timeouts.udp, std::chrono::minutes(2));
    EXPECT_EQ(config.vips[0].on_all_down, OnAllDown::kDrop);
    EXPECT_EQ(config.vips[1].pool, 1U);
    EXPECT_EQ(config.vips[1].protocol, Protocol::kUdp);
    EXPECT_EQ(config.vips[2].ports, (PortRange{8000, 8099}));
    EXPECT_TRUE(config.vips[3].ports.is_all());
    EXPECT_EQ(config.vips[3].forward, ForwardMode::kDsrL2);
}

TEST(GoodConfigs, SchedulersLimitsAndPersistenceArrive) {
    const Config config = good(contents(kTestdata / "good" / "everything.toml"));
    const PoolConfig& web = config.pools[0];
    EXPECT_EQ(web.persistence, (PersistenceConfig{std::chrono::minutes(10), 24, 64}));
    EXPECT_EQ(web.backends[0].max_connections, 1000U) << "the pool's";
    EXPECT_EQ(web.backends[2].max_connections, 0U) << "its own";
    EXPECT_FALSE(web.backends[0].backup);
    EXPECT_TRUE(web.backends[2].backup);
    EXPECT_EQ(config.pools[3].scheduler, Scheduler::kRoundRobin);
    EXPECT_EQ(config.pools[3].persistence, std::nullopt);
    EXPECT_EQ(config.pools[4].scheduler, Scheduler::kWeightedRoundRobin);
    EXPECT_EQ(config.pools[4].persistence, (PersistenceConfig{std::chrono::hours(18), 32, 128}));
    EXPECT_EQ(config.pools[5].scheduler, Scheduler::kLeastConnections);
    EXPECT_EQ(config.pools[6].scheduler, Scheduler::kWeightedLeastConnections);
}

TEST(GoodConfigs, PoliciesAndTunnelsArrive) {
    const Config config = good(contents(kTestdata / "good" / "everything.toml"));
    EXPECT_EQ(config.engine.reset_grace, std::chrono::seconds(0));
    EXPECT_EQ(config.engine.answers_pps, 500U);
    EXPECT_EQ(config.engine.icmp_pps, 0U);
    EXPECT_EQ(config.tunnel.gue_port, 6081);
    EXPECT_EQ(tunnel_source(config, true)->to_string(), "192.0.2.128/28") << "the whole range";
    EXPECT_EQ(tunnel_source(config, false)->to_string(), "2001:db8:1:f::/124");
    const VipConfig& web = config.vips[0];
    EXPECT_EQ(web.on_limit, OnLimit::kDrop);
    EXPECT_EQ(web.max_connections, 100'000U);
    EXPECT_FALSE(web.packet_too_big);
    EXPECT_TRUE(web.mss_clamp);
    const VipConfig& ipip = config.vips[4];
    EXPECT_EQ(ipip.forward, ForwardMode::kDsrIpip);
    EXPECT_EQ(ipip.on_backend_down, OnBackendDown::kKeep);
    EXPECT_EQ(ipip.on_all_down, OnAllDown::kReject);
    EXPECT_EQ(ipip.on_limit, OnLimit::kReject) << "the default";
    EXPECT_FALSE(ipip.mss_clamp);
    EXPECT_EQ(config.vips[5].forward, ForwardMode::kDsrGue);
}

TEST(GoodConfigs, AReplyThatPassesHereCanBeReset) {
    const Config config = good(contents(kTestdata / "good" / "everything.toml"));
    const auto policy = [&](const char* name) {
        return std::find_if(config.vips.begin(), config.vips.end(),
                            [&](const VipConfig& vip) { return vip.name == name; })
            ->on_backend_down;
    };
    EXPECT_EQ(policy("wrr"), OnBackendDown::kReset) << "as written";
    EXPECT_EQ(policy("lc"), OnBackendDown::kReset) << "TCP, nat";
    EXPECT_EQ(policy("wlc"), OnBackendDown::kReselect) << "UDP";
    EXPECT_EQ(policy("range"), OnBackendDown::kReselect) << "DSR";
}

TEST(GoodConfigs, ExceptionsAreTheDefaultWhereTheyAreEnough) {
    const Config config = good(contents(kTestdata / "good" / "everything.toml"));
    for (const VipConfig& vip : config.vips) {
        const PoolConfig& pool = config.pools[vip.pool];
        const bool hashed =
            pool.scheduler == Scheduler::kMaglev || pool.scheduler == Scheduler::kSourceHash;
        const bool limited = vip.max_connections != 0 || pool.persistence ||
                             std::any_of(pool.backends.begin(), pool.backends.end(),
                                         [](const auto& b) { return b.max_connections != 0; });
        EXPECT_EQ(vip.tracking == Tracking::kExceptions, is_dsr(vip.forward) && hashed && !limited)
            << vip.name;
    }
}

TEST(TunnelSource, IsTheFirstAddressOfAnInterfaceByDefault) {
    const Config config = good(contents(kTestdata / "good" / "readme.toml"));
    ASSERT_FALSE(config.interfaces[0].addresses.empty());
    EXPECT_EQ(tunnel_source(config, true),
              net::IpPrefix::host(config.interfaces[0].addresses[0].address));
}

TEST(ParseConfig, AcceptsAByteOrderMarkAndCrLf) {
    std::string text = contents(kTestdata / "good" / "readme.toml");
    const Config plain = good(text);
    for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) {
        text.replace(at, 1, "\r\n");
    }
    EXPECT_EQ(good("\xEF\xBB\xBF" + text), plain);
    const std::string mistyped = "\xEF\xBB\xBFnod = 1\n[interface.a]\ndevice = 'eth0'\n";
    const auto refused = parse_config(mistyped, "test.toml");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.diagnostics.front().hint, "did you mean \"node\"?");
}

// Kept out of testdata/: editors and version control mend such bytes.
TEST(ParseConfig, PointsAtBytesThatAreNoText) {
    using namespace std::string_literals;
    const std::string start = "[interface.uplink]\ndevice = \"eth0\"\n[node]\n";
    EXPECT_EQ(format(parse_config(start + "name = \"a\0b\"\n"s, "nul.toml").diagnostics),
              "nul.toml:4:10: error: control character 0x00 in the file\n"
              "    4 | name = \"a?b\"\n"
              "      |          ^\n"
              "      = TOML is plain text: remove it, or write it as \"\\u0000\" in a string\n");
    EXPECT_EQ(format(parse_config(start + "name = \"gr\xf6\xdf\"\n", "latin.toml").diagnostics),
              "latin.toml:4:11: error: this byte is not UTF-8\n"
              "    4 | name = \"gr??\"\n"
              "      |           ^\n"
              "      = save the file in UTF-8 encoding\n");
    EXPECT_EQ(format(parse_config(start + "name = \"a\"\r\nnmae = 1\r\n", "crlf.toml").diagnostics),
              "crlf.toml:5:1: error: unknown key \"nmae\" in [node]\n"
              "    5 | nmae = 1\n"
              "      | ^~~~\n"
              "      = did you mean \"name\"?\n");
}

TEST(LoadConfig, SaysWhyAFileCannotBeRead) {
    const auto missing = load_config("/nonexistent/weir.toml");
    ASSERT_FALSE(missing);
    EXPECT_NE(format(missing.diagnostics).find("No such file"), std::string::npos);
    const auto directory = load_config(kTestdata.string());
    ASSERT_FALSE(directory);
    EXPECT_NE(format(directory.diagnostics).find("cannot be read"), std::string::npos);
}

TEST(HostileTexts, AreRefusedInOrder) {
    const std::size_t many = 200'000;
    const std::vector<std::string> texts = {
        std::string(many, '['),
        "a = " + std::string(many, '['),
        "a = " + std::string(many, '{'),
        [&] {
            std::string text = "a";
            for (std::size_t i = 0; i < many; ++i) {
                text += ".a";
            }
            return text + " = 1\n";
        }(),
        [&] {
            std::string text;
            for (std::size_t i = 0; i < many / 10; ++i) {
                text += "{a=[\n";
            }
            return "a = " + text;
        }(),
        "a = " + std::string(many, '9'),
        "a = 0b" + std::string(200, '1'),
        "a = 0x" + std::string(200, 'f'),
        "a = \"" + std::string(many, 'x'),
        "a = \"\"\"" + std::string(many, '\n'),
        "a = '''" + std::string(many, '"'),
        "\"" + std::string(many, 'k') + "\" = 1",
        std::string(many, '\n'),
        std::string(many, '#'),
        std::string("a = \"\\"),
        std::string("a = \"\\\r"),
        std::string("a = \"\\u12"),
        std::string("a = \"\\ud800\""),
        std::string("a ="),
        std::string("a."),
        std::string("[a"),
        std::string("[[a]"),
        std::string("[]"),
        std::string("= 1"),
        std::string("\0", 1),
        std::string("\xff\xfe"),
        std::string("\xEF\xBB\xBF"),
        std::string("a = 1979-05-27T07:32:00Z"),
        std::string("a = inf\nb = -nan\nc = 1e999"),
        std::string(kLargestFile + 1, ' '),
    };
    for (const std::string& text : texts) {
        SCOPED_TRACE(text.substr(0, 40));
        const auto result = parse_config(text, "hostile.toml");
        EXPECT_FALSE(result);
        expect_sound(result, text);
    }
}

// Seeded: a failure names the seed to repeat it with.
TEST(Mutations, AreAcceptedOrRefusedNeverWorse) {
    std::vector<std::string> originals;
    for (const fs::path& file : tomls("good")) {
        originals.push_back(contents(file));
    }
    const std::string alphabet = "[]{}\"'=.,#\\\n\r\t -0123456789abcxyz_:/\x80\xff";
    std::size_t refused = 0;
    constexpr unsigned kRounds = 6000;
    for (unsigned seed = 0; seed < kRounds; ++seed) {
        std::mt19937 random(seed);
        const auto below = [&](std::size_t bound) { return random() % bound; };
        std::string text = originals[below(originals.size())];
        for (std::size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
            const std::size_t at = below(text.size());
            switch (below(5)) {
            case 0:
                text[at] = alphabet[below(alphabet.size())];
                break;
            case 1:
                text.insert(at, 1, alphabet[below(alphabet.size())]);
                break;
            case 2:
                text.erase(at, 1 + below(12));
                break;
            case 3:
                text.insert(at, text.substr(below(text.size()), 1 + below(60)));
                break;
            default:
                text.resize(at);
                break;
            }
        }
        SCOPED_TRACE(seed);
        const auto result = parse_config(text, "mutated.toml");
        expect_sound(result, text);
        refused += result ? 0 : 1;
        if (HasFailure()) {
            return;
        }
    }
    EXPECT_GT(refused, kRounds / 2);
    EXPECT_LT(refused, kRounds);
}

TEST(ManyVips, AreReadInReasonableTime) {
    std::string text = "[interface.up]\ndevice = \"eth0\"\naddresses = [\"192.0.2.2/24\"]\n"
                       "[pool.p]\nbackends = [{ address = \"10.0.0.1:80\" }]\n";
    for (int i = 0; i < 4000; ++i) {
        text += "[vip.v" + std::to_string(i) + "]\naddress = \"203.0." + std::to_string(i / 250) +
                "." + std::to_string(i % 250) +
                "\"\nport = 80\nprotocol = \"tcp\"\nforward = \"full-nat\"\npool = \"p\"\n";
    }
    EXPECT_EQ(good(text).vips.size(), 4000U);
}

} // namespace
} // namespace weir::config
