// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/command_line.hpp"

#include <CLI/CLI.hpp>

#include <vector>

namespace weir::weirctl {
namespace {

std::string pool_and_name(const std::string& text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string::npos || slash == 0 || slash + 1 == text.size())
        return "\"" + text + "\" does not name a backend; write POOL/NAME, as in web/web-b";
    return {};
}

CLI::App* add_command(CLI::App& parent, Command& command, Verb verb, const std::string& name,
                      const std::string& description) {
    CLI::App* added = parent.add_subcommand(name, description);
    added->callback([&command, verb] { command.verb = verb; });
    return added;
}

void add_backend_commands(CLI::App& app, Command& command) {
    CLI::App* group = app.add_subcommand("backend", "take a backend out, back in, or weigh it");
    group->require_subcommand(1);
    const auto add = [&](const std::string& action, const std::string& description) {
        CLI::App* added = group->add_subcommand(action, description);
        added->callback([&command, action] {
            command.verb = Verb::kBackend;
            command.action = action;
        });
        added->add_option("backend", command.backend, "POOL/NAME")
            ->required()
            ->check(CLI::Validator(pool_and_name, "", ""));
        return added;
    };
    add("drain", "no new connections; the known ones finish");
    add("ready", "back to normal");
    add("disable", "no traffic at all");
    add("weight", "its weight, until it is changed again")
        ->add_option("weight", command.weight, "0 to 65535")
        ->required();
}

void add_node_commands(CLI::App& app, Command& command) {
    CLI::App* group = app.add_subcommand("node", "take this node out of service, or back in");
    group->require_subcommand(1);
    const auto add = [&](const std::string& action, const std::string& description) {
        CLI::App* added = group->add_subcommand(action, description);
        added->callback([&command, action] {
            command.verb = Verb::kNode;
            command.action = action;
        });
        return added;
    };
    add("drain", "hand its VIPs to another node and keep out of the election")
        ->add_flag("--force", command.force, "even when no other node takes them");
    add("resume", "take part in the election again");
}

void add_connections_command(CLI::App& app, Command& command) {
    CLI::App* connections =
        add_command(app, command, Verb::kConnections, "connections", "the live connection table");
    connections->add_option("--vip", command.vip, "only of this VIP");
    connections->add_option("--backend", command.backend, "only of this backend, POOL/NAME")
        ->check(CLI::Validator(pool_and_name, "", ""));
    connections->add_option("--client", command.client,
                            "only of this address or network, as in 198.51.100.0/24");
    connections->add_option("--state", command.state,
                            "only in one of these states: names between commas, as shown");
    CLI::Option* limit =
        connections->add_option("--limit", command.limit, "list so many, at most 10000")
            ->check(CLI::Range(1, 10'000));
    connections->add_flag("--count", command.count, "only how many there are")->excludes(limit);
}

void add_capture_command(CLI::App& app, Command& command) {
    CLI::App* capture = add_command(app, command, Verb::kCapture, "capture",
                                    "packets with what became of them, as a pcapng file");
    capture->add_option("-w,--write", command.write, "the file, or - for standard output")
        ->required()
        ->type_name("FILE");
    capture->add_option("--vip", command.vip, "only of this VIP");
    capture->add_option("--verdict", command.verdict,
                        "only with one of these verdicts: names between commas; also drop, punted");
    capture->add_option("--count", command.packets, "end after so many packets")
        ->check(CLI::PositiveNumber);
    capture->add_option("--duration", command.duration, "end after this time, as in 30s");
    capture->add_option("--snaplen", command.snaplen, "bytes of each packet, at most 2048")
        ->check(CLI::Range(1, 2048));
}

void add_commands(CLI::App& app, Command& command, std::vector<std::string>& packet) {
    add_command(app, command, Verb::kCheck, "check", "say whether a configuration file is right")
        ->add_option("file", command.file, "configuration file")
        ->required();
    add_command(app, command, Verb::kApply, "apply", "make a configuration file the running one")
        ->add_option("file", command.file, "configuration file")
        ->required();
    add_command(app, command, Verb::kStatus, "status", "node, engine, VIPs and problems");

    CLI::App* vip = app.add_subcommand("vip", "show VIPs");
    vip->require_subcommand(1);
    add_command(*vip, command, Verb::kVipList, "list", "all VIPs, a line each");
    add_command(*vip, command, Verb::kVipShow, "show", "one VIP and its backends")
        ->add_option("name", command.name, "the VIP's name")
        ->required();

    CLI::App* pool = app.add_subcommand("pool", "show pools");
    pool->require_subcommand(1);
    add_command(*pool, command, Verb::kPoolList, "list", "all pools, a line each");
    add_command(*pool, command, Verb::kPoolShow, "show", "one pool and its backends")
        ->add_option("name", command.name, "the pool's name")
        ->required();

    add_backend_commands(app, command);
    add_node_commands(app, command);
    add_command(app, command, Verb::kCounters, "counters", "every verdict with its count");
    add_command(app, command, Verb::kDrops, "drops", "the verdicts that dropped something");

    add_connections_command(app, command);
    add_command(app, command, Verb::kEvents, "events", "what happened on this node")
        ->add_flag("-f,--follow", command.follow, "go on, until interrupted");
    add_capture_command(app, command);
    add_command(app, command, Verb::kExplain, "explain", "what would happen to a packet, and why")
        ->add_option("packet", packet, "\"tcp 198.51.100.7:40000 203.0.113.10:80\"")
        ->required()
        ->type_name("PACKET");
}

} // namespace

ParsedCommand parse_command_line(int argc, const char* const* argv, const std::string& version,
                                 std::ostream& out, std::ostream& err) {
    Command command;
    std::vector<std::string> packet; // one quoted word, or its parts
    CLI::App app{"Looks at and operates a running Weir", "weirctl"};
    app.fallthrough(); // options are accepted before and after the command
    app.require_subcommand(1);
    app.failure_message(CLI::FailureMessage::simple);
    app.add_option("--runtime-dir", command.runtime_directory, "sockets and state of the node")
        ->capture_default_str();
    app.add_flag("--json", command.json, "print the answer as JSON, as docs/api.md describes it");
    app.set_version_flag("--version", "weirctl " + version);
    add_commands(app, command, packet);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return {std::nullopt, app.exit(problem, out, err) == 0 ? kDone : kBadUsage};
    }
    for (const std::string& part : packet)
        command.packet += (command.packet.empty() ? "" : " ") + part;
    return {std::move(command), kDone};
}

} // namespace weir::weirctl
