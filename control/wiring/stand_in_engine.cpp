// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/stand_in_engine.hpp"

#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <sys/stat.h>

#include <algorithm>
#include <span>
#include <utility>

#include "control/wiring/connection_exchange.hpp"

namespace weir::control {

namespace asio = boost::asio;

namespace {

std::uint32_t now_s() {
    return static_cast<std::uint32_t>(monotonic_ns() / 1'000'000'000);
}

double milliseconds(std::chrono::steady_clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

// False: the dataplane is gone again. What there is no memory for is lost, and said to be.
bool give_all(DpdkEngine& dataplane, channel::MemoryKind kind, std::span<const std::byte> what) {
    if (what.empty())
        return true;
    std::string problem;
    const auto memory = channel::SharedMemory::create_sealed("weir-given", what, problem);
    if (!memory)
        spdlog::warn(
            "what the kernel's balancer has made while weir-dataplane was gone is lost: {}",
            problem);
    return !memory || dataplane.give(kind, *memory);
}

} // namespace

StandInEngine::StandInEngine(asio::io_context& io, DpdkEngineSettings settings,
                             BpfSteering& steering, std::string bpffs)
    : io_(io), steering_(steering), bpffs_(std::move(bpffs)), dataplane_(io, std::move(settings)),
      holds_timer_(io), look_timer_(io) {}

StandInEngine::~StandInEngine() {
    if (loader_.joinable())
        loader_.join();
}

bool StandInEngine::fits(const config::Config& config) {
    return std::all_of(config.interfaces.begin(), config.interfaces.end(),
                       [](const auto& interface) { return interface.is_kernel_visible(); });
}

// --- the engine that there is --------------------------------------------------------------------

Expected<void> StandInEngine::start(const config::Config& config, Handlers handlers) {
    config_ = config;
    handlers_ = std::move(handlers);
    auto socket = NetlinkSocket::open();
    if (!socket)
        return socket.error();
    netlink_.emplace(std::move(*socket));
    look_for_left();
    return dataplane_.start(config, dataplane_handlers());
}

void StandInEngine::stop() {
    dataplane_.stop();
    holds_timer_.cancel();
    look_timer_.cancel();
}

const Engine* StandInEngine::engine() const {
    if (dataplane_there())
        return dataplane_.engine();
    return standing_in_ ? &balancer_->engine() : nullptr;
}

void StandInEngine::refresh() {
    if (standing_in_ && !dataplane_there())
        balancer_->refresh();
}

std::shared_ptr<const Generation> StandInEngine::live() const {
    return standing_in_ && !dataplane_there() ? balancer_->live() : dataplane_.live();
}

Expected<std::vector<InterfaceFacts>> StandInEngine::take_interfaces(const config::Config& config) {
    if (dataplane_there())
        return dataplane_.take_interfaces(config);
    return interface_facts(*netlink_, config);
}

bool StandInEngine::publishing() const {
    return dataplane_there() ? dataplane_.publishing() : in_flight_ != nullptr;
}

void StandInEngine::publish(std::shared_ptr<const Generation> generation) {
    if (dataplane_there()) {
        dataplane_.publish(std::move(generation));
        return;
    }
    in_flight_ = std::move(generation);
    const auto done = follow(in_flight_);
    asio::post(io_, [this, accepted = done.has_value(),
                     why = done ? std::string() : done.error().sentence] {
        if (const auto answered = std::exchange(in_flight_, nullptr); answered && standing_in_)
            handlers_.answered(answered, accepted, why);
    });
}

ForwardingEngine::Handlers StandInEngine::dataplane_handlers() {
    Handlers handlers = handlers_;
    handlers.ready = [this](const std::shared_ptr<const Generation>& running) {
        dataplane_ready(running);
    };
    handlers.lost = [this] { dataplane_lost(); };
    handlers.answered = [this](std::shared_ptr<const Generation> generation, bool accepted,
                               const std::string& reason) {
        if (accepted)
            dataplane_forwards(generation);
        handlers_.answered(std::move(generation), accepted, reason);
    };
    return handlers;
}

// --- what it could not know ----------------------------------------------------------------------

void StandInEngine::hold_all(bool held) {
    for (std::uint32_t row = 0; row < balancer_->maps().sizes().rows.vips; row++)
        balancer_->maps().hold(row, held);
}

// The slots alone say where flows of a VIP go that records exceptions, as long as it has none.
void StandInEngine::hold_unknown() {
    std::vector<lb::ConnectionReader> tables;
    for (const channel::SharedMemory& table : tables_)
        if (const auto reader = lb::ConnectionReader::open(table.bytes()))
            tables.push_back(*reader);
    const bool seen = tables_are_current_ && !tables.empty() && tables.size() == tables_.size();
    const auto vips = balancer_->live()->state().vips();
    for (std::uint32_t row = 0; row < vips.size(); row++) {
        const bool by_slots = (vips[row].flags & WEIR_VIP_EXCEPTIONS) != 0;
        balancer_->maps().hold(
            row, !seen || !by_slots || std::any_of(tables.begin(), tables.end(), [&](auto& table) {
                return row >= table.vips() ||
                       table.vip_entries(static_cast<std::uint16_t>(row)) != 0;
            }));
    }
}

void StandInEngine::refresh_holds() {
    holds_timer_.expires_after(kRefreshHolds);
    holds_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error || !balancer_ || standing_in_)
            return;
        if (dataplane_there() && tables_are_current_) // else somebody may be truncating them
            hold_unknown();
        refresh_holds();
    });
}

// --- standing in ---------------------------------------------------------------------------------

void StandInEngine::dataplane_lost() {
    dataplane_seen_ |= !std::exchange(dataplane_waits_, false);
    if (standing_in_) // a successor, which has not come to forward
        resume();
    else if (balancer_ && balancer_->live() && dataplane_.ended())
        stand_in();
    else
        handlers_.lost();
}

void StandInEngine::stand_in() {
    standing_in_ = true;
    since_ = Clock::now();
    if (auto turned = steering_.balance_in_place(true); !turned)
        spdlog::error("{}", turned.error().sentence);
    steering_.look_for_programs(true);
    spdlog::warn("weir-dataplane is gone: the kernel's balancer forwards in its place");
    handlers_.event(name(), "is gone; the kernel's balancer forwards in its place");
    reading_ = {};
    reading_.networks = std::make_unique<lb::PersistenceTable>();
    look();
    resume();
}

void StandInEngine::resume() {
    reading_.under_way = true;
    read_tables();
    handlers_.ready(balancer_->live());
}

// A dataplane that starts attaches a steering program of its own, and one that ends by itself takes
// it off.
void StandInEngine::look() {
    look_timer_.expires_after(Clock::now() - since_ < kAWhile ? kLook : kLookLater);
    look_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error || !standing_in_)
            return;
        steering_.look_for_programs(Clock::now() - since_ < kAttachFor);
        look();
    });
}

// A step.
void StandInEngine::read_tables() {
    if (!standing_in_ || !reading_.under_way)
        return;
    if (reading_.table < tables_.size()) {
        read_table();
    } else if (reading_.network < lb::PersistenceTable::kEntries) {
        read_networks();
    } else {
        tables_are_read();
        return;
    }
    asio::post(io_, [this] { read_tables(); });
}

// Some connections; behind the last, all that is remembered of networks.
void StandInEngine::read_table() {
    // A successor with other workers has read the tables itself by now and given them back.
    const channel::SharedMemory& table = tables_[reading_.table];
    struct stat file {};
    const bool there = ::fstat(table.descriptor(), &file) == 0 &&
                       static_cast<std::size_t>(file.st_size) >= table.bytes().size();
    const auto left = there ? lb::ForeignMemory::open(table.bytes()) : std::nullopt;
    const std::uint32_t end =
        left ? std::min(left->table.capacity(), reading_.entry + kEntriesAtOnce) : 0;
    const lb::ForwardingState& state = balancer_->live()->state();
    std::vector<xdp::Balancer::Given> found;
    for (std::uint32_t entry = reading_.entry; entry < end; entry++)
        if (const auto connection = left->table.read(entry))
            if (const auto given = given_to_balancer(*connection, *left->last_hops, state, now_s()))
                found.push_back(*given);
    const auto given = balancer_->maps().give(found, state);
    if (given)
        reading_.given += *given;
    else
        spdlog::error("{}", given.error().sentence);
    reading_.entry = end;
    if (left && end < left->table.capacity())
        return;
    if (left)
        reading_.networks->absorb(*left->persistence, static_cast<std::uint16_t>(now_s()));
    reading_.table++;
    reading_.entry = 0;
}

void StandInEngine::read_networks() {
    const auto entries = reading_.networks->entries().subspan(reading_.network, kEntriesAtOnce);
    std::vector<xdp::Balancer::Network> found;
    for (const lb::PersistenceTable::Entry& entry : entries)
        if (const auto network = network_to_balancer(entry, balancer_->live()->state(), now_s()))
            found.push_back(*network);
    if (const auto given = balancer_->maps().give_networks(found); !given)
        spdlog::error("{}", given.error().sentence);
    reading_.network += static_cast<std::uint32_t>(entries.size());
}

void StandInEngine::tables_are_read() {
    reading_.under_way = false;
    hold_all(false);
    if (std::exchange(reading_.finished, true))
        return;
    balancer_->maps().end_giving();
    balancer_->sweep();
    const std::string what = fmt::format("has {} connections of weir-dataplane, {:.1f} ms after "
                                         "that was gone",
                                         reading_.given, milliseconds(Clock::now() - since_));
    spdlog::info("the kernel's balancer {}", what);
    handlers_.event("the kernel's balancer", what);
}

// --- giving way ----------------------------------------------------------------------------------

void StandInEngine::dataplane_ready(const std::shared_ptr<const Generation>& running) {
    if (looking_for_left_ && !running) {
        dataplane_waits_ = true;
        return;
    }
    dataplane_seen_ = true;
    tables_are_current_ = false;
    in_flight_.reset();
    reading_.under_way = false;
    if (running) // not one that has just started: its connections are its own
        dataplane_forwards(running);
    if (!standing_in_) {
        handlers_.ready(running);
        return;
    }
    hold_all();
    if (auto waited = balancer_->maps().wait_for_programs(); !waited)
        spdlog::warn("{}", waited.error().sentence);
    if (!give_back())
        return; // it is gone again
    handlers_.ready(running);
}

// All that the balancer has, what it has of the dataplane too: that is older in its tables by the
// time that this one has forwarded, if control has not given the tables up meanwhile. False: the
// dataplane is gone again.
bool StandInEngine::give_back() {
    std::vector<lb::GivenConnection> connections;
    const auto seen = balancer_->maps().for_each_connection(
        [&](const weir_connection_key& key, const weir_connection& connection) {
            connections.push_back(given_to_dataplane(key, connection));
        });
    if (!seen)
        spdlog::warn("{}", seen.error().sentence);
    std::vector<lb::GivenNetwork> networks;
    if (const auto remembered = balancer_->maps().networks())
        std::ranges::transform(*remembered, std::back_inserter(networks), network_to_dataplane);
    else
        spdlog::warn("{}", remembered.error().sentence);
    return give_all(dataplane_, channel::MemoryKind::given_connections,
                    std::as_bytes(std::span(connections))) &&
           give_all(dataplane_, channel::MemoryKind::given_networks,
                    std::as_bytes(std::span(networks)));
}

// Every worker has the generation: packets go to them from here on.
void StandInEngine::dataplane_forwards(const std::shared_ptr<const Generation>& generation) {
    if (!tables_are_current_)
        tables_ = dataplane_.kept().map();
    tables_are_current_ = true;
    if (standing_in_)
        give_way();
    if (!balancer_) {
        load();
    } else if (auto followed = follow(generation); !followed) {
        spdlog::info("the balancer that stands in is loaded anew: {}", followed.error().sentence);
        retire();
        load();
    }
}

void StandInEngine::give_way() {
    if (auto turned = steering_.balance_in_place(false); !turned)
        spdlog::error("{}", turned.error().sentence);
    standing_in_ = false;
    look_timer_.cancel();
    const auto counts = balancer_->maps().counts();
    std::uint64_t sent = 0;
    for (std::uint32_t port = 0; counts && port < WEIR_MAX_INTERFACES; port++)
        sent += counts->ports[port].tx_packets;
    const std::string what = fmt::format(
        "forwards again, after {:.0f} ms in which the kernel's balancer sent {} packets",
        milliseconds(Clock::now() - since_), sent);
    spdlog::info("weir-dataplane {}", what);
    handlers_.event(name(), what);
    retire();
}

} // namespace weir::control
