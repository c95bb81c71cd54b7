// SPDX-License-Identifier: BSD-3-Clause
// SipHash-1-3 against OpenSSL's SIPHASH with one compression and three finalisation rounds, and
// against published vectors.
#include "dataplane/forwarding/flow.h"

#include <gtest/gtest.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "dataplane/forwarding/test_packet.hpp"

namespace {

using weir::forwarding_test::Bytes;

// Bytes as the words weir_siphash13 takes: zero-padded, the length in the last byte.
std::vector<uint64_t> words_of(const Bytes& bytes) {
    Bytes padded = bytes;
    padded.resize((bytes.size() / 8 + 1) * 8);
    padded.back() = static_cast<uint8_t>(bytes.size());
    std::vector<uint64_t> words(padded.size() / 8);
    memcpy(words.data(), padded.data(), padded.size());
    return words;
}

uint64_t ours(const weir_hash_key& key, const Bytes& bytes) {
    const auto words = words_of(bytes);
    return weir_siphash13(&key, words.data(), static_cast<unsigned>(words.size()));
}

uint64_t openssl(const weir_hash_key& key, const Bytes& bytes) {
    const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(
        EVP_MAC_fetch(nullptr, "SIPHASH", nullptr), EVP_MAC_free);
    const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(
        EVP_MAC_CTX_new(mac.get()), EVP_MAC_CTX_free);
    unsigned compression = 1, finalisation = 3;
    size_t size = 8;
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
        OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_C_ROUNDS, &compression),
        OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_D_ROUNDS, &finalisation),
        OSSL_PARAM_construct_end(),
    };
    uint64_t digest = 0;
    size_t written = 0;
    EXPECT_EQ(EVP_MAC_init(context.get(), reinterpret_cast<const uint8_t*>(&key), sizeof(key),
                           parameters),
              1);
    EXPECT_EQ(EVP_MAC_update(context.get(), bytes.data(), bytes.size()), 1);
    EXPECT_EQ(
        EVP_MAC_final(context.get(), reinterpret_cast<uint8_t*>(&digest), &written, sizeof(digest)),
        1);
    EXPECT_EQ(written, sizeof(digest));
    return digest;
}

TEST(Hash, AgreesWithOpenSslForEveryLength) {
    std::mt19937_64 random(13);
    for (size_t length = 0; length < 128; length++) {
        for (int i = 0; i < 20; i++) {
            const weir_hash_key key = {random(), random()};
            Bytes bytes(length);
            for (uint8_t& byte : bytes)
                byte = static_cast<uint8_t>(random());
            ASSERT_EQ(ours(key, bytes), openssl(key, bytes)) << "length " << length;
        }
    }
}

TEST(Hash, GivesThePublishedVectors) {
    // Key 00 01 .. 0f; message 00 01 .. (length - 1); the low halves of the hashes, as the Linux
    // kernel publishes them for its 64-bit hsiphash, which is SipHash-1-3 cut to 32 bits.
    const weir_hash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    const uint32_t published[] = {0x050fc4dc, 0x7d57ca93, 0x4dc7d44d, 0xe7ddf7fb,
                                  0x88d38328, 0x49533b67, 0xc59f22a7, 0x9bb11140,
                                  0x8d299a8e, 0x6c063de4, 0x92ff097f, 0xf94dc352,
                                  0x57b4d9a2, 0x1229ffa7, 0xc0f95d34, 0x2a519956};
    Bytes message;
    for (uint32_t vector : published) {
        EXPECT_EQ(static_cast<uint32_t>(ours(key, message)), vector) << message.size();
        message.push_back(static_cast<uint8_t>(message.size()));
    }
}

TEST(Hash, OneBitOfKeyOrFlowChangesHalfOfTheHash) {
    std::mt19937_64 random(7);
    double flipped = 0;
    int samples = 0;
    for (int i = 0; i < 500; i++) {
        weir_hash_key key = {random(), random()};
        Bytes bytes(13);
        for (uint8_t& byte : bytes)
            byte = static_cast<uint8_t>(random());
        const uint64_t before = ours(key, bytes);
        bytes[random() % 13] ^= static_cast<uint8_t>(1u << random() % 8);
        flipped += __builtin_popcountll(before ^ ours(key, bytes));
        key.k1 ^= uint64_t{1} << random() % 64;
        flipped += __builtin_popcountll(before ^ ours(key, bytes));
        samples += 2;
    }
    EXPECT_NEAR(flipped / samples, 32.0, 1.0);
}

TEST(Flow, HashesTheTupleOfItsFamily) {
    const weir_hash_key key = {1, 2};
    const weir_address client = weir_address_from_v4(0x010200c0);
    const weir_address vip = weir_address_from_v4(0x0a3364c6);
    weir_flow flow;
    weir_flow_set(&flow, &client, &vip, 0x5000, 0x9c40, 6);
    Bytes bytes = {0xc0, 0, 2, 1, 0xc6, 0x64, 0x33, 0x0a, 0, 0x50, 0x40, 0x9c, 6};
    EXPECT_EQ(weir_flow_hash(&key, &flow), openssl(key, bytes));

    const weir_address client6 = {{0x1111111111111111, 0x2222222222222222}};
    const weir_address vip6 = {{0x3333333333333333, 0x4444444444444444}};
    weir_flow_set(&flow, &client6, &vip6, 0x5000, 0x9c40, 17);
    bytes.clear();
    for (uint8_t value : {0x11, 0x22, 0x33, 0x44})
        bytes.insert(bytes.end(), 8, value);
    for (uint8_t value : {0, 0x50, 0x40, 0x9c, 17})
        bytes.push_back(value);
    EXPECT_EQ(weir_flow_hash(&key, &flow), openssl(key, bytes));
}

} // namespace
