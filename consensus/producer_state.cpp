#include "consensus/producer_state.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "core/codec.h"

namespace sentinel::consensus {

namespace {

constexpr std::uint8_t kSnapshotVersion = 1;
// Version and count; id, epoch, count and batches of each producer.
constexpr std::size_t kSnapshotBytesMax = 4 + kProducersMax * (8 + 2 + 1 + kRememberedBatches * 24);

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
  if (found == producers_.end()) {
    const bool first = batch.base_sequence() == 0;
    return {.outcome = first ? Outcome::append : Outcome::joins, .original_base_offset = {}};
  }
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
  if (undo_.size() >= kUndoMax) {
    // Half at a time, so that the rest is not moved with each batch.
    on_commit(undo_[undo_.size() / 2].base_offset);
  }
  if (producers_.size() >= kProducersMax && !producers_.contains(batch.producer_id()))
    forget_idlest(base_offset);
  remember_undo(batch.producer_id(), base_offset);
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

void ProducerState::remember_undo(std::int64_t id, Offset base_offset) {
  SENTINEL_DEBUG_ASSERT(undo_.empty() || undo_.back().base_offset <= base_offset);
  if (base_offset < undo_floor_) return;
  Undo& undo = undo_.emplace_back(Undo{.base_offset = base_offset, .id = id, .before = {}});
  if (const auto found = producers_.find(id); found != producers_.end())
    undo.before = found->second;
}

void ProducerState::on_commit(Offset end) {
  const auto kept = std::ranges::lower_bound(undo_, end, {}, &Undo::base_offset);
  undo_.erase(undo_.begin(), kept);
  undo_floor_ = std::max(undo_floor_, end);
}

void ProducerState::truncate_from(Offset end) {
  SENTINEL_ASSERT(end >= undo_floor_, "what is committed is not taken back");
  for (; !undo_.empty() && undo_.back().base_offset >= end; undo_.pop_back()) {
    const Undo& undo = undo_.back();
    if (undo.before.has_value()) {
      producers_[undo.id] = *undo.before;
    } else {
      producers_.erase(undo.id);
    }
  }
}

void ProducerState::expire(std::int64_t now_ms) {
  std::erase_if(producers_, [now_ms](const auto& entry) {
    return entry.second.last().timestamp_ms < now_ms - kProducerExpirationMs;
  });
}

std::vector<Offset> ProducerState::remembered() const {
  std::vector<Offset> offsets;
  for (const auto& [id, producer] : producers_) {  // lint: order does not matter
    for (std::uint8_t i = 0; i < producer.count; ++i)
      offsets.push_back(producer.batches[i].base_offset);
  }
  std::ranges::sort(offsets);
  return offsets;
}

/// By offset: the same on every replica, whatever its clock. `cause` is where the batch is appended
/// that needs the room.
void ProducerState::forget_idlest(Offset cause) {
  std::vector<std::pair<Offset, std::int64_t>> by_use;
  by_use.reserve(producers_.size());
  for (const auto& [id, producer] : producers_) {  // lint: order does not matter
    by_use.emplace_back(producer.last().base_offset, id);
  }
  const auto kept = by_use.begin() + static_cast<std::ptrdiff_t>(kProducersForgotten);
  std::ranges::nth_element(by_use, kept);
  for (auto idle = by_use.begin(); idle != kept; ++idle) {
    remember_undo(idle->second, cause);
    producers_.erase(idle->second);
  }
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
  const auto malformed = [] {
    return core::fail(core::Errc::corruption, "malformed producer snapshot");
  };
  if (bytes.empty() || bytes.size() > kSnapshotBytesMax) return malformed();
  if (static_cast<std::uint8_t>(bytes.front()) > kSnapshotVersion)
    return core::fail(core::Errc::newer_format, "producer snapshot of a later version");
  SENTINEL_TRY(stored, core::decode_fields<Stored>(bytes));
  if (stored.version != kSnapshotVersion || stored.producers.size() > kProducersMax)
    return malformed();
  ProducerState state;
  std::int64_t previous_id = -1;
  for (const StoredProducer& each : stored.producers) {
    if (each.id <= previous_id || each.batches.size() > kRememberedBatches) return malformed();
    previous_id = each.id;
    Producer& producer = state.producers_[each.id];
    producer.epoch = each.epoch;
    producer.count = static_cast<std::uint8_t>(each.batches.size());
    std::ranges::copy(each.batches, producer.batches.begin());
    if (!is_sound(producer)) return malformed();
    state.undo_floor_ = std::max(state.undo_floor_, producer.last().base_offset.next());
  }
  return state;
}

bool ProducerState::is_sound(const Producer& producer) {
  if (producer.epoch < 0 || producer.count == 0 || producer.count > kRememberedBatches)
    return false;
  Offset previous(-1);
  for (std::uint8_t i = 0; i < producer.count; ++i) {
    const Remembered& batch = producer.batches[i];
    const bool ascends = batch.base_offset > previous && batch.base_offset.value() < INT64_MAX;
    if (batch.base_sequence < 0 || batch.last_sequence < 0 || !ascends) return false;
    previous = batch.base_offset;
  }
  return true;
}

void ProducerState::check_invariants() const {
  SENTINEL_ASSERT(producers_.size() <= kProducersMax);
  SENTINEL_ASSERT(undo_.size() <= kUndoMax + kProducersForgotten);
  SENTINEL_ASSERT(std::ranges::is_sorted(undo_, std::ranges::less(), &Undo::base_offset));
  SENTINEL_ASSERT(undo_.empty() || undo_.front().base_offset >= undo_floor_);
  for (const auto& [id, producer] : producers_) {  // lint: order does not matter
    SENTINEL_ASSERT(id >= 0 && is_sound(producer), "producer {}", id);
  }
}

}  // namespace sentinel::consensus
