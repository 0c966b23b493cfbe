#pragma once
/// Reads partitions of one topic as a stream of fetched record batches, ahead of whoever takes
/// them.
///
/// One task for each leader asks for all of its partitions in one request. When a leader moves or a
/// connection breaks, all tasks end their round and the partitions are shared out anew.

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "consensus/record_batch.h"
#include "core/bytes.h"
#include "core/result.h"
#include "core/scope.h"
#include "core/sync.h"
#include "core/task.h"
#include "net/kafka/client.h"

namespace sentinel::net::kafka {

inline constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();

/// Offsets [begin, end) of one partition.
struct ConsumeRange {
  std::int32_t partition = 0;
  std::int64_t begin = 0;
  std::int64_t end = kNoEnd;
};

/// Whole batches of one partition; records outside [begin, end) in them are not meant.
struct ConsumedBatches {
  std::int32_t partition = 0;
  std::int64_t begin = 0;
  std::int64_t end = kNoEnd;
  core::Bytes batches;
};

/// Walks the records of what was fetched: checks checksums, decompresses, skips control batches.
class RecordWalk {
 public:
  explicit RecordWalk(ConsumedBatches fetched) : fetched_(std::move(fetched)) {}
  /// The next record, nothing behind the last. Its views are valid until the next call.
  /// Errc::corruption names the partition.
  core::Result<std::optional<consensus::Record>> next();
  [[nodiscard]] std::int32_t partition() const { return fetched_.partition; }

 private:
  core::Result<bool> open_next_batch();

  ConsumedBatches fetched_;
  std::size_t position_ = 0;
  std::optional<consensus::RecordReader> reader_;
};

struct ConsumerOptions {
  FetchLimits limits = {};
  /// Answers that may wait to be taken.
  std::size_t ahead_max = 4;
  /// How long a failure that may pass is borne.
  core::Duration patience = std::chrono::seconds(60);
};

class Consumer {
 public:
  /// Starts reading. `client` outlives the consumer.
  Consumer(Client& client, std::string topic, std::vector<ConsumeRange> ranges,
           ConsumerOptions options);
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  /// The next batches; nothing when the deadline passed or, with finished(), when all ranges have
  /// been read.
  core::Task<core::Result<std::optional<ConsumedBatches>>> next(core::Deadline deadline);
  [[nodiscard]] bool finished() const { return queue_.closed() && queue_.size() == 0; }
  core::Task<void> close();

 private:
  struct Position {
    ConsumeRange range;  // `begin` moves.
    std::int32_t leader = -1;
    [[nodiscard]] bool done() const { return range.begin >= range.end; }
  };

  core::Task<void> run();
  core::Task<void> read_round();
  core::Task<CallResult<bool>> find_leaders();
  core::Task<void> read_from(std::int32_t leader);
  core::Task<bool> take(FetchedPartition fetched);
  core::Result<core::Bytes> advance(Position& position, const core::Bytes& fetched);
  void note(CallFailure failure);
  [[nodiscard]] bool all_done() const;

  Client& client_;
  const std::string topic_;
  const ConsumerOptions options_;
  std::vector<Position> positions_;
  core::Queue<core::Result<ConsumedBatches>> queue_;

  // Of the present round.
  bool round_over_ = false;
  std::optional<CallFailure> failure_;
  int failed_rounds_ = 0;
  core::Deadline patience_;

  core::TaskScope scope_;
};

}  // namespace sentinel::net::kafka
