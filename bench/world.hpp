// SPDX-License-Identifier: BSD-3-Clause
// What the workers forward by: a configuration that goes through the control process's own
// compiler, and the addresses in it. VIP i is on pool i % pools; backends are numbered through.
#pragma once

#include "control/compile/compile.hpp"
#include "control/engine_link/generation.hpp"

#include <cstdint>
#include <memory>

namespace weir::bench {

struct Shape {
    config::ForwardMode mode = config::ForwardMode::kDsrL2;
    bool v6 = false;
    std::uint32_t vips = 1;
    std::uint32_t pools = 1;
    std::uint32_t backends = 100; // of a pool
    config::Tracking tracking = config::Tracking::kFull;
    friend bool operator==(const Shape&, const Shape&) = default;
};

inline constexpr std::uint16_t kServicePort = 80;
inline constexpr std::uint32_t kSnatAddresses = 16;

net::IpAddress vip_address(bool v6, std::uint32_t vip);
net::IpAddress backend_address(bool v6, std::uint32_t backend);
net::IpAddress snat_address(bool v6, std::uint32_t number);

class World {
public:
    explicit World(const Shape& shape);

    // Compiles and seals the next generation, which becomes the history of the one after.
    struct Step {
        std::shared_ptr<const control::Generation> generation;
        double compile_ns;
        double seal_ns;
    };
    Step step();
    // A probe speaks against the backend, or takes it back.
    void set_down(std::uint32_t pool, std::uint32_t backend, bool down);

    const Shape& shape() const { return shape_; }

private:
    Shape shape_;
    config::Config config_;
    control::Health health_;
    control::Adjacency adjacency_;
    control::Admin admin_;
    control::History history_;
    control::Forget forget_;
    std::vector<control::InterfaceFacts> interfaces_;
    control::SlotTables slot_tables_;
    std::shared_ptr<const control::Generation> last_;
};

} // namespace weir::bench
