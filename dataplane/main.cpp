// SPDX-License-Identifier: BSD-3-Clause
// weir-dataplane: reads the configuration, starts the engine, serves until told to end.
// Exit codes: 0 ended as asked, 1 failed, 2 wrong usage or bad configuration.
#include "config/parse.hpp"
#include "dataplane/dpdk/engine.hpp"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <iostream>
#include <pthread.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using namespace weir;

constexpr int kFailed = 1;
constexpr int kBadConfiguration = 2;

// The copy that control keeps of the last configuration it took.
constexpr const char* kAcceptedName = "accepted.toml";

// The given file, or, when it is refused, the last accepted one, so that a bad edit on disk cannot
// stop a restart. Says what it took when that is not what was asked for.
std::optional<config::Config> load(const std::string& given, const std::string& directory) {
    config::ParseResult wanted = config::load_config(given);
    if (wanted)
        return std::move(wanted.config);
    std::cerr << config::format(wanted.diagnostics);
    const std::string accepted = directory + "/" + kAcceptedName;
    if (!fs::exists(accepted))
        return std::nullopt;
    config::ParseResult fallback = config::load_config(accepted);
    if (!fallback)
        return std::nullopt;
    spdlog::warn("{} is refused: starting from {}, the last configuration that was accepted", given,
                 accepted);
    return std::move(fallback.config);
}

Expected<channel::Descriptor> lock_runtime_directory(const std::string& directory) {
    std::error_code problem;
    fs::create_directories(directory, problem);
    if (problem)
        return Error{"cannot make the runtime directory " + directory + ": " + problem.message() +
                     "; choose another with --runtime-dir"};
    const std::string path = directory + "/dataplane.lock";
    channel::Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock)
        return Error{"cannot open " + path + ": " + std::strerror(errno) +
                     "; missing permission, or choose another --runtime-dir"};
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
        return Error{"another weir-dataplane runs in " + directory +
                     ": end it first or choose another --runtime-dir"};
    // For whoever wants to end us. Forwarding does not need it: a full disk must not stop a start.
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(lock.get(), 0) != 0 ||
        ::write(lock.get(), pid.data(), pid.size()) != static_cast<ssize_t>(pid.size()))
        spdlog::warn("{} does not have this process's number: {}", path, std::strerror(errno));
    return lock;
}

// Where steer.bpf.o lies: named, beside the executable in a build directory, or installed.
std::string bpf_directory() {
    if (const char* named = std::getenv("WEIR_BPF_DIR"))
        return named;
    std::error_code ignored;
    const fs::path beside = fs::read_symlink("/proc/self/exe", ignored).parent_path() / "xdp";
    if (fs::exists(beside / "steer.bpf.o", ignored))
        return beside;
    return WEIR_BPF_INSTALL_DIR;
}

void set_signals() {
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGHUP, SIG_IGN); // reloading is weir-control's
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &ending, nullptr); // inherited by every thread; see Engine::run
}

int fail(const Error& error) {
    spdlog::error(error.sentence);
    return kFailed;
}

int start(int argc, char** argv) {
    CLI::App app{"Weir's dataplane: forwards packets by what weir-control publishes",
                 "weir-dataplane"};
    std::string config_path = "/etc/weir/weir.toml";
    std::string runtime_directory = "/run/weir";
    app.add_option("--config", config_path, "configuration file")->capture_default_str();
    app.add_option("--runtime-dir", runtime_directory, "sockets and state of this node")
        ->capture_default_str();
    app.set_version_flag("--version", "weir-dataplane " WEIR_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem) == 0 ? 0 : kBadConfiguration;
    }

    ::prctl(PR_SET_NAME, "weir-dataplane");
    spdlog::set_default_logger(spdlog::stderr_logger_mt("weir-dataplane"));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %n: %v");
    set_signals();

    auto config = load(config_path, runtime_directory);
    if (!config)
        return kBadConfiguration;
    if (config->engine.mode == config::EngineMode::kXdp)
        return fail(Error{"the configuration says engine.mode = \"xdp\": weir-control forwards by "
                          "itself, and this program has nothing to do"});
    auto lock = lock_runtime_directory(runtime_directory);
    if (!lock)
        return fail(lock.error());
    auto engine = dpdk::Engine::start({std::move(*config), runtime_directory, bpf_directory()});
    if (!engine)
        return fail(engine.error());
    if (auto ended = (*engine)->run(); !ended)
        return fail(ended.error());
    engine->reset();
    ::unlink((runtime_directory + "/" + channel::kSocketName).c_str());
    spdlog::info("ended");
    return 0;
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
