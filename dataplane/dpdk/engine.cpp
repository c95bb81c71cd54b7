// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/engine.hpp"

#include "dataplane/dpdk/eal.hpp"
#include "dataplane/dpdk/output_capture.hpp"
#include "dataplane/dpdk/service_manager.hpp"
#include "dataplane/dpdk/tap.hpp"
#include "dataplane/dpdk/worker_threads.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <poll.h>
#include <random>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace weir::dpdk {
namespace {

constexpr int kTickMs = 100; // retired generations are looked at this often
constexpr double kMillisecond_ns = 1e6;
// A control process that runs connects within 50 ms and says at once what it kept. A busy one that
// takes longer is heard later, too, but then the old tables and the new ones need memory both.
constexpr std::chrono::milliseconds kInheritanceWait{500};

std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
           static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t random_secret() {
    std::random_device source;
    return (std::uint64_t{source()} << 32) | source();
}

// Somebody is there to wait for.
bool control_runs(const std::string& directory) {
    const std::string path = directory + "/" + channel::kControlSocketName;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path))
        return false;
    path.copy(address.sun_path, path.size());
    const channel::Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) ==
           0;
}

// rte_pktmbuf_pool_create(), but that with small pages a buffer may cross from one to the next. It
// would leave the rest of each page empty otherwise, and AF_XDP, which counts bytes and not pages,
// would register too little: buffers behind the end are lost to the device for good.
rte_mempool* make_buffers(const BufferPlan& plan, bool huge_pages) {
    const unsigned flags = huge_pages ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
    rte_mempool* pool = rte_mempool_create_empty(
        "weir-buffers", plan.count, sizeof(rte_mbuf) + plan.data_room, kPoolCache,
        sizeof(rte_pktmbuf_pool_private), SOCKET_ID_ANY, flags);
    if (!pool)
        return nullptr;
    rte_pktmbuf_pool_private facts{};
    facts.mbuf_data_room_size = plan.data_room;
    rte_pktmbuf_pool_init(pool, &facts);
    if (rte_mempool_populate_default(pool) < 0) {
        rte_mempool_free(pool);
        return nullptr;
    }
    rte_mempool_obj_iter(pool, rte_pktmbuf_init, nullptr);
    return pool;
}

Expected<rte_ring*> make_ring(const std::string& name, std::uint32_t size, unsigned flags) {
    rte_ring* ring = rte_ring_create(name.c_str(), size, SOCKET_ID_ANY, flags);
    if (!ring)
        return Error{"no memory for the ring " + name + ": " + rte_strerror(rte_errno)};
    return ring;
}

} // namespace

Expected<std::unique_ptr<Engine>> Engine::start(EngineOptions options) {
    std::unique_ptr<Engine> engine(new Engine(std::move(options)));
    engine->started_ns_ = monotonic_ns();
    using Step = Expected<void> (Engine::*)();
    for (Step step : {&Engine::inherit, &Engine::plan, &Engine::open_ports, &Engine::make_rings,
                      &Engine::make_contexts, &Engine::launch, &Engine::greet})
        if (auto done = (engine.get()->*step)(); !done)
            return done.error();
    spdlog::info("ready in {:.0f} ms: {} worker{} on core{} {}, {} pages, waiting for weir-control",
                 static_cast<double>(monotonic_ns() - engine->started_ns_) / kMillisecond_ns,
                 engine->workers_, engine->workers_ == 1 ? "" : "s",
                 engine->workers_ == 1 ? "" : "s", core_list(engine->eal_.worker_cores),
                 engine->eal_.huge_pages ? "huge" : "small");
    return engine;
}

Engine::~Engine() {
    stop();
    channel_.reset();
    if (devices_)
        devices_->close();
    if (eal_started_)
        end_eal();
}

// Before memory is planned: what is taken over needs none.
Expected<void> Engine::inherit() {
    auto server = ChannelServer::listen(options_.runtime_directory + "/" + channel::kSocketName);
    if (!server)
        return server.error();
    channel_.emplace(std::move(*server));
    if (control_runs(options_.runtime_directory))
        inheritance_ = channel_->wait_for_inheritance(kInheritanceWait);
    return {};
}

Expected<void> Engine::plan() {
    const config::EngineConfig& engine = options_.config.engine;
    const Machine machine = inspect_machine();
    auto listed = choose_cores(engine.workers, machine, WEIR_MAX_WORKERS);
    if (!listed)
        return listed.error(); // said before anything is touched
    auto devices = Devices::survey(options_.config, options_.bpf_directory);
    if (!devices)
        return devices.error();
    devices_.emplace(std::move(*devices));
    auto cores = choose_cores(engine.workers, machine, devices_->queue_limit());
    if (!cores)
        return cores.error();
    workers_ = static_cast<std::uint32_t>(cores->size());
    if (auto settled = devices_->settle_workers(workers_); !settled)
        return settled;
    buffers_ = plan_buffers(devices_->queue_pairs(), workers_, devices_->largest_mtu());
    inheritance_.open(workers_);
    if (inheritance_.takeover)
        inheritance_.keep_fitting(EngineMemory::geometry_of(engine.connections, 0, workers_),
                                  engine.hugepages);
    const bool new_tables = inheritance_.tables.empty();
    const std::size_t tables =
        new_tables ? workers_ * EngineMemory::table_bytes(engine.connections) : 0;
    auto huge = choose_huge_pages(engine.hugepages, buffers_.bytes + tables, inspect_machine());
    if (!huge)
        return huge.error();
    eal_ = {*cores, machine.allowed, devices_->pci_addresses(), *huge, buffers_.bytes};
    return {};
}

Expected<void> Engine::open_ports() {
    if (auto started = start_eal(eal_); !started)
        return started;
    eal_started_ = true;
    const bool automatic = options_.config.engine.workers.empty();
    if (auto opened = devices_->open(workers_, automatic); !opened)
        return opened;
    pool_ = make_buffers(buffers_, eal_.huge_pages);
    if (!pool_)
        return Error{"no memory for " + std::to_string(buffers_.count) + " packet buffers (" +
                     std::to_string(buffers_.bytes >> 20) + " MB): " + rte_strerror(rte_errno)};
    // AF_XDP gives the kernel one region, from the first buffer on: one outside it is lost to the
    // device for good, and in the end the queue hears nothing any more.
    if (devices_->any_kernel_visible() && pool_->nb_mem_chunks != 1)
        return Error{"the packet buffers lie in " + std::to_string(pool_->nb_mem_chunks) +
                     " pieces of memory, but AF_XDP needs them in one: use huge pages "
                     "(engine.hugepages), fewer workers or a smaller MTU"};
    const config::EngineConfig& engine = options_.config.engine;
    auto memory = EngineMemory::create(workers_, engine.connections, eal_.huge_pages,
                                       engine.hugepages == config::HugepageUse::kOn,
                                       std::exchange(inheritance_, {}));
    if (!memory)
        return memory.error();
    memory_.emplace(std::move(*memory));
    return {};
}

Expected<void> Engine::make_rings() {
    for (std::uint32_t worker = 0; worker < workers_; worker++) {
        auto inbox = make_ring("weir-inbox-" + std::to_string(worker), kInboxSize, RING_F_SC_DEQ);
        if (!inbox)
            return inbox.error();
        inboxes_.push_back(*inbox);
    }
    const auto make = [](rte_ring*& ring, const char* name, std::uint32_t size,
                         unsigned flags) -> Expected<void> {
        auto made = make_ring(name, size, flags);
        if (!made)
            return made.error();
        ring = *made;
        return {};
    };
    if (auto made = make(punt_control_, "weir-punt-control", kPuntControlSize, RING_F_SC_DEQ);
        !made)
        return made;
    if (auto made = make(punt_data_, "weir-punt-data", kPuntDataSize, RING_F_SC_DEQ); !made)
        return made;
    return make(from_kernel_, "weir-from-kernel", kFromKernelSize, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

Expected<void> Engine::make_contexts() {
    const std::uint32_t readers = workers_ + 1; // and the kernel path
    const std::size_t bytes = rte_rcu_qsbr_get_memsize(readers);
    void* memory = std::aligned_alloc(RTE_CACHE_LINE_SIZE, (bytes + 63) / 64 * 64);
    if (!memory)
        return Error{"no memory for the readers of generations"};
    rcu_ = {static_cast<rte_rcu_qsbr*>(memory), [](rte_rcu_qsbr* rcu) { std::free(rcu); }};
    rte_rcu_qsbr_init(rcu_.get(), readers);
    generations_.emplace(rcu_.get(), static_cast<std::uint32_t>(devices_->size()),
                         [this](const lb::ForwardingState& next) { follow(next); });

    if (auto started = devices_->start(pool_); !started)
        return started;
    contexts_.resize(workers_);
    for (std::uint32_t worker = 0; worker < workers_; worker++) {
        WorkerContext& context = contexts_[worker];
        context.id = worker;
        context.workers = workers_;
        context.core = eal_.worker_cores[worker];
        devices_->fill(context);
        context.pool = pool_;
        context.state = &generations_->current();
        context.rcu = rcu_.get();
        context.table = &memory_->table(worker);
        context.last_hops = &memory_->last_hops(worker);
        context.persistence = &memory_->persistence(worker);
        context.strays = &memory_->strays();
        context.secret = random_secret();
        context.spread = &spread_in_use_;
        context.counters = &memory_->counters();
        context.block = worker;
        context.capture_ring = memory_->capture_ring(worker);
        context.capture_order = &memory_->capture_order();
        context.inbox = inboxes_[worker];
        std::copy(inboxes_.begin(), inboxes_.end(), context.peer_inbox.begin());
        context.punt_control = punt_control_;
        context.punt_data = punt_data_;
        context.from_kernel = worker == 0 ? from_kernel_ : nullptr;
        context.adaptive_idle = options_.config.engine.idle == config::IdlePolicy::kAdaptive;
        context.stop = &stop_;
    }
    return {};
}

// Each generation, before the workers see it.
void Engine::follow(const lb::ForwardingState& state) {
    if (!generations_->running()) {
        take_control_of_spread(state.hash_key());
        take_over(state);
    }
    memory_->follow(state);
}

void Engine::take_over(const lb::ForwardingState& first) {
    const std::uint64_t began_ns = monotonic_ns();
    const auto numbers = memory_->take_over(first, spread_in_use_.load(std::memory_order_relaxed));
    if (!numbers)
        return;
    spdlog::info(
        "took over {} connections in {:.0f} ms: {} of them moved to another worker, {} are "
        "those of another engine; {} refused, {} half open",
        numbers->adopted, static_cast<double>(monotonic_ns() - began_ns) / kMillisecond_ns,
        numbers->moved, numbers->given, numbers->refused, numbers->half_open);
}

// So that they follow it from the first packet on.
void Engine::take_control_of_spread(const weir_hash_key& secret) {
    const std::uint32_t entries = devices_->spread_entries();
    if (workers_ == 1 || entries == 0)
        return;
    spread_ = lb::Spread::make(lb::rss_key_of(secret), entries, workers_);
    if (!spread_) {
        spdlog::warn("the key of this node does not reach every worker: packets that come to "
                     "another worker than their connection's are handed over");
        return;
    }
    const auto applied = [&] {
        const OutputCapture quiet;
        return devices_->apply(*spread_);
    }();
    if (!applied) {
        spdlog::warn("{}: packets that come to another worker than their connection's are handed "
                     "over",
                     applied.error().sentence);
        return;
    }
    spread_in_use_.store(&*spread_, std::memory_order_relaxed);
    spdlog::info("the devices spread packets over {} workers by our key and a table of {}",
                 workers_, entries);
}

bool Engine::any_bypassed() const {
    for (const config::InterfaceConfig& interface : options_.config.interfaces)
        if (!interface.is_kernel_visible())
            return true;
    return false;
}

Expected<void> Engine::launch() {
    if (any_bypassed()) {
        KernelPathSetup setup;
        setup.pool = pool_;
        setup.punt_control = punt_control_;
        setup.punt_data = punt_data_;
        setup.from_kernel = from_kernel_;
        setup.state = &generations_->current();
        setup.rcu = rcu_.get();
        setup.reader = workers_;
        setup.counters = &memory_->counters().worker(workers_);
        for (const config::InterfaceConfig& interface : options_.config.interfaces)
            setup.limits.push_back(interface.punt);
        kernel_path_.emplace(std::move(setup));
        kernel_path_->start();
    }
    launched_ = true;
    return launch_workers(contexts_);
}

channel::Hello Engine::hello() const {
    auto hello = channel::make_message<channel::Hello>(channel::MessageType::hello);
    hello.pid = static_cast<std::uint32_t>(::getpid());
    hello.workers = workers_;
    hello.interfaces = static_cast<std::uint32_t>(devices_->size());
    hello.connections_per_worker = options_.config.engine.connections;
    hello.hugepages = memory_->huge() ? 1 : 0;
    hello.started_ns = started_ns_;
    hello.spread_entries = workers_ == 1 ? 0 : devices_->spread_entries();
    for (std::size_t row = 0; row < devices_->size(); row++)
        hello.interface[row] = devices_->describe(row, workers_);
    return hello;
}

Expected<void> Engine::attach_tap(std::uint32_t row, const std::string& name) {
    if (row >= devices_->size() || (*devices_)[row].kernel_visible() || !kernel_path_)
        return Error{"interface " + std::to_string(row) + " has no TAP: the kernel sees it itself"};
    auto tap = open_tap(name);
    if (!tap)
        return tap.error();
    kernel_path_->attach(row, std::move(*tap));
    spdlog::info("interface '{}' has the kernel side '{}'", (*devices_)[row].config.name, name);
    return {};
}

Expected<void> Engine::greet() {
    channel_->serve(
        hello(), *memory_, *generations_,
        [this](std::uint32_t row, const std::string& name) { return attach_tap(row, name); });
    return {};
}

Expected<void> Engine::run() {
    auto served = serve();
    notify_service_manager("STOPPING=1");
    stop();
    return served;
}

Expected<void> Engine::serve() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    const channel::Descriptor ended(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!ended)
        return Error{std::string("cannot wait for signals: ") + std::strerror(errno)};
    for (;;) {
        std::array<pollfd, 3> watched{{{ended.get(), POLLIN, 0},
                                       {channel_->listener(), POLLIN, 0},
                                       {channel_->client(), POLLIN, 0}}};
        const int ready = ::poll(watched.data(), watched.size(), kTickMs);
        if (ready < 0 && errno != EINTR)
            return Error{std::string("cannot wait for work: ") + std::strerror(errno)};
        if (watched[0].revents != 0) {
            spdlog::info("asked to end");
            return {};
        }
        if (watched[2].revents != 0)
            channel_->on_client_readable();
        if (watched[1].revents != 0)
            channel_->on_listener_readable();
        generations_->reclaim();
        if (generations_->running())
            memory_->note_alive();
        if (!announced_ && generations_->running()) {
            announced_ = true;
            spdlog::info("forwarding by generation {}, {:.0f} ms after the start",
                         generations_->running()->state.generation(),
                         static_cast<double>(monotonic_ns() - started_ns_) / kMillisecond_ns);
            notify_service_manager("READY=1");
        }
    }
}

void Engine::stop() {
    if (!launched_)
        return;
    launched_ = false;
    stop_.store(true);
    wait_for_workers(contexts_);
    if (kernel_path_)
        kernel_path_->stop();
}

} // namespace weir::dpdk
