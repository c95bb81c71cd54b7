// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/run.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>

#include "config/diagnostic.hpp"
#include "config/parse.hpp"
#include "config/suggest.hpp"
#include "control/weirctl/capture.hpp"
#include "control/weirctl/command_line.hpp"
#include "control/weirctl/configuration_text.hpp"
#include "control/weirctl/connections_text.hpp"
#include "control/weirctl/counters_text.hpp"
#include "control/weirctl/events_text.hpp"
#include "control/weirctl/field.hpp"
#include "control/weirctl/node_text.hpp"
#include "control/weirctl/pool_text.hpp"
#include "control/weirctl/request.hpp"
#include "control/weirctl/status_text.hpp"
#include "control/weirctl/vip_text.hpp"

namespace weir::weirctl {
namespace {

constexpr unsigned kNotFound = 404;
constexpr unsigned kUnprocessable = 422;
constexpr std::size_t kMostSentenceBytes = 4000;
constexpr std::size_t kMostConfigurationBytes = std::size_t{4} << 20; // what the server takes

std::string one_line(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

// What has no answer of the server to print.
int fail(const Command& command, const Surroundings& surroundings, const std::string& sentence,
         int exit_code = kFailed) {
    if (command.json)
        surroundings.out << one_line({{"error", sentence}});
    surroundings.err << "weirctl: " << config::printable(sentence, kMostSentenceBytes) << "\n";
    return exit_code;
}

int check(const Command& command, const Surroundings& surroundings) {
    const config::ParseResult result = config::load_config(command.file);
    if (command.json)
        surroundings.out << one_line(check_json(result));
    if (!result) {
        surroundings.err << config::format(result.diagnostics);
        return kBadUsage;
    }
    if (!command.json)
        surroundings.out << accepted_text(command.file, *result.config);
    return kDone;
}

Expected<std::string> read_configuration(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text;
    if (file) {
        text.resize(kMostConfigurationBytes + 1);
        file.read(text.data(), static_cast<std::streamsize>(text.size()));
        text.resize(static_cast<std::size_t>(file.gcount()));
    }
    if (!file.is_open() || file.bad() || (file.fail() && !file.eof()))
        return Error{"cannot read " + path + ": " + std::generic_category().message(errno)};
    if (text.size() > kMostConfigurationBytes)
        return Error{path + " is larger than 4 MiB, the most that weir-control takes"};
    return text;
}

std::string answer_text(const Command& command, const json& answer) {
    switch (command.verb) {
    case Verb::kApply:
        return applied_text(answer);
    case Verb::kVipList:
        return vips_text(answer);
    case Verb::kVipShow:
        return vip_text(answer);
    case Verb::kPoolList:
        return pools_text(answer);
    case Verb::kPoolShow:
        return pool_text(answer);
    case Verb::kBackend:
        return backend_changed_text(answer);
    case Verb::kNode:
        return node_text(answer);
    case Verb::kCounters:
        return counters_text(answer);
    case Verb::kDrops:
        return drops_text(answer);
    case Verb::kConnections:
        return command.count ? connection_count_text(answer) : connections_text(answer);
    case Verb::kExplain:
        return explain_text(answer);
    case Verb::kEvents:
        return events_text(answer);
    case Verb::kCapture:
    case Verb::kCheck:
    case Verb::kStatus:
        break;
    }
    return status_text(answer);
}

// Names that a mistyped one may have meant: VIPs, pools, or backends as POOL/NAME.
std::vector<std::string> known_names(const Command& command, const Surroundings& surroundings) {
    const bool vips = command.verb == Verb::kVipShow;
    Command list = command;
    list.verb = vips ? Verb::kVipList : Verb::kPoolList;
    const auto answer =
        exchange(command.runtime_directory, request_of(list, {}), surroundings.limits);
    std::vector<std::string> names;
    if (!answer)
        return names;
    const json body = json::parse(answer->body, nullptr, false);
    for (const json& entry : elements(body, vips ? "vips" : "pools")) {
        if (command.verb != Verb::kBackend) {
            names.push_back(text_of(entry, "name"));
            continue;
        }
        for (const json& backend : elements(entry, "backends"))
            names.push_back(text_of(entry, "name") + "/" + text_of(backend, "name"));
    }
    return names;
}

std::string with_suggestion(std::string sentence, const Command& command,
                            const Surroundings& surroundings) {
    if (command.verb != Verb::kVipShow && command.verb != Verb::kPoolShow &&
        command.verb != Verb::kBackend)
        return sentence;
    const std::vector<std::string> names = known_names(command, surroundings);
    const std::string& wanted = command.verb == Verb::kBackend ? command.backend : command.name;
    const std::string_view near = config::nearest(wanted, {names.begin(), names.end()});
    if (!near.empty())
        sentence += "; did you mean \"" + std::string(near) + "\"?";
    return sentence;
}

// A status of 4xx or 5xx. The answer has been printed already when JSON was asked for.
int refused(const Command& command, const Surroundings& surroundings, const Answer& answer,
            const json& body) {
    if (command.verb == Verb::kApply && answer.status == kUnprocessable &&
        text_of(body, "error").empty()) {
        surroundings.err << not_applied_text(body);
        return elements(body, "diagnostics").empty() ? kFailed : kBadUsage;
    }
    std::string sentence = text_of(body, "error");
    if (sentence.empty())
        sentence = "weir-control answered with HTTP status " + std::to_string(answer.status);
    if (answer.status == kNotFound)
        sentence = with_suggestion(sentence, command, surroundings);
    surroundings.err << "weirctl: " << config::printable(sentence, kMostSentenceBytes) << "\n";
    return kFailed;
}

int ask(const Command& command, const Surroundings& surroundings, std::string configuration) {
    const auto answer =
        exchange(command.runtime_directory, request_of(command, std::move(configuration)),
                 surroundings.limits);
    if (!answer)
        return fail(command, surroundings, answer.error().sentence);
    const json body = json::parse(answer->body, nullptr, false);
    if (!body.is_object()) {
        const bool failed = answer->status >= 400;
        return fail(command, surroundings,
                    failed
                        ? "weir-control answered with HTTP status " + std::to_string(answer->status)
                        : "weir-control's answer is not a JSON object; is it of another version?");
    }
    if (command.json) {
        surroundings.out << answer->body;
        if (answer->body.back() != '\n')
            surroundings.out << '\n';
    }
    if (answer->status >= 400)
        return refused(command, surroundings, *answer, body);
    if (!command.json)
        surroundings.out << answer_text(command, body);
    return kDone;
}

// Until control ends or the user does.
int follow_events(Command command, const Surroundings& surroundings) {
    constexpr std::chrono::milliseconds kLookAgain{200};
    while (true) {
        const auto answer =
            exchange(command.runtime_directory, request_of(command, {}), surroundings.limits);
        if (!answer)
            return fail(command, surroundings, answer.error().sentence);
        const json body = json::parse(answer->body, nullptr, false);
        for (const json& event : elements(body, "events")) {
            command.after = std::max(command.after, count_of(event, "number"));
            surroundings.out << (command.json ? one_line(event) : event_line(event));
        }
        surroundings.out.flush();
        std::this_thread::sleep_for(kLookAgain);
    }
}

} // namespace

int run(int argc, const char* const* argv, const Surroundings& surroundings) {
    ParsedCommand parsed =
        parse_command_line(argc, argv, surroundings.version, surroundings.out, surroundings.err);
    if (!parsed.command)
        return parsed.exit_code;
    const Command& command = *parsed.command;
    if (command.verb == Verb::kCheck)
        return check(command, surroundings);
    if (command.verb == Verb::kCapture)
        return capture(command, surroundings);
    std::string configuration;
    if (command.verb == Verb::kApply) {
        auto text = read_configuration(command.file);
        if (!text)
            return fail(command, surroundings, text.error().sentence, kBadUsage);
        configuration = std::move(*text);
    }
    if (command.verb == Verb::kEvents && command.follow)
        return follow_events(command, surroundings);
    return ask(command, surroundings, std::move(configuration));
}

} // namespace weir::weirctl
