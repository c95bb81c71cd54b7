// SPDX-License-Identifier: BSD-3-Clause
// weir-control: reads the configuration, chooses the engine, wires the controller to it, to the API
// and to the BPF programs, runs until SIGTERM. Exit codes: 0 ended as asked, 1 failed, 2 wrong
// usage or bad configuration.
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
#include <memory>

#include "config/changes.hpp"
#include "config/parse.hpp"
#include "control/api/routes.hpp"
#include "control/api/server.hpp"
#include "control/controller.hpp"
#include "control/engine_link/dpdk_engine.hpp"
#include "control/state_files.hpp"
#include "control/wiring/bpf_steering.hpp"
#include "control/wiring/host_facts.hpp"
#include "control/wiring/stand_in_engine.hpp"
#include "control/wiring/stand_in_pins.hpp"
#include "control/wiring/xdp_engine.hpp"

namespace {

using namespace weir;
namespace fs = std::filesystem;

constexpr int kFailed = 1;
constexpr int kBadConfiguration = 2;

struct Options {
    std::string config;
    std::string runtime_directory = "/run/weir";
    std::string bpffs = "/sys/fs/bpf/weir";
    bool spawn_dataplane = false;
    bool release_xdp = false;
    bool stand_in = true;
};

int fail(const std::string& sentence, int code = kFailed) {
    std::cerr << "weir-control: " << sentence << "\n";
    return code;
}

// Beside this very program.
std::string dataplane_program() {
    std::error_code ignored;
    return fs::read_symlink("/proc/self/exe", ignored).parent_path() / "weir-dataplane";
}

// The dataplane gets the accepted copy of the configuration: what control runs with, whatever
// becomes of the file.
std::vector<std::string> spawn_command(const Options& options) {
    return {dataplane_program(), "--config",
            options.runtime_directory + "/" + control::kAcceptedFile, "--runtime-dir",
            options.runtime_directory};
}

// What is there already needs no disk.
Expected<void> keep_accepted(const Options& options, const std::string& text) {
    const std::string path = options.runtime_directory + "/" + control::kAcceptedFile;
    if (const auto before = control::read_file(path); before && *before == text)
        return {};
    return control::write_whole(path, text, 0644);
}

// Whether the file asks for what an engine that runs already cannot take up.
bool engine_is_outdated(const Options& options, const config::Config& wanted) {
    const auto before =
        config::load_config(options.runtime_directory + "/" + control::kAcceptedFile);
    return before.config && !config::restart_needed(*before.config, wanted).empty();
}

// What the other engine has on the devices goes: only one can be there.
Expected<void> clear_the_way(const Options& options, control::EngineKind chosen,
                             const config::Config& config) {
    if (chosen == control::EngineKind::kXdp) {
        auto ended = control::end_dataplane(options.runtime_directory);
        if (ended)
            control::StandInPins::remove_all(options.bpffs);
        return ended;
    }
    for (const std::string& name : control::XdpEngine::make_way(options.bpffs, config))
        spdlog::info("the XDP balancer is off {}: DPDK takes over", name);
    return {};
}

std::unique_ptr<control::ForwardingEngine>
make_engine(boost::asio::io_context& io, const Options& options, control::EngineKind kind,
            const config::Config& config, control::BpfSteering& steering, bool restart_running) {
    if (kind == control::EngineKind::kXdp)
        return std::make_unique<control::XdpEngine>(io, options.bpffs);
    control::DpdkEngineSettings settings{.runtime_directory = options.runtime_directory,
                                         .spawn_command = {},
                                         .restart_running = restart_running};
    if (options.spawn_dataplane)
        settings.spawn_command = spawn_command(options);
    settings.end_stalled = options.stand_in && control::StandInEngine::fits(config);
    if (settings.end_stalled)
        return std::make_unique<control::StandInEngine>(io, std::move(settings), steering,
                                                        options.bpffs);
    control::StandInPins::remove_all(options.bpffs);
    return std::make_unique<control::DpdkEngine>(io, std::move(settings));
}

// --release-xdp: nothing of Weir's is left in the kernel's packet path. A control that runs would
// put it back at once.
int release_xdp(const Options& options) {
    const auto claimed = control::claim_runtime_directory(options.runtime_directory);
    if (!claimed)
        return fail(claimed.error().sentence);
    for (const std::string& name : control::XdpEngine::release(options.bpffs)) {
        std::cout << "the XDP balancer is off " << name << "\n";
        if (auto guard = control::take_guard_off(name); !guard)
            return fail(guard.error().sentence);
    }
    control::StandInPins::remove_all(options.bpffs);
    return 0;
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
        spdlog::info("ending; the engine goes on with the last state");
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
    settings.choice = control::choose_engine(
        *parsed.config,
        control::look_at_host(*parsed.config, options.runtime_directory, dataplane_program()));
    spdlog::info("engine {}: {}", control::to_string(settings.choice.kind), settings.choice.why);
    if (auto cleared = clear_the_way(options, settings.choice.kind, *parsed.config); !cleared)
        return fail(cleared.error().sentence);
    const bool restart_running = engine_is_outdated(options, *parsed.config);
    if (auto kept = keep_accepted(options, *text); !kept)
        return fail(kept.error().sentence);
    const auto api_listen = parsed.config->api_listen;
    settings.config = std::move(*parsed.config);
    settings.config_path = options.config;
    settings.runtime_directory = options.runtime_directory;
    settings.hash_key = *hash_key;
    settings.on_ready = [] { ::sd_notify(0, "READY=1"); };

    boost::asio::io_context io(1);
    control::BpfSteering steering(settings.choice.kind);
    const auto engine =
        make_engine(io, options, settings.choice.kind, settings.config, steering, restart_running);
    control::Controller controller(io, std::move(settings), *engine, steering);
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
    CLI::App app("weir-control: probes backends and tells the engine what to forward");
    app.add_option("--config", options.config, "configuration file (TOML)")
        ->default_val("/etc/weir/weir.toml");
    app.add_option("--runtime-dir", options.runtime_directory, "sockets and state of this node")
        ->capture_default_str();
    app.add_flag("--spawn-dataplane", options.spawn_dataplane,
                 "start weir-dataplane, and again when it ends");
    app.add_option("--bpffs", options.bpffs,
                   "where to pin what of the kernel's balancer outlives control; one directory a "
                   "node")
        ->capture_default_str();
    app.add_flag("--stand-in,!--no-stand-in", options.stand_in,
                 "the kernel's balancer forwards while weir-dataplane is gone (the default)");
    app.add_flag("--release-xdp", options.release_xdp,
                 "take the XDP engine off all interfaces, with its connections, and end");
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
    options.bpffs = fs::absolute(options.bpffs, ignored).string();
    return options.release_xdp ? release_xdp(options) : run(options);
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
