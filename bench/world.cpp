// SPDX-License-Identifier: BSD-3-Clause
#include "bench/world.hpp"

#include "bench/timing.hpp"

#include <stdexcept>

namespace weir::bench {
namespace {

net::IpAddress numbered(bool v6, std::uint32_t v4_base, std::uint16_t v6_net, std::uint32_t at) {
    net::IpAddress::Bytes bytes{};
    if (v6) { // 2001:db8:NET::AT
        bytes = {0x20,
                 0x01,
                 0x0d,
                 0xb8,
                 static_cast<std::uint8_t>(v6_net >> 8),
                 static_cast<std::uint8_t>(v6_net)};
    } else {
        bytes[10] = bytes[11] = 0xff;
        at += v4_base;
    }
    for (int i = 0; i < 4; i++)
        bytes[12 + i] = static_cast<std::uint8_t>(at >> (24 - 8 * i));
    return net::IpAddress::from_bytes(bytes);
}

config::InterfaceConfig uplink() {
    config::InterfaceConfig interface;
    interface.name = "uplink";
    interface.device = config::KernelInterface{"eth1"};
    interface.kernel_interface = "eth1";
    interface.addresses = {net::IpPrefix::parse("10.0.0.2/8").value(),
                           net::IpPrefix::parse("2001:db8:b::ffff:2/64").value()};
    return interface;
}

} // namespace

net::IpAddress vip_address(bool v6, std::uint32_t vip) {
    return numbered(v6, 0xc6120000, 0xf, vip); // 198.18.0.0
}
net::IpAddress backend_address(bool v6, std::uint32_t backend) {
    return numbered(v6, 0x0a010000, 0xb, backend); // 10.1.0.0
}
net::IpAddress snat_address(bool v6, std::uint32_t number) {
    return numbered(v6, 0xc0000240, 0xa, number); // 192.0.2.64
}

World::World(const Shape& shape) : shape_(shape) {
    config_.interfaces = {uplink()};
    for (std::uint32_t i = 0; i < kSnatAddresses; i++)
        config_.snat.addresses.push_back(net::IpPrefix::host(snat_address(shape.v6, i)));
    config_.snat.ports = {1024, 65535};
    for (std::uint32_t pool = 0; pool < shape.pools; pool++) {
        config::PoolConfig settings;
        settings.name = "pool" + std::to_string(pool);
        for (std::uint32_t i = 0; i < shape.backends; i++) {
            config::BackendConfig backend;
            const auto address = backend_address(shape.v6, pool * shape.backends + i);
            backend.address = {address, 8080};
            backend.name = backend.address.to_string();
            settings.backends.push_back(backend);
            // As behind a rack's router: sixteen backends a next hop.
            net::MacAddress::Bytes mac = {2, 0, 1};
            std::copy_n(address.bytes().begin() + 13, 3, mac.begin() + 3);
            mac[5] &= 0xf0;
            adjacency_.hops[address] = {0, net::MacAddress::from_bytes(mac), 1500};
        }
        config_.pools.push_back(settings);
    }
    for (std::uint32_t i = 0; i < shape.vips; i++) {
        config::VipConfig vip;
        vip.name = "vip" + std::to_string(i);
        vip.address = vip_address(shape.v6, i);
        vip.ports = {kServicePort, kServicePort};
        vip.forward = shape.mode;
        vip.tracking = shape.tracking;
        vip.pool = i % shape.pools;
        config_.vips.push_back(vip);
    }
    interfaces_ = {{net::MacAddress::parse("02:00:00:00:00:aa").value(), 1500, false}};
}

World::Step World::step() {
    Step step{};
    const std::uint64_t begin = monotonic_ns();
    auto compiled = control::compile(
        {config_, health_, adjacency_, admin_, history_, forget_, interfaces_, {11, 22}},
        slot_tables_);
    if (!compiled)
        throw std::runtime_error(compiled.error().sentence);
    const std::uint64_t between = monotonic_ns();
    auto sealed = control::Generation::seal(*compiled, last_.get());
    if (!sealed)
        throw std::runtime_error(sealed.error().sentence);
    step.compile_ns = static_cast<double>(between - begin);
    step.seal_ns = static_cast<double>(monotonic_ns() - between);
    step.generation = last_ = *sealed;
    history_ = control::history_of(last_->state());
    return step;
}

void World::set_down(std::uint32_t pool, std::uint32_t backend, bool down) {
    const config::PoolConfig& settings = config_.pools[pool];
    const std::pair key(settings.name, settings.backends[backend].address);
    if (down)
        health_.down.insert(key);
    else
        health_.down.erase(key);
}

} // namespace weir::bench
