// SPDX-License-Identifier: BSD-3-Clause
// weir-control: reads the configuration, wires the controller to the API and to the BPF programs,
// runs until SIGTERM. Exit codes: 0 ended as asked, 1 failed, 2 wrong usage or bad configuration.
#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>

#include "config/changes.hpp"
#include "config/parse.hpp"
#include "control/api/routes.hpp"
#include "control/api/server.hpp"
#include "control/controller.hpp"
#include "control/state_files.hpp"
#include "xdp/guard.hpp"
#include "xdp/steering.hpp"

namespace {

using namespace weir;
namespace fs = std::filesystem;

constexpr int kFailed = 1;
constexpr int kBadConfiguration = 2;

// The guard on every kernel-side interface, the steering program's maps on the kernel-visible ones.
class BpfSteering final : public control::PacketSteering {
public:
    Expected<void> publish(const std::vector<control::SteeredInterface>& interfaces,
                           const lb::ForwardingState& state) override {
        const xdp::MatchTableView table{state.header().match, state.ranges(), state.match_rows()};
        forget_others(interfaces);
        for (const control::SteeredInterface& interface : interfaces)
            if (auto guarded = guard(interface, table, state.generation()); !guarded)
                return Error{"guard on " + interface.name + ": " + guarded.error().sentence};
        for (const control::SteeredInterface& interface : interfaces) {
            if (interface.bypassed)
                continue;
            auto [entry, added] = steering_.try_emplace(interface.ifindex, interface.ifindex);
            if (auto steered = entry->second.publish(table, state.generation()); !steered)
                return Error{"steering on " + interface.name + ": " + steered.error().sentence};
        }
        return {};
    }

    bool intact(const std::vector<control::SteeredInterface>& interfaces) override {
        for (const control::SteeredInterface& interface : interfaces) {
            const auto guard = guards_.find(interface.ifindex);
            if (guard == guards_.end() || !guard->second.attached().value_or(false))
                return false;
            if (interface.bypassed)
                continue;
            const auto steering = steering_.find(interface.ifindex);
            if (steering == steering_.end())
                return false;
            const auto found = steering->second.find();
            if (!found || *found != xdp::SteeringProgram::kKnown)
                return false;
        }
        return true;
    }

private:
    Expected<void> guard(const control::SteeredInterface& interface,
                         const xdp::MatchTableView& table, std::uint64_t generation) {
        auto found = guards_.find(interface.ifindex);
        if (found == guards_.end()) {
            auto loaded = xdp::Guard::load(interface.ifindex);
            if (!loaded)
                return loaded.error();
            found = guards_.emplace(interface.ifindex, std::move(*loaded)).first;
        }
        if (auto published = found->second.publish(table, generation); !published)
            return published;
        return found->second.attach();
    }

    // An interface that was made anew has another index.
    void forget_others(const std::vector<control::SteeredInterface>& interfaces) {
        const auto gone = [&](const auto& item) {
            return std::none_of(interfaces.begin(), interfaces.end(), [&](const auto& interface) {
                return interface.ifindex == item.first;
            });
        };
        std::erase_if(guards_, gone);
        std::erase_if(steering_, gone);
    }

    std::map<unsigned, xdp::Guard> guards_;
    std::map<unsigned, xdp::Steering> steering_;
};

struct Options {
    std::string config;
    std::string runtime_directory = "/run/weir";
    bool spawn_dataplane = false;
};

int fail(const std::string& sentence, int code = kFailed) {
    std::cerr << "weir-control: " << sentence << "\n";
    return code;
}

// The dataplane beside this very program. It gets the accepted copy of the configuration: what
// control runs with, whatever becomes of the file.
std::vector<std::string> spawn_command(const Options& options) {
    std::error_code ignored;
    const fs::path own = fs::read_symlink("/proc/self/exe", ignored).parent_path();
    return {(own / "weir-dataplane").string(), "--config",
            options.runtime_directory + "/" + control::kAcceptedFile, "--runtime-dir",
            options.runtime_directory};
}

// Whether the file asks for what an engine that runs already cannot take up.
bool engine_is_outdated(const Options& options, const config::Config& wanted) {
    const auto before =
        config::load_config(options.runtime_directory + "/" + control::kAcceptedFile);
    return before.config && !config::restart_needed(*before.config, wanted).empty();
}

void watch_signals(boost::asio::io_context& io, boost::asio::signal_set& signals,
                   control::Controller& controller) {
    signals.async_wait([&](const boost::system::error_code& error, int signal) {
        if (error)
            return;
        if (signal == SIGHUP) {
            ::sd_notify(0, "RELOADING=1");
            controller.reload_from_file();
            ::sd_notify(0, "READY=1");
            watch_signals(io, signals, controller);
            return;
        }
        spdlog::info("ending; the dataplane goes on with the last state");
        ::sd_notify(0, "STOPPING=1");
        controller.stop();
        io.stop();
    });
}

int run(const Options& options) {
    auto text = control::read_file(options.config);
    if (!text)
        return fail(text.error().sentence, kBadConfiguration);
    config::ParseResult parsed = config::parse_config(*text, options.config);
    if (!parsed) {
        std::cerr << config::format(parsed.diagnostics);
        return kBadConfiguration;
    }
    const auto claimed = control::claim_runtime_directory(options.runtime_directory);
    if (!claimed)
        return fail(claimed.error().sentence);
    const auto hash_key =
        control::load_hash_key(parsed.config->hash_key_file.empty()
                                   ? options.runtime_directory + "/" + control::kHashKeyFile
                                   : parsed.config->hash_key_file);
    if (!hash_key)
        return fail(hash_key.error().sentence);

    control::ControllerSettings settings;
    settings.restart_running_engine = engine_is_outdated(options, *parsed.config);
    if (auto kept = control::write_whole(options.runtime_directory + "/" + control::kAcceptedFile,
                                         *text, 0644);
        !kept)
        return fail(kept.error().sentence);
    const auto api_listen = parsed.config->api_listen;
    settings.config = std::move(*parsed.config);
    settings.config_path = options.config;
    settings.runtime_directory = options.runtime_directory;
    settings.hash_key = *hash_key;
    if (options.spawn_dataplane)
        settings.spawn_command = spawn_command(options);
    settings.on_ready = [] { ::sd_notify(0, "READY=1"); };

    boost::asio::io_context io(1);
    BpfSteering steering;
    control::Controller controller(io, std::move(settings), steering);
    control::HttpServer server(io, control::api_routes(io, controller));
    if (auto listening =
            server.listen_unix(options.runtime_directory + "/" + control::kControlSocket);
        !listening)
        return fail(listening.error().sentence);
    if (api_listen)
        if (auto listening = server.listen_tcp(*api_listen); !listening)
            return fail(listening.error().sentence);
    boost::asio::signal_set signals(io, SIGHUP, SIGTERM, SIGINT);
    watch_signals(io, signals, controller);
    if (auto started = controller.start(); !started)
        return fail(started.error().sentence);
    io.run();
    return 0;
}

void log_to_stderr() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "weir-control", std::make_shared<spdlog::sinks::stderr_sink_st>()));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %n %l: %v");
    // What matters of it comes back as sentences; the rest is noise ("qdisc exists").
    xdp::set_log_sink(
        [](xdp::LogLevel, std::string_view line) { spdlog::debug("libbpf: {}", line); });
}

int start(int argc, char** argv) {
    Options options;
    CLI::App app("weir-control: probes backends and tells the dataplane what to forward");
    app.add_option("--config", options.config, "configuration file (TOML)")
        ->default_val("/etc/weir/weir.toml");
    app.add_option("--runtime-dir", options.runtime_directory, "sockets and state of this node")
        ->capture_default_str();
    app.add_flag("--spawn-dataplane", options.spawn_dataplane,
                 "start weir-dataplane, and again when it ends");
    app.set_version_flag("--version", WEIR_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kBadConfiguration;
    }
    std::signal(SIGPIPE, SIG_IGN);
    log_to_stderr();
    std::error_code ignored;
    options.runtime_directory = fs::absolute(options.runtime_directory, ignored).string();
    return run(options);
}

} // namespace

int main(int argc, char** argv) {
    try {
        return start(argc, argv);
    } catch (const std::exception& error) { // memory has run out, or a defect
        std::fprintf(stderr, "%s: ended by an unexpected error: %s\n", argv[0], error.what());
        return 1;
    }
}
