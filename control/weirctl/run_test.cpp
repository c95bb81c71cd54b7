// SPDX-License-Identifier: BSD-3-Clause
// weirctl from its command line to its output and exit code, against a scripted control.
#include "control/weirctl/run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <sstream>

#include "control/weirctl/command_line.hpp"
#include "control/weirctl/fake_control.hpp"
#include "control/weirctl/request.hpp"

namespace weir::weirctl {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kGood = std::string(WEIR_CONFIG_TESTDATA) + "/good/readme.toml";
const std::string kBroken = std::string(WEIR_CONFIG_TESTDATA) + "/broken/weights.toml";

struct Outcome {
    int exit_code;
    std::string out;
    std::string err;
};

Outcome weirctl(const std::vector<std::string>& words) {
    std::vector<const char*> argv{"weirctl"};
    for (const std::string& word : words)
        argv.push_back(word.c_str());
    std::ostringstream out;
    std::ostringstream err;
    const int exit_code = run(static_cast<int>(argv.size()), argv.data(),
                              {out, err, "9.9.9", {std::chrono::seconds(15), 1'000'000}});
    return {exit_code, out.str(), err.str()};
}

// The command against a control that gives one answer to everything.
struct Asked : Outcome {
    std::string request_line;
    std::string body;
};

Asked ask(std::vector<std::string> words, unsigned status, const std::string& answer) {
    const FakeControl control(FakeControl::says(http_answer(status, answer)));
    words.insert(words.begin(), {"--runtime-dir", control.directory()});
    Asked asked{weirctl(words), "", ""};
    const auto requests = control.requests();
    if (!requests.empty()) {
        asked.request_line = requests[0].substr(0, requests[0].find(" HTTP/1.1\r\n"));
        asked.body = requests[0].substr(requests[0].find("\r\n\r\n") + 4);
    }
    return asked;
}

TEST(Requests, AreThoseOfTheApi) {
    const auto line = [](const std::vector<std::string>& words) {
        return ask(words, 200, "{}").request_line;
    };
    EXPECT_EQ(line({"status"}), "GET /v1/status");
    EXPECT_EQ(line({"vip", "list"}), "GET /v1/vips");
    EXPECT_EQ(line({"vip", "show", "web"}), "GET /v1/vips/web");
    EXPECT_EQ(line({"vip", "show", "a b/?\xc3\xa4"}), "GET /v1/vips/a%20b%2F%3F%C3%A4");
    EXPECT_EQ(line({"pool", "list"}), "GET /v1/pools");
    EXPECT_EQ(line({"pool", "show", "web"}), "GET /v1/pools/web");
    EXPECT_EQ(line({"counters"}), "GET /v1/counters");
    EXPECT_EQ(line({"drops"}), "GET /v1/drops");
    EXPECT_EQ(line({"connections"}), "GET /v1/connections");
    EXPECT_EQ(line({"connections", "--vip", "web", "--backend", "web/a:1", "--count"}),
              "GET /v1/connections?vip=web&backend=web%2Fa:1&count=1");
    EXPECT_EQ(line({"connections", "--client", "2001:db8::/32", "--state", "syn_seen,midstream",
                    "--limit", "20"}),
              "GET /v1/connections?client=2001:db8::%2F32&state=syn_seen%2Cmidstream&limit=20");
    EXPECT_EQ(line({"node", "resume"}), "POST /v1/node");
    EXPECT_EQ(ask({"node", "drain"}, 200, "{}").body, R"({"action":"drain"})");
    EXPECT_EQ(ask({"node", "drain", "--force"}, 200, "{}").body,
              R"({"action":"drain","force":true})");
    const std::string explain = "GET /v1/explain?packet=tcp%20%5B2001:db8::1%5D:1%20192.0.2.1:2";
    EXPECT_EQ(line({"explain", "tcp [2001:db8::1]:1 192.0.2.1:2"}), explain);
    EXPECT_EQ(line({"explain", "tcp", "[2001:db8::1]:1", "192.0.2.1:2"}), explain);
}

TEST(Requests, ChangeABackend) {
    for (const char* action : {"drain", "ready", "disable"}) {
        const Asked asked = ask({"backend", action, "web/[2001:db8::2]:80"}, 200, "{}");
        EXPECT_EQ(asked.request_line, "POST /v1/pools/web/backends/%5B2001:db8::2%5D:80");
        EXPECT_EQ(json::parse(asked.body), json({{"action", action}}));
    }
    const Asked asked = ask({"backend", "weight", "web/b", "0"}, 200,
                            R"({"pool":"web","backend":"b","state":"draining","weight":0,)"
                            R"("generation":7})");
    EXPECT_EQ(json::parse(asked.body), json({{"action", "weight"}, {"weight", 0}}));
    EXPECT_EQ(asked.exit_code, 0);
    EXPECT_EQ(asked.out, "web/b: draining, weight 0 (generation 7)\n");
}

TEST(Requests, ApplyTheTextOfTheFile) {
    const Asked asked = ask({"apply", kGood}, 200,
                            R"({"accepted":true,"generation":3,"changes":["VIP web added"]})");
    EXPECT_EQ(asked.exit_code, 0) << asked.err;
    EXPECT_EQ(asked.request_line, "POST /v1/apply?file=" + percent_encoded(kGood));
    std::ostringstream text;
    text << std::ifstream(kGood).rdbuf();
    EXPECT_EQ(asked.body, text.str());
    EXPECT_EQ(asked.out, "applied, generation 3 is live:\n  VIP web added\n");
}

TEST(CommandLine, TakesOptionsBeforeAndAfterTheCommand) {
    const std::string answer = "{\"vips\": [],  \"x\": 1}";
    const FakeControl control(FakeControl::says(http_answer(200, answer)));
    const std::string& d = control.directory();
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"--json", "--runtime-dir", d, "vip", "list"},
          {"vip", "--json", "list", "--runtime-dir", d},
          {"vip", "list", "--runtime-dir=" + d, "--json"}}) {
        const Outcome outcome = weirctl(words);
        EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
        EXPECT_EQ(outcome.out, answer + "\n"); // as it came, and one line end
    }
}

TEST(CommandLine, RefusesWrongUsage) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                  {"frobnicate"},
                                                  {"vip"},
                                                  {"vip", "show"},
                                                  {"vip", "list", "extra"},
                                                  {"status", "--count"},
                                                  {"check"},
                                                  {"backend", "drain", "web-b"},
                                                  {"backend", "drain", "/b"},
                                                  {"backend", "drain", "web/"},
                                                  {"backend", "weight", "web/b"},
                                                  {"backend", "weight", "web/b", "-1"},
                                                  {"backend", "weight", "web/b", "65536"},
                                                  {"backend", "weight", "web/b", "ten"},
                                                  {"connections", "--backend", "b"},
                                                  {"connections", "--limit", "0"},
                                                  {"connections", "--limit", "10001"},
                                                  {"connections", "--limit", "5", "--count"},
                                                  {"status", "drops"}}) {
        const Outcome outcome = weirctl(words);
        EXPECT_EQ(outcome.exit_code, 2) << testing::PrintToString(words);
        EXPECT_NE(outcome.err, "") << testing::PrintToString(words);
        EXPECT_EQ(outcome.out, "") << testing::PrintToString(words);
    }
    EXPECT_THAT(weirctl({"backend", "drain", "web-b"}).err,
                HasSubstr("\"web-b\" does not name a backend; write POOL/NAME"));
}

TEST(CommandLine, HelpAndVersionAreNoErrors) {
    EXPECT_THAT(weirctl({"--help"}).out, HasSubstr("explain"));
    EXPECT_EQ(weirctl({"--help"}).exit_code, 0);
    EXPECT_EQ(weirctl({"--version"}).out, "weirctl 9.9.9\n");
    EXPECT_EQ(weirctl({"--version"}).exit_code, 0);
}

TEST(Check, NeedsNoRunningControl) {
    const Outcome good = weirctl({"check", kGood, "--runtime-dir", "/nonexistent"});
    EXPECT_EQ(good.exit_code, 0) << good.err;
    EXPECT_EQ(good.out, "OK: " + kGood + ": 1 interface, 1 VIP, 1 pool, 2 backends\n");

    const Outcome broken = weirctl({"check", kBroken});
    EXPECT_EQ(broken.exit_code, 2);
    EXPECT_EQ(broken.out, "");
    EXPECT_THAT(broken.err, StartsWith(kBroken + ":7:42: error: 65536 is out of range"));
    EXPECT_THAT(broken.err, HasSubstr(kBroken + ":9:42: error: ")); // all of them

    const Outcome missing = weirctl({"check", "/nonexistent/weir.toml"});
    EXPECT_EQ(missing.exit_code, 2);
    EXPECT_THAT(missing.err, HasSubstr("/nonexistent/weir.toml"));
}

TEST(Check, AnswersInJsonToo) {
    const json good = json::parse(weirctl({"check", "--json", kGood}).out);
    EXPECT_EQ(good["accepted"], true);
    EXPECT_EQ(good["diagnostics"], json::array());
    const Outcome outcome = weirctl({"check", "--json", kBroken});
    EXPECT_EQ(outcome.exit_code, 2);
    const json broken = json::parse(outcome.out);
    EXPECT_EQ(broken["accepted"], false);
    ASSERT_EQ(broken["diagnostics"].size(), 3U);
    EXPECT_EQ(broken["diagnostics"][0]["line"], 7);
    EXPECT_EQ(broken["text"], outcome.err);
}

TEST(Refusals, OfApplyAreABadConfiguration) {
    const std::string answer =
        R"({"accepted":false,"diagnostics":[{"line":1}],"text":"f:1:1: error: no\n"})";
    const Asked asked = ask({"apply", kBroken}, 422, answer);
    EXPECT_EQ(asked.exit_code, 2);
    EXPECT_EQ(asked.err, "f:1:1: error: no\nrefused: nothing was changed\n");
    EXPECT_EQ(asked.out, "");
    const Asked as_json = ask({"--json", "apply", kBroken}, 422, answer);
    EXPECT_EQ(as_json.exit_code, 2);
    EXPECT_EQ(as_json.out, answer + "\n");
}

TEST(Refusals, OfApplyForARestartAreNot) {
    const Asked asked = ask({"apply", kGood}, 422,
                            R"({"accepted":false,"restart_needed":["engine.mode"],"text":""})");
    EXPECT_EQ(asked.exit_code, 1);
    EXPECT_THAT(asked.err, HasSubstr("need a restart"));
    EXPECT_THAT(asked.err, HasSubstr("  engine.mode\n"));
}

TEST(Refusals, OfAFileThatCannotBeReadAskNobody) {
    const Asked asked = ask({"apply", "/nonexistent/weir.toml"}, 200, "{}");
    EXPECT_EQ(asked.exit_code, 2);
    EXPECT_EQ(asked.err,
              "weirctl: cannot read /nonexistent/weir.toml: No such file or directory\n");
    EXPECT_EQ(asked.request_line, "");
    EXPECT_EQ(ask({"apply", "/"}, 200, "{}").exit_code, 2);
    EXPECT_THAT(ask({"apply", "/dev/zero"}, 200, "{}").err, HasSubstr("larger than 4 MiB"));
}

TEST(Refusals, ShowTheSentenceOfTheServer) {
    const std::string answer = R"({"error":"there is no VIP \"wbe\""})";
    const Asked asked = ask({"connections", "--vip", "wbe"}, 400, answer);
    EXPECT_EQ(asked.exit_code, 1);
    EXPECT_EQ(asked.err, "weirctl: there is no VIP \"wbe\"\n");
    EXPECT_EQ(asked.out, "");
    const Asked as_json = ask({"connections", "--vip", "wbe", "--json"}, 400, answer);
    EXPECT_EQ(as_json.exit_code, 1);
    EXPECT_EQ(as_json.out, answer + "\n");
    EXPECT_EQ(as_json.err, asked.err);
    EXPECT_EQ(ask({"status"}, 503, "{}").err,
              "weirctl: weir-control answered with HTTP status 503\n");
}

TEST(Refusals, SuggestTheNameThatWasMeant) {
    const auto script = [](int connection, const std::string& request, int) {
        std::string answer = http_answer(404, R"({"error":"no such name"})");
        if (request.starts_with("GET /v1/vips "))
            answer = http_answer(200, R"({"vips":[{"name":"web"},{"name":"dns"}]})");
        if (request.starts_with("GET /v1/pools "))
            answer = http_answer(200, R"({"pools":[{"name":"front",)"
                                      R"("backends":[{"name":"alpha"},{"name":"beta"}]}]})");
        FakeControl::send_all(connection, answer);
    };
    const FakeControl control(script);
    const auto said = [&](std::vector<std::string> words) {
        words.insert(words.end(), {"--runtime-dir", control.directory()});
        const Outcome outcome = weirctl(words);
        EXPECT_EQ(outcome.exit_code, 1);
        return outcome.err;
    };
    EXPECT_EQ(said({"vip", "show", "wbe"}), "weirctl: no such name; did you mean \"web\"?\n");
    EXPECT_EQ(said({"vip", "show", "mail"}), "weirctl: no such name\n");
    EXPECT_EQ(said({"pool", "show", "fornt"}), "weirctl: no such name; did you mean \"front\"?\n");
    EXPECT_EQ(said({"backend", "drain", "front/aplha"}),
              "weirctl: no such name; did you mean \"front/alpha\"?\n");
}

TEST(Failures, AreSentencesAndJsonToo) {
    const Outcome outcome = weirctl({"status", "--runtime-dir", "/nonexistent", "--json"});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.err, StartsWith("weirctl: weir-control is not running: there is no "
                                        "/nonexistent/control.sock"));
    EXPECT_THAT(json::parse(outcome.out)["error"].get<std::string>(),
                StartsWith("weir-control is not running"));
    EXPECT_EQ(weirctl({"status", "--runtime-dir", "/nonexistent"}).out, "");
}

TEST(Failures, OfAnAnswerThatIsNotAnObject) {
    for (const char* body : {"", "hello", "[1]", "{\"a\": \"\xff\"}"}) {
        const Asked asked = ask({"status"}, 200, body);
        EXPECT_EQ(asked.exit_code, 1) << body;
        EXPECT_THAT(asked.err, HasSubstr("not a JSON object")) << body;
        EXPECT_TRUE(json::parse(ask({"status", "--json"}, 200, body).out).contains("error"));
    }
    EXPECT_EQ(ask({"status"}, 500, "oops").err,
              "weirctl: weir-control answered with HTTP status 500\n");
}

TEST(Failures, NeverSendControlCharactersToTheTerminal) {
    const Asked asked = ask({"status"}, 400, R"({"error":"a\u001b[31mb"})");
    EXPECT_EQ(asked.err, "weirctl: a?[31mb\n");
}

} // namespace
} // namespace weir::weirctl
