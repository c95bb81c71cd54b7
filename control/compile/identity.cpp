// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/identity.hpp"

#include <cstring>
#include <string>
#include <vector>

#include "dataplane/forwarding/hash.h"

namespace weir::control {
namespace {

// "weir" and what is hashed, in ASCII. Changing one moves every flow of every cluster.
constexpr weir_hash_key kNameKey{0x656d616e'72696577, 0x00000000'31303030};
constexpr weir_hash_key kBackendKey{0x6b636162'72696577, 0x00000000'31646e65};
constexpr weir_hash_key kMaglevStartKey{0x6c67616d'72696577, 0x00000000'61317665};
constexpr weir_hash_key kMaglevStrideKey{0x6c67616d'72696577, 0x00000000'62317665};

std::uint64_t hash_bytes(const weir_hash_key& key, std::string_view bytes) {
    std::vector<std::uint64_t> words(bytes.size() / 8 + 1);
    std::memcpy(words.data(), bytes.data(), bytes.size());
    words.back() |= std::uint64_t{bytes.size() & 0xff} << 56;
    return weir_siphash13(&key, words.data(), static_cast<unsigned>(words.size()));
}

// 16 bytes of address, then the port as in a packet (0 when there is none).
std::string endpoint_bytes(const net::Endpoint& endpoint) {
    const auto& address = endpoint.address.bytes();
    std::string bytes(address.begin(), address.end());
    const std::uint16_t port = endpoint.port.value_or(0);
    bytes.push_back(static_cast<char>(port >> 8));
    bytes.push_back(static_cast<char>(port & 0xff));
    return bytes;
}

} // namespace

std::uint64_t name_identity(std::string_view name) {
    const std::uint64_t hash = hash_bytes(kNameKey, name);
    return hash != 0 ? hash : 1;
}

std::uint64_t backend_identity(std::string_view pool, const net::Endpoint& endpoint) {
    const std::uint64_t hash =
        hash_bytes(kBackendKey, endpoint_bytes(endpoint).append(pool.begin(), pool.end()));
    return hash != 0 ? hash : 1;
}

MaglevIdentity maglev_identity(const net::Endpoint& endpoint) {
    const std::string bytes = endpoint_bytes(endpoint);
    return {hash_bytes(kMaglevStartKey, bytes), hash_bytes(kMaglevStrideKey, bytes)};
}

weir_address to_weir(const net::IpAddress& address) {
    weir_address words;
    std::memcpy(&words, address.bytes().data(), sizeof(words));
    return words;
}

net::IpAddress to_net(const weir_address& address) {
    net::IpAddress::Bytes bytes;
    std::memcpy(bytes.data(), &address, sizeof(address));
    return net::IpAddress::from_bytes(bytes);
}

} // namespace weir::control
