#include "consensus/partition.h"

#include <fmt/format.h>

#include <algorithm>

namespace sentinel::consensus {

namespace {

// What opening a partition has to read again at most to know its producers.
constexpr std::uint32_t kEntriesPerSnapshot = 2048;
constexpr std::uint64_t kBytesPerSnapshotMin = std::uint64_t{4} << 20;
constexpr std::uint64_t kBytesPerSnapshotMax = std::uint64_t{32} << 20;
// A snapshot comes after so many times its own size: it is not to be much of what is written.
constexpr std::uint64_t kBytesPerSnapshotByte = 64;
constexpr lsm::ReadOptions kRecoveryReads{.read_ahead_bytes = std::size_t{256} << 10};
// Smaller batches are gathered into one buffer, so that a read of many of them is not a list of a
// thousand slices.
constexpr std::size_t kGatherBelowBytes = 4096;
constexpr std::size_t kGatherBufferBytes = std::size_t{64} << 10;
// What one read of the device brings at most.
constexpr std::uint64_t kReadAheadBytesMax = std::uint64_t{1} << 20;
// So many readers of one partition are known to read on.
constexpr std::size_t kReadersKnown = 8;
// Memory for so many windows of each stream lets what was read and not taken stay until the stream
// comes to it; for so many, also what comes behind it.
constexpr std::size_t kWindowsToKeep = 2;
constexpr std::size_t kWindowsToLookFar = 4;
// One part in so many of what was asked for may be missing.
constexpr std::uint64_t kNearlyFull = 8;
// A long read lets others run after so many batches.
constexpr std::size_t kBatchesPerYield = 256;

/// Puts small batches together and passes large ones on as they are.
class BatchGatherer {
 public:
  explicit BatchGatherer(core::Chain& out) : out_(out) {}
  BatchGatherer(const BatchGatherer&) = delete;
  BatchGatherer& operator=(const BatchGatherer&) = delete;

  void add(const lsm::Cursor& cursor) {
    const core::ByteSpan value = cursor.value();
    if (value.size() >= kGatherBelowBytes) {
      flush();
      out_.append(cursor.value_bytes());
      return;
    }
    if (used_ + value.size() > buffer_.capacity()) {
      flush();
      buffer_ = core::Buffer::allocate(kGatherBufferBytes);
      begin_ = used_ = 0;
    }
    std::memcpy(buffer_.data() + used_, value.data(), value.size());
    used_ += value.size();
  }

  /// Passes on what has been gathered. After the last add().
  void flush() {
    if (used_ > begin_) out_.append(buffer_.slice(begin_, used_ - begin_));
    begin_ = used_;
  }

 private:
  core::Chain& out_;
  core::Buffer buffer_;
  std::size_t begin_ = 0;
  std::size_t used_ = 0;
};

/// A record from far ahead would keep all that comes behind it from growing old.
Result<void> check_timestamps(const RecordBatchView& batch, const AppendOptions& options,
                              std::int64_t now_ms) {
  if (options.log_append_time) return {};
  const auto limit = std::numeric_limits<std::int64_t>::max();
  if (options.ahead_ms_max < limit - now_ms &&
      batch.max_timestamp() > now_ms + options.ahead_ms_max)
    return std::unexpected(Errc::invalid_timestamp);
  if (options.behind_ms_max == limit) return {};
  const auto smallest = smallest_timestamp(batch);
  if (!smallest) return std::unexpected(smallest.error());
  if (*smallest < now_ms - options.behind_ms_max) return std::unexpected(Errc::invalid_timestamp);
  return {};
}

}  // namespace

Partition::Partition(core::Shard& shard, lsm::Db& db, GroupId group, core::Log* log,
                     CommitObserver* observer)
    : shard_(shard),
      db_(db),
      log_(log),
      observer_(observer),
      read_errors_(std::chrono::seconds(1)),
      replica_(db, group, *this),
      committed_(shard) {}

Partition::~Partition() = default;

core::Task<core::Result<std::unique_ptr<Partition>>> Partition::open(core::Shard& shard,
                                                                     lsm::Db& db, GroupId group,
                                                                     core::Log* log,
                                                                     CommitObserver* observer) {
  std::unique_ptr<Partition> partition(new Partition(shard, db, group, log, observer));
  SENTINEL_CO_CHECK(co_await partition->recover());
  co_return partition;
}

/// The log says where it ends; the producers come from the last snapshot and the batches behind it.
core::Task<core::Status> Partition::recover() {
  SENTINEL_CO_CHECK(co_await replica_.open());
  log_end_ = high_watermark_ = replica_.last().end_offset;
  max_timestamp_ = replica_.last().max_timestamp;
  auto compacted = std::make_unique<CompactedLog>(shard_, db_, replica_, closed_);
  SENTINEL_CO_TRY(was_compacted, co_await compacted->open());
  if (was_compacted) compacted_ = std::move(compacted);
  SENTINEL_CO_TRY(snapshot, co_await replica_.snapshot());
  if (snapshot.index != LogIndex(0)) {
    SENTINEL_CO_TRY(producers, ProducerState::decode(snapshot.state));
    producers_ = std::move(producers);
  }
  snapshot_bytes_ = snapshot.state.size();
  const std::int64_t now_ms = shard_.ring().wall_now().time_since_epoch().count();
  lsm::Cursor cursor = replica_.entries(kRecoveryReads);
  SENTINEL_CO_CHECK(
      co_await cursor.seek(EntryTarget::index(replica_.group(), snapshot.index.next())));
  while (cursor.valid()) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.group != replica_.group()) break;
    if (key.type == EntryType::records) {
      auto batch = RecordBatchView::parse(cursor.value());
      if (!batch)
        co_return core::fail(core::Errc::corruption,
                             fmt::format("entry {} is no record batch", key.index));
      producers_.on_append(*batch, batch->base_offset(), now_ms);
      bytes_since_snapshot_ += cursor.value().size();
    }
    ++entries_since_snapshot_;
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  producers_.on_commit(high_watermark_);
  co_return core::Status();
}

core::Task<Result<Appended>> Partition::append(core::Bytes batch, AppendOptions options) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (!replica_.is_leader()) co_return std::unexpected(Errc::not_leader);
  if (!replica_.has_space()) co_return std::unexpected(Errc::disk_full);
  const auto valid = validate_for_produce(batch, {.batch_bytes_max = options.batch_bytes_max,
                                                  .produce_version = options.produce_version,
                                                  .keys_required = options.keys_required});
  if (!valid) co_return std::unexpected(valid.error());
  const RecordBatchView& view = *valid;
  const std::int64_t now_ms = shard_.ring().wall_now().time_since_epoch().count();
  if (const auto timely = check_timestamps(view, options, now_ms); !timely)
    co_return std::unexpected(timely.error());
  const ProducerCheck check = producers_.check(view);
  if (check.outcome == ProducerCheck::Outcome::out_of_order)
    co_return std::unexpected(Errc::out_of_order_sequence);
  if (check.outcome == ProducerCheck::Outcome::fenced)
    co_return std::unexpected(Errc::invalid_producer_epoch);
  if (check.outcome == ProducerCheck::Outcome::duplicate) {
    // The first copy may still be on its way to the disk; its answer holds for this one too.
    co_await until_committed(check.original_base_offset + view.record_count());
    co_return Appended{.base_offset = check.original_base_offset,
                       .log_append_time_ms = -1,
                       .log_start_offset = log_start()};
  }
  Appended appended{
      .base_offset = log_end_, .log_append_time_ms = -1, .log_start_offset = log_start()};
  stamp_base_offset(batch.stamp(), log_end_);
  stamp_leader_epoch(batch.stamp(), leader_epoch_of(replica_.term()));
  if (options.log_append_time) {
    stamp_log_append_time(batch.stamp(), batch.size(), now_ms);
    appended.log_append_time_ms = now_ms;
  }
  Proposal proposal{.type = EntryType::records,
                    .payload = batch,
                    .end_offset = log_end_ + view.record_count(),
                    .max_timestamp = std::max(max_timestamp_, view.max_timestamp()),
                    .snapshot = due_snapshot(batch.size(), now_ms)};
  producers_.on_append(view, log_end_, now_ms);
  log_end_ = proposal.end_offset;
  max_timestamp_ = proposal.max_timestamp;
  co_await replica_.propose(std::move(proposal));
  co_return appended;
}

/// The producers before the entry about to be appended, when it is time to store them again.
std::optional<core::Bytes> Partition::due_snapshot(std::size_t batch_bytes, std::int64_t now_ms) {
  ++entries_since_snapshot_;
  bytes_since_snapshot_ += batch_bytes;
  const std::uint64_t bytes_due = std::clamp(snapshot_bytes_ * kBytesPerSnapshotByte,
                                             kBytesPerSnapshotMin, kBytesPerSnapshotMax);
  if (entries_since_snapshot_ < kEntriesPerSnapshot && bytes_since_snapshot_ < bytes_due)
    return std::nullopt;
  entries_since_snapshot_ = 0;
  bytes_since_snapshot_ = 0;
  producers_.expire(now_ms);
  core::Bytes state = producers_.encode();
  snapshot_bytes_ = state.size();
  return state;
}

core::Task<void> Partition::until_committed(Offset end_offset) {
  while (high_watermark_ < end_offset) co_await committed_.wait();
}

void Partition::apply(const CommittedEntry& entry) {
  high_watermark_ = entry.key.end_offset;
  producers_.on_commit(high_watermark_);
  committed_bytes_ += entry.payload.size();
  committed_.notify_all();
  watches_.for_each([](PartitionWatch& watch) { watch.signal.notify_all(); });
  if (observer_ != nullptr) observer_->on_committed(*this);
}

void Partition::close_for_deletion() {
  closed_ = true;
  watches_.for_each([](PartitionWatch& watch) { watch.signal.notify_all(); });
}

std::unexpected<Errc> Partition::unreadable(const core::Error& error) {
  std::uint64_t suppressed = 0;
  if (log_ != nullptr && read_errors_.allow(shard_.now(), suppressed)) {
    log_->write(core::LogLevel::error, "cannot read group {}: {}", replica_.group(), error.message);
  }
  return std::unexpected(Errc::storage_error);
}

core::Task<Result<ReadResult>> Partition::read(ReadRequest request) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (request.offset < log_start() || request.offset > log_end_)
    co_return std::unexpected(Errc::offset_out_of_range);
  ReadResult result;
  result.committed_bytes = committed_bytes_;
  const Offset end = high_watermark_;
  if (request.offset >= end) co_return result;
  if (request.bytes_max == 0 && !request.first_batch_whole) {
    result.cut_short = true;
    co_return result;
  }
  const core::Status status = co_await read_batches(request, end, read_options(request), &result);
  if (!status) co_return unreadable(status.error());
  co_return result;
}

/// Adds committed batches below `end`, within the limits of the request.
core::Task<core::Status> Partition::read_batches(ReadRequest request, Offset end,
                                                 lsm::ReadOptions options, ReadResult* result) {
  lsm::Cursor cursor = replica_.entries(options);
  core::Status status = co_await cursor.seek(EntryTarget::offset(replica_.group(), request.offset));
  BatchGatherer gatherer(result->records);
  Offset read_end = request.offset;
  std::uint64_t bytes = 0;
  for (std::size_t count = 1; status && cursor.valid(); ++count) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.group != replica_.group() || key.end_offset > end) break;
    if (key.type == EntryType::records) {
      const std::uint64_t size = cursor.value().size();
      const bool forced = bytes == 0 && request.first_batch_whole;
      if (bytes + size > request.bytes_max && !forced) {
        result->cut_short = true;
        break;
      }
      gatherer.add(cursor);
      bytes += size;
    }
    read_end = key.end_offset;
    if (count % kBatchesPerYield == 0) co_await core::yield(shard_);
    if (cursor.try_next()) continue;
    // Nearly full: the rest is not worth a read of the disk.
    if (bytes > 0 && bytes >= request.bytes_max - request.bytes_max / kNearlyFull) {
      result->cut_short = true;
      break;
    }
    status = co_await cursor.load_next();
  }
  gatherer.flush();
  note_read_end(read_end);
  co_return status;
}

core::Task<void> Partition::look_ahead(ReadRequest request) {
  const bool in_log = request.offset >= log_start() && request.offset < high_watermark_;
  if (closed_ || !in_log || request.bytes_max == 0 || !replica_.may_look_ahead(1)) co_return;
  if (goes_on(request) && replica_.may_look_ahead(request.streams * kWindowsToLookFar))
    request.bytes_max += kReadAheadBytesMax;
  co_await replica_.look_ahead(EntryTarget::offset(replica_.group(), request.offset),
                               request.bytes_max);
}

/// Who goes on where another read ended, or begins where the log does, is likely to read all of it.
bool Partition::goes_on(const ReadRequest& request) const {
  return request.offset == log_start() ||
         std::ranges::find(read_ends_, request.offset) != read_ends_.end();
}

lsm::ReadOptions Partition::read_options(const ReadRequest& request) const {
  if (goes_on(request) && replica_.may_look_ahead(request.streams * kWindowsToKeep))
    return {.read_ahead_bytes = kReadAheadBytesMax, .keep_ahead = true};
  return {.read_ahead_bytes = std::min<std::uint64_t>(request.bytes_max, kReadAheadBytesMax),
          .wanted_bytes = request.bytes_max,
          .keep_ahead = true};
}

void Partition::note_read_end(Offset end) {
  if (read_ends_.size() < kReadersKnown) {
    read_ends_.push_back(end);
  } else {
    read_ends_[reads_ % kReadersKnown] = end;
  }
  ++reads_;
}

/// The last committed entry before the target that is still in the log.
core::Task<Result<std::optional<EntryKey>>> Partition::last_before(EntryTarget target) {
  lsm::Cursor cursor = replica_.entries();
  const core::Status status = co_await cursor.seek_to_last_before(target);
  if (!status) co_return unreadable(status.error());
  if (!cursor.valid()) co_return std::nullopt;
  const auto key = EntryKey::decode(cursor.key());
  if (!key) co_return unreadable(key.error());
  if (key->group != replica_.group() || key->index > replica_.commit_index())
    co_return std::nullopt;
  co_return *key;
}

Snapshot Partition::snapshot_now() const {
  return {.index = replica_.last().index, .state = producers_.encode()};
}

core::Task<Result<void>> Partition::give_up(const EntryKey& last, Offset start) {
  entries_since_snapshot_ = 0;
  bytes_since_snapshot_ = 0;
  if (compacted_ == nullptr) {
    co_await replica_.trim({.offset = start, .before = last}, snapshot_now());
    co_return Result<void>();
  }
  const core::Status trimmed =
      co_await compacted_->trim({.offset = start, .before = last}, snapshot_now());
  if (!trimmed) co_return unreadable(trimmed.error());
  co_return Result<void>();
}

core::Task<Result<Offset>> Partition::delete_records(Offset before) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (!replica_.is_leader()) co_return std::unexpected(Errc::not_leader);
  if (before == Offset(-1)) before = high_watermark_;
  if (before < Offset(0) || before > high_watermark_)
    co_return std::unexpected(Errc::offset_out_of_range);
  if (before <= log_start()) co_return log_start();
  // A batch that reaches beyond the offset stays whole.
  const auto last = co_await last_before(EntryTarget::offset(replica_.group(), before));
  if (!last) co_return std::unexpected(last.error());
  const auto given_up = co_await give_up(last->value_or(replica_.start().before), before);
  if (!given_up) co_return std::unexpected(given_up.error());
  co_return log_start();
}

core::Task<Result<void>> Partition::retain(RetentionLimits limits, std::int64_t now_ms) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  std::optional<EntryKey> last;
  if (limits.ms >= 0) {
    const auto old =
        co_await last_before(EntryTarget::timestamp(replica_.group(), now_ms - limits.ms));
    if (!old) co_return std::unexpected(old.error());
    // Records without timestamps have no age.
    if (old->has_value() && (*old)->max_timestamp >= 0) last = *old;
  }
  const auto bytes_kept = static_cast<std::uint64_t>(limits.bytes);
  if (limits.bytes >= 0 && size_bytes() > bytes_kept) {
    const auto too_much = co_await surplus(bytes_kept);
    if (!too_much) co_return std::unexpected(too_much.error());
    if (too_much->has_value() && (!last.has_value() || last->index < (*too_much)->index))
      last = *too_much;
  }
  if (last.has_value() && last->index > replica_.start().before.index)
    co_return co_await give_up(*last, last->end_offset);
  co_return Result<void>();
}

/// The last entry without which that many bytes are left.
core::Task<Result<std::optional<EntryKey>>> Partition::surplus(std::uint64_t bytes_kept) {
  if (compacted_ != nullptr && compacted_->removed_bytes() != 0) {
    const auto found = co_await compacted_->surplus(bytes_kept);
    if (!found) co_return unreadable(found.error());
    co_return *found;
  }
  const std::uint64_t end = replica_.last().end_bytes - bytes_kept;
  co_return co_await last_before(EntryTarget::bytes(replica_.group(), end));
}

std::uint64_t Partition::size_bytes() const {
  const std::int64_t removed = compacted_ == nullptr ? 0 : compacted_->removed_bytes();
  return replica_.size_bytes() - static_cast<std::uint64_t>(removed);
}

CompactedLog& Partition::compacted() {
  if (compacted_ == nullptr)
    compacted_ = std::make_unique<CompactedLog>(shard_, db_, replica_, closed_);
  return *compacted_;
}

core::Task<Result<std::optional<std::int64_t>>> Partition::clean(
    CleaningRules rules, std::optional<std::int64_t> now_ms) {
  for (;;) {
    if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
    const auto plan = co_await compacted().plan(rules, now_ms);
    if (!plan) co_return unreadable(plan.error());
    if (!plan->pass.has_value()) co_return plan->again_ms;
    // Batches that a pass takes away no longer tell of their producers.
    co_await replica_.store_snapshot(snapshot_now());
    const core::Status cleaned = co_await compacted().clean(*plan->pass);
    if (!cleaned) co_return unreadable(cleaned.error());
  }
}

core::Task<Result<std::optional<KeyedRecord>>> Partition::find_latest(core::Bytes key) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  auto found = co_await compacted().find(std::move(key));
  if (!found) co_return unreadable(found.error());
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  co_return std::move(*found);
}

core::Task<Result<std::optional<OffsetAndTimestamp>>> Partition::find_timestamp(
    std::int64_t timestamp_ms) {
  lsm::Cursor cursor = replica_.entries();
  core::Status status =
      co_await cursor.seek(EntryTarget::timestamp(replica_.group(), timestamp_ms));
  // The first entry at which the running maximum reaches the timestamp is the first with such a
  // record.
  while (status && cursor.valid()) {
    const auto key = EntryKey::decode(cursor.key());
    if (!key) co_return unreadable(key.error());
    if (key->group != replica_.group() || key->end_offset > high_watermark_) break;
    if (key->type == EntryType::records) {
      const auto found = consensus::find_timestamp(cursor.value(), timestamp_ms, log_start());
      if (!found) co_return std::unexpected(found.error());
      if (found->has_value())
        co_return OffsetAndTimestamp{(*found)->offset, (*found)->timestamp_ms};
    }
    status = co_await cursor.next();
  }
  if (!status) co_return unreadable(status.error());
  co_return std::nullopt;
}

core::Task<Result<std::optional<OffsetAndTimestamp>>> Partition::max_timestamp() {
  // The running maximum of the last committed entry is the largest of all; the first record that
  // reaches it is the one.
  lsm::Cursor cursor = replica_.entries();
  const core::Status status =
      co_await cursor.seek_to_last_before(EntryTarget::offset(replica_.group(), high_watermark_));
  if (!status) co_return unreadable(status.error());
  if (!cursor.valid() || high_watermark_ == Offset(0)) co_return std::nullopt;
  const auto key = EntryKey::decode(cursor.key());
  if (!key || key->group != replica_.group()) co_return std::nullopt;
  auto found = co_await find_timestamp(key->max_timestamp);
  if (!found || found->has_value()) co_return found;
  co_return co_await largest_left();
}

/// The record that made the running maximum was given up: looks at every batch that is left.
core::Task<Result<std::optional<OffsetAndTimestamp>>> Partition::largest_left() {
  lsm::Cursor cursor = replica_.entries();
  core::Status status = co_await cursor.seek(EntryTarget::offset(replica_.group(), log_start()));
  std::int64_t largest = -1;
  core::Bytes batch;
  for (std::size_t count = 1; status && cursor.valid(); ++count) {
    const auto key = EntryKey::decode(cursor.key());
    if (!key) co_return unreadable(key.error());
    if (key->end_offset > high_watermark_) break;
    const auto view = RecordBatchView::parse(cursor.value());
    if (key->type == EntryType::records && view && view->max_timestamp() > largest) {
      largest = view->max_timestamp();
      batch = cursor.value_bytes();
    }
    if (count % kBatchesPerYield == 0) co_await core::yield(shard_);
    status = co_await cursor.next();
  }
  if (!status) co_return unreadable(status.error());
  if (batch.empty()) co_return std::nullopt;
  const auto record = consensus::find_timestamp(batch, largest, log_start());
  if (!record) co_return std::unexpected(record.error());
  if (!record->has_value()) co_return std::nullopt;
  co_return OffsetAndTimestamp{(*record)->offset, (*record)->timestamp_ms};
}

core::Task<Result<std::optional<EpochEnd>>> Partition::end_of_epoch(Term term) {
  lsm::Cursor cursor = replica_.entries();
  const core::Status status =
      co_await cursor.seek_to_last_before(EntryTarget::after_term(replica_.group(), term));
  if (!status) co_return unreadable(status.error());
  if (term >= replica_.term()) co_return EpochEnd{replica_.term(), log_end_};
  if (!cursor.valid()) co_return std::nullopt;
  const auto key = EntryKey::decode(cursor.key());
  if (!key || key->group != replica_.group()) co_return std::nullopt;
  co_return EpochEnd{key->term, key->end_offset};
}

}  // namespace sentinel::consensus
