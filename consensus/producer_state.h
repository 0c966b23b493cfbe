#pragma once
/// What a partition remembers of idempotent producers: the last batches of each, so that a batch
/// sent again is answered with the offset it got the first time and not appended twice.
///
/// Pure state, no I/O. It is updated when a batch is appended, not when it is committed, so that
/// the next batch in flight is checked against it; what a truncation of the log takes back it takes
/// back too. It is part of the partition's snapshots. Source: KIP-98 and KIP-360; Kafka's
/// ProducerStateManager for the rules.

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "consensus/record_batch.h"
#include "consensus/types.h"
#include "core/bytes.h"
#include "core/result.h"

namespace sentinel::consensus {

/// A client may have five requests in flight and retry any of them.
inline constexpr std::size_t kRememberedBatches = 5;
/// Kafka's producer.id.expiration.ms.
inline constexpr std::int64_t kProducerExpirationMs = 86'400'000;
/// Producers that a partition remembers. Beyond it those idle for longest are forgotten, a
/// sixteenth at a time: a flood of short-lived producers would else search all of them with each
/// batch.
inline constexpr std::size_t kProducersMax = 10'000;
inline constexpr std::size_t kProducersForgotten = kProducersMax / 16;
/// Appended batches whose effect can be taken back: of idempotent producers no more are in flight.
inline constexpr std::size_t kUndoMax = 4'096;

struct ProducerCheck {
  enum class Outcome : std::uint8_t {
    append,        ///< New: append it.
    joins,         ///< Of a producer that is not known, and not its first: append it, unless one
                   ///< before it may still come.
    duplicate,     ///< Had before at original_base_offset.
    out_of_order,  ///< A batch is missing in between.
    fenced,        ///< A newer epoch of this producer has been seen.
  };
  Outcome outcome = Outcome::append;
  Offset original_base_offset;
  [[nodiscard]] bool refuses() const {
    return outcome == Outcome::out_of_order || outcome == Outcome::fenced;
  }
};

class ProducerState {
 public:
  /// What is to be done with `batch`. A batch without a producer id is always appended.
  [[nodiscard]] ProducerCheck check(const RecordBatchView& batch) const;
  /// Remembers a batch that was appended at `base_offset`, at broker time `now_ms`: the timestamps
  /// in the batch are the client's, and may be years old.
  void on_append(const RecordBatchView& batch, Offset base_offset, std::int64_t now_ms);
  /// Whether one more batch can be appended that can be taken back together with all before it that
  /// are not committed.
  [[nodiscard]] bool has_room() const { return undo_.size() < kUndoMax; }
  /// Everything before `end` is committed and will not be truncated.
  void on_commit(Offset end);
  /// The log was truncated at `end`, behind all that is committed: takes back what was appended
  /// there, so that the state is that of the shorter log.
  void truncate_from(Offset end);
  /// Forgets producers whose last batch was appended longer ago than the expiration.
  void expire(std::int64_t now_ms);
  [[nodiscard]] bool knows(std::int64_t producer) const { return producers_.contains(producer); }
  [[nodiscard]] std::size_t producer_count() const { return producers_.size(); }
  /// The base offsets of all batches that are remembered, ascending.
  [[nodiscard]] std::vector<Offset> remembered() const;

  [[nodiscard]] core::Bytes encode() const;
  /// Errc::corruption for anything but what encode() makes, newer_format for a later version of it.
  static core::Result<ProducerState> decode(core::ByteSpan bytes);

  void check_invariants() const;

 private:
  struct Remembered {
    std::int32_t base_sequence = 0;
    std::int32_t last_sequence = 0;
    Offset base_offset;
    std::int64_t timestamp_ms = 0;
    static void fields(auto& self, auto& visit) {
      visit(self.base_sequence);
      visit(self.last_sequence);
      visit(self.base_offset);
      visit(self.timestamp_ms);
    }
  };
  struct Producer {
    std::int16_t epoch = 0;
    std::uint8_t count = 0;
    std::array<Remembered, kRememberedBatches> batches{};  // Oldest first.
    [[nodiscard]] const Remembered& last() const { return batches[count - 1u]; }
  };
  /// What append at `base_offset` changed: nothing in `before` for a producer that was not known.
  struct Undo {
    Offset base_offset;
    std::int64_t id = 0;
    std::optional<Producer> before;
  };
  struct Stored;
  struct StoredProducer;
  void forget_idlest(Offset cause);
  void remember_undo(std::int64_t id, Offset base_offset);
  [[nodiscard]] static bool is_sound(const Producer& producer);

  std::unordered_map<std::int64_t, Producer> producers_;
  std::vector<Undo> undo_;  // Ascending by offset.
  Offset undo_floor_;       // A truncation at or behind it can be followed with undo_.
};

}  // namespace sentinel::consensus
