// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/capture_ring.hpp"

#include <algorithm>
#include <cstring>

namespace weir::lb {
namespace {

// Release and acquire throughout, so that each store or load keeps its place among the others:
// plain moves on x86.
void store(std::uint64_t& word, std::uint64_t value) {
    __atomic_store_n(&word, value, __ATOMIC_RELEASE);
}
std::uint64_t load(const std::uint64_t& word) {
    return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}

// The facts in a slot's four words: time; lengths; rows; the rest.
std::array<std::uint64_t, 4> packed(const CaptureFacts& facts, std::uint32_t captured) {
    return {facts.time_ns, facts.original_length | std::uint64_t{captured} << 32,
            facts.vip | std::uint64_t{facts.backend} << 32,
            facts.verdict | std::uint64_t{facts.interface} << 8 |
                std::uint64_t{facts.outbound} << 16};
}

CaptureFacts unpacked(const std::array<std::uint64_t, 4>& words) {
    CaptureFacts facts;
    facts.time_ns = words[0];
    facts.original_length = static_cast<std::uint32_t>(words[1]);
    facts.vip = static_cast<std::uint32_t>(words[2]);
    facts.backend = static_cast<std::uint32_t>(words[2] >> 32);
    facts.verdict = static_cast<std::uint8_t>(words[3]);
    facts.interface = static_cast<std::uint8_t>(words[3] >> 8);
    facts.outbound = (words[3] >> 16 & 1) != 0;
    return facts;
}

// What a worker still has in hand when it has decided.
VerdictSet capturable() {
    return verdicts_of_class(WEIR_CLASS_FORWARD) | verdicts_of_class(WEIR_CLASS_PUNT) |
           verdicts_of_class(WEIR_CLASS_DROP);
}

} // namespace

VerdictSet verdicts_of_class(weir_verdict_class wanted) {
    VerdictSet set = 0;
    for (std::uint32_t verdict = 1; verdict < WEIR_VERDICT_COUNT; verdict++)
        if (verdict_info(verdict).verdict_class == wanted)
            set |= verdict_bit(verdict);
    return set;
}

void CaptureOrder::start(std::uint32_t session, const CaptureFilter& filter,
                         std::uint64_t until_ns) {
    if (session_.load(std::memory_order_relaxed) != session) {
        session_.store(0, std::memory_order_release);
        vip_.store(filter.vip, std::memory_order_release);
        snaplen_.store(filter.snaplen, std::memory_order_release);
        verdicts_.store(filter.verdicts, std::memory_order_release);
        session_.store(session, std::memory_order_release);
    }
    until_ns_.store(until_ns, std::memory_order_release);
}

std::optional<CaptureFilter> CaptureOrder::filter(std::uint32_t session) const {
    CaptureFilter filter;
    filter.vip = vip_.load(std::memory_order_acquire);
    filter.snaplen = snaplen_.load(std::memory_order_acquire);
    filter.verdicts = verdicts_.load(std::memory_order_acquire);
    if (session == 0 || session_.load(std::memory_order_acquire) != session)
        return std::nullopt;
    return filter;
}

// --- the worker's end --------------------------------------------------------------------------

CaptureProducer::CaptureProducer() {
    static const CaptureOrder kNever;
    order_ = &kNever;
}

CaptureProducer::CaptureProducer(std::span<std::byte> memory, const CaptureOrder& order)
    : header_(reinterpret_cast<CaptureRingHeader*>(memory.data())),
      slots_(reinterpret_cast<CaptureSlot*>(memory.data() + sizeof(CaptureRingHeader))),
      order_(&order) {}

void CaptureProducer::format(std::span<std::byte> memory, std::uint32_t worker) {
    auto* header = reinterpret_cast<CaptureRingHeader*>(memory.data());
    auto* slots = reinterpret_cast<CaptureSlot*>(memory.data() + sizeof(CaptureRingHeader));
    header->worker = worker;
    header->slots = kCaptureSlots;
    header->slot_bytes = kCaptureSlotBytes;
    // A slot is shorter than a page: this takes them all, so that no packet has to wait for one.
    for (std::uint32_t i = 0; i < kCaptureSlots; i++)
        slots[i].stamp = slots[i].bytes[kCaptureSlotBytes / 8 - 1] = 0;
    store(header->magic, kCaptureMagic);
}

void CaptureProducer::follow_order(std::uint64_t now_ns) {
    const std::uint32_t session = order_->session();
    if (session != session_) {
        on_ = false;
        const auto filter = order_->filter(session);
        if (!filter)
            return;
        session_ = session;
        filter_ = *filter;
        filter_.verdicts &= capturable();
        filter_.snaplen = std::min(filter_.snaplen, kCaptureSlotBytes);
        store(header_->begun_written, header_->written);
        store(header_->begun_matched, header_->matched);
        __atomic_store_n(&header_->session, session, __ATOMIC_RELEASE);
    }
    if (!on_) {
        on_ = true;
        budget_ns_ = kMostSaved_ns;
    } else {
        const std::uint64_t passed = std::min(now_ns - earned_at_ns_, kLongestPoll_ns);
        budget_ns_ =
            std::min(budget_ns_ + static_cast<std::int64_t>(passed / kShare), kMostSaved_ns);
    }
    earned_at_ns_ = now_ns;
}

void CaptureProducer::count_matches(std::uint32_t packets) {
    store(header_->matched, header_->matched + packets);
}

void CaptureProducer::put(const CaptureFacts& facts, std::span<const std::uint8_t> frame) {
    const std::uint64_t number = header_->written;
    CaptureSlot& slot = slots_[number % kCaptureSlots];
    const auto captured = std::min(static_cast<std::uint32_t>(frame.size()), filter_.snaplen);
    store(slot.stamp, 2 * number + 1);
    const std::array<std::uint64_t, 4> words = packed(facts, captured);
    for (std::size_t i = 0; i < words.size(); i++)
        store(slot.facts[i], words[i]);
    const std::uint8_t* from = frame.data();
    const std::uint32_t whole = captured / 8;
    for (std::uint32_t i = 0; i < whole; i++, from += 8) {
        std::uint64_t word;
        std::memcpy(&word, from, 8);
        store(slot.bytes[i], word);
    }
    if (const std::uint32_t rest = captured % 8; rest != 0) {
        std::uint64_t word = 0;
        std::memcpy(&word, from, rest);
        store(slot.bytes[whole], word);
    }
    store(slot.stamp, 2 * number + 2);
    store(header_->written, number + 1);
}

void CaptureProducer::charge(std::uint64_t spent_ns) {
    budget_ns_ -= std::min(static_cast<std::int64_t>(spent_ns), kMostCharged_ns);
}

// --- control's end -----------------------------------------------------------------------------

std::optional<CaptureReader> CaptureReader::open(std::span<const std::byte> memory) {
    if (memory.size() < capture_ring_bytes() ||
        reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(CaptureRingHeader) != 0)
        return std::nullopt;
    const auto* header = reinterpret_cast<const CaptureRingHeader*>(memory.data());
    if (load(header->magic) != kCaptureMagic || header->slots != kCaptureSlots ||
        header->slot_bytes != kCaptureSlotBytes || header->worker >= WEIR_MAX_WORKERS)
        return std::nullopt;
    CaptureReader reader;
    reader.header_ = header;
    reader.slots_ = reinterpret_cast<const CaptureSlot*>(memory.data() + sizeof(CaptureRingHeader));
    reader.worker_ = header->worker;
    return reader;
}

bool CaptureReader::begin(std::uint32_t session) {
    if (__atomic_load_n(&header_->session, __ATOMIC_ACQUIRE) != session)
        return false;
    next_ = begun_written_ = load(header_->begun_written);
    begun_matched_ = load(header_->begun_matched);
    overwritten_ = 0;
    return true;
}

void CaptureReader::read(std::vector<CapturedPacket>& packets, std::uint32_t most) {
    const std::uint64_t written = load(header_->written);
    if (written - next_ > kCaptureSlots) {
        overwritten_ += written - kCaptureSlots - next_;
        next_ = written - kCaptureSlots;
    }
    for (; next_ != written && most != 0; next_++, most--) {
        CapturedPacket packet;
        packet.worker = worker_;
        if (read_slot(next_, packet))
            packets.push_back(std::move(packet));
        else
            overwritten_++;
    }
}

bool CaptureReader::read_slot(std::uint64_t number, CapturedPacket& packet) const {
    const CaptureSlot& slot = slots_[number % kCaptureSlots];
    const std::uint64_t whole = 2 * number + 2;
    if (load(slot.stamp) != whole)
        return false;
    std::array<std::uint64_t, 4> words;
    for (std::size_t i = 0; i < words.size(); i++)
        words[i] = load(slot.facts[i]);
    const std::size_t captured = std::min<std::size_t>(words[1] >> 32, kCaptureSlotBytes);
    packet.facts = unpacked(words);
    packet.bytes.resize((captured + 7) / 8 * 8);
    for (std::size_t i = 0; i * 8 < captured; i++) {
        const std::uint64_t word = load(slot.bytes[i]);
        std::memcpy(packet.bytes.data() + i * 8, &word, 8);
    }
    packet.bytes.resize(captured);
    return load(slot.stamp) == whole;
}

std::uint64_t CaptureReader::matched() const {
    return load(header_->matched) - begun_matched_;
}

// Matches are counted before their copies are: the difference is never negative.
std::uint64_t CaptureReader::sampled_out() const {
    const std::uint64_t written = load(header_->written);
    return matched() - (written - begun_written_);
}

} // namespace weir::lb
