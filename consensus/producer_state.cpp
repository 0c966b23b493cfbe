#include "consensus/producer_state.h"

#include <algorithm>
#include <vector>

#include "core/codec.h"

namespace sentinel::consensus {

namespace {

constexpr std::uint8_t kSnapshotVersion = 1;

/// Sequences count records and wrap from 2^31 - 1 to 0.
std::int32_t advance(std::int32_t sequence, std::int32_t count) {
  return static_cast<std::int32_t>(
      (static_cast<std::uint32_t>(sequence) + static_cast<std::uint32_t>(count)) & 0x7fffffffu);
}

}  // namespace

struct ProducerState::StoredProducer {
  std::int64_t id = 0;
  std::int16_t epoch = 0;
  std::vector<Remembered> batches;
  static void fields(auto& self, auto& visit) {
    visit(self.id);
    visit(self.epoch);
    visit(self.batches);
  }
};

struct ProducerState::Stored {
  std::uint8_t version = kSnapshotVersion;
  std::vector<StoredProducer> producers;
  static void fields(auto& self, auto& visit) {
    visit(self.version);
    visit(self.producers);
  }
};

ProducerCheck ProducerState::check(const RecordBatchView& batch) const {
  using Outcome = ProducerCheck::Outcome;
  if (!batch.is_idempotent()) return {.outcome = Outcome::append, .original_base_offset = {}};
  const auto found = producers_.find(batch.producer_id());
  // The state may have expired, so a producer that is not known may start anywhere.
  if (found == producers_.end()) return {.outcome = Outcome::append, .original_base_offset = {}};
  const Producer& producer = found->second;
  if (batch.producer_epoch() < producer.epoch)
    return {.outcome = Outcome::fenced, .original_base_offset = {}};
  if (batch.producer_epoch() > producer.epoch) {
    const bool restarts = batch.base_sequence() == 0;
    return {.outcome = restarts ? Outcome::append : Outcome::out_of_order,
            .original_base_offset = {}};
  }
  const std::int32_t last_sequence = advance(batch.base_sequence(), batch.last_offset_delta());
  for (std::uint8_t i = 0; i < producer.count; ++i) {
    const Remembered& known = producer.batches[i];
    if (known.base_sequence == batch.base_sequence() && known.last_sequence == last_sequence) {
      return {.outcome = Outcome::duplicate, .original_base_offset = known.base_offset};
    }
  }
  const bool follows = batch.base_sequence() == advance(producer.last().last_sequence, 1);
  return {.outcome = follows ? Outcome::append : Outcome::out_of_order, .original_base_offset = {}};
}

void ProducerState::on_append(const RecordBatchView& batch, Offset base_offset,
                              std::int64_t now_ms) {
  if (!batch.is_idempotent()) return;
  if (producers_.size() >= kProducersMax && !producers_.contains(batch.producer_id()))
    forget_idlest();
  Producer& producer = producers_[batch.producer_id()];
  if (producer.epoch != batch.producer_epoch()) producer.count = 0;
  producer.epoch = batch.producer_epoch();
  if (producer.count == kRememberedBatches) {
    std::ranges::move(producer.batches.begin() + 1, producer.batches.end(),
                      producer.batches.begin());
    --producer.count;
  }
  producer.batches[producer.count++] =
      Remembered{.base_sequence = batch.base_sequence(),
                 .last_sequence = advance(batch.base_sequence(), batch.last_offset_delta()),
                 .base_offset = base_offset,
                 .timestamp_ms = now_ms};
}

void ProducerState::truncate_from(Offset end) {
  for (auto& [id, producer] : producers_) {  // lint: order does not matter
    while (producer.count > 0 && producer.last().base_offset >= end) --producer.count;
  }
  std::erase_if(producers_, [](const auto& entry) { return entry.second.count == 0; });
}

void ProducerState::expire(std::int64_t now_ms) {
  std::erase_if(producers_, [now_ms](const auto& entry) {
    return entry.second.last().timestamp_ms < now_ms - kProducerExpirationMs;
  });
}

/// By offset: the same on every replica, whatever its clock.
void ProducerState::forget_idlest() {
  const auto idlest = std::ranges::min_element(
      producers_, {}, [](const auto& entry) { return entry.second.last().base_offset; });
  producers_.erase(idlest);
}

core::Bytes ProducerState::encode() const {
  Stored stored;
  for (const auto& [id, producer] : producers_) {  // lint: order does not matter
    StoredProducer& out = stored.producers.emplace_back();
    out.id = id;
    out.epoch = producer.epoch;
    out.batches.assign(producer.batches.begin(), producer.batches.begin() + producer.count);
  }
  // One state has one encoding.
  std::ranges::sort(stored.producers, {}, &StoredProducer::id);
  return core::encode_fields(stored);
}

core::Result<ProducerState> ProducerState::decode(core::ByteSpan bytes) {
  SENTINEL_TRY(stored, core::decode_fields<Stored>(bytes));
  ProducerState state;
  const bool sound = stored.version == kSnapshotVersion && stored.producers.size() <= kProducersMax;
  if (!sound) return core::fail(core::Errc::corruption, "malformed producer snapshot");
  for (const StoredProducer& each : stored.producers) {
    if (each.batches.empty() || each.batches.size() > kRememberedBatches || each.id < 0 ||
        each.epoch < 0) {
      return core::fail(core::Errc::corruption, "malformed producer snapshot");
    }
    Producer& producer = state.producers_[each.id];
    producer.epoch = each.epoch;
    producer.count = static_cast<std::uint8_t>(each.batches.size());
    std::ranges::copy(each.batches, producer.batches.begin());
  }
  return state;
}

}  // namespace sentinel::consensus
