#include "consensus/partition.h"

#include <fmt/format.h>

#include <algorithm>

#include "consensus/partition_command.h"

namespace sentinel::consensus {

namespace {

// What opening a partition has to read again at most to know its producers.
constexpr std::uint32_t kEntriesPerSnapshot = 2048;
constexpr std::uint64_t kBytesPerSnapshotMin = std::uint64_t{4} << 20;
constexpr std::uint64_t kBytesPerSnapshotMax = std::uint64_t{32} << 20;
// A snapshot comes after so many times its own size: it is not to be much of what is written.
constexpr std::uint64_t kBytesPerSnapshotByte = 64;
// Who leads learns from a majority that it does.
constexpr core::Duration kConfirmTime = std::chrono::seconds(2);
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

  void add(const LogCursor& cursor) {
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

Partition::Partition(core::Shard& shard, RaftHost& host, lsm::Db& db, GroupId group, core::Log* log,
                     CommitObserver* observer, core::Duration patience)
    : shard_(shard),
      db_(db),
      log_(log),
      observer_(observer),
      patience_(patience),
      read_errors_(std::chrono::seconds(1)),
      replica_(shard, host, db, group, *this),
      committed_(shard),
      trim_done_(shard),
      scope_(shard) {}

Partition::~Partition() = default;

core::Task<core::Result<std::unique_ptr<Partition>>> Partition::open(
    core::Shard& shard, RaftHost& host, lsm::Db& db, GroupId group, Configuration base,
    core::Log* log, CommitObserver* observer, core::Duration patience) {
  std::unique_ptr<Partition> partition(
      new Partition(shard, host, db, group, log, observer, patience));
  SENTINEL_CO_CHECK(co_await partition->recover(std::move(base)));
  partition->opened_ = true;
  partition->replica_.begin();
  if (!partition->trims_.empty() && !partition->trimming_) {
    partition->trimming_ = true;
    partition->scope_.spawn(partition->trim_loop());
  }
  co_return partition;
}

core::Task<void> Partition::close() {
  close_for_deletion();
  co_await replica_.close();
  co_await scope_.close();
}

/// The log says where it ends; the producers come from the last snapshot and the batches behind it.
core::Task<core::Status> Partition::recover(Configuration base) {
  SENTINEL_CO_CHECK(co_await replica_.open(std::move(base)));
  const EntryKey* committed = replica_.raft().log().key_at(replica_.commit_index());
  log_end_ = high_watermark_ = committed->end_offset;
  max_timestamp_ = committed_timestamp_ = committed->max_timestamp;
  trimmed_ = log_start();
  auto compacted = std::make_unique<CompactedLog>(shard_, db_, replica_, closed_);
  SENTINEL_CO_TRY(was_compacted, co_await compacted->open());
  if (was_compacted) compacted_ = std::move(compacted);
  co_return co_await replay_producers();
}

/// Makes the producers' state of the last snapshot and of what was committed behind it; carries out
/// again what an earlier life may not have finished.
core::Task<core::Status> Partition::replay_producers() {
  SENTINEL_CO_TRY(snapshot, co_await replica_.snapshot());
  if (snapshot.index != LogIndex(0)) {
    SENTINEL_CO_TRY(producers, ProducerState::decode(snapshot.state));
    producers_ = std::move(producers);
  }
  snapshot_bytes_ = snapshot.state.size();
  producers_index_ = std::max(snapshot.index, replica_.start().before.index);
  LogCursor cursor = replica_.entries(kRecoveryReads);
  SENTINEL_CO_CHECK(
      co_await cursor.seek(EntryTarget::index(replica_.group(), producers_index_.next())));
  while (cursor.valid()) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.index > replica_.commit_index()) break;
    // What compaction by key leaves of a batch may be nothing.
    if (key.type == EntryType::records && !cursor.value().empty()) {
      if (!RecordBatchView::parse(cursor.value()))
        co_return core::fail(
            core::Errc::corruption,
            fmt::format("group {}: entry {} is no record batch", replica_.group(), key.index));
      note_records(key, cursor.value());
      bytes_since_snapshot_ += cursor.value().size();
    } else if (key.type == EntryType::command) {
      carry_out(cursor.value());
    }
    producers_index_ = key.index;
    ++entries_since_snapshot_;
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  producers_.on_commit(high_watermark_);
  co_return core::Status();
}

void Partition::note_records(const EntryKey& key, core::ByteSpan batch) {
  const auto view = RecordBatchView::parse(batch);
  SENTINEL_ASSERT(view.has_value(), "group {}: entry {} is no record batch", replica_.group(),
                  key.index);
  producers_.on_append(*view, view->base_offset(),
                       shard_.ring().wall_now().time_since_epoch().count());
}

core::Task<Result<Appended>> Partition::append(core::Bytes batch, AppendOptions options) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (!is_leader()) co_return refuse(Errc::not_leader, batch);
  if (!replica_.has_space()) co_return refuse(Errc::disk_full, batch);
  if (const auto allowed = replica_.may_propose(); !allowed)
    co_return refuse(allowed.error(), batch);
  const auto valid = validate_for_produce(batch, {.batch_bytes_max = options.batch_bytes_max,
                                                  .produce_version = options.produce_version,
                                                  .keys_required = options.keys_required});
  if (!valid) co_return std::unexpected(valid.error());
  const RecordBatchView& view = *valid;
  const std::int64_t now_ms = shard_.ring().wall_now().time_since_epoch().count();
  if (const auto timely = check_timestamps(view, options, now_ms); !timely)
    co_return std::unexpected(timely.error());
  const ProducerCheck check = producers_.check(view);
  if (check.refuses()) co_return co_await refuse_sequence(batch, check.outcome);
  if (check.outcome == ProducerCheck::Outcome::joins && in_doubt(view))
    co_return refuse(Errc::not_leader, batch);
  if (check.outcome == ProducerCheck::Outcome::duplicate) {
    // The first copy may still be on its way to the disk; its answer holds for this one too.
    const auto committed =
        co_await until_committed(check.original_base_offset + view.record_count());
    if (!committed) co_return refuse(committed.error(), batch);
    co_return Appended{.base_offset = check.original_base_offset,
                       .log_append_time_ms = -1,
                       .log_start_offset = log_start()};
  }
  if (!producers_.has_room()) co_return refuse(Errc::overloaded, batch);
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
                    .max_timestamp = std::max(max_timestamp_, view.max_timestamp())};
  producers_.on_append(view, log_end_, now_ms);
  producers_index_ = replica_.last().index.next();
  log_end_ = proposal.end_offset;
  max_timestamp_ = proposal.max_timestamp;
  const auto committed = co_await replica_.propose(std::move(proposal));
  if (!committed) co_return refuse(committed.error(), batch);
  co_return appended;
}

/// Whether what comes before a batch may still come: it was sent with it, and refused a moment ago,
/// or is on its way to who led before.
bool Partition::in_doubt(const RecordBatchView& batch) const {
  const core::TimePoint since = shard_.now() - patience_;
  return leads_since_ > since || refused_.has_before(batch, since);
}

/// Told of an order that it has not broken, a client gives up, or begins a new epoch and sends once
/// more what stands in the log already. So whoever is in doubt says: send it again.
core::Task<std::unexpected<Errc>> Partition::refuse_sequence(core::Bytes batch,
                                                             ProducerCheck::Outcome outcome) {
  const RecordBatchView view = *RecordBatchView::parse(batch);
  const bool fenced = outcome == ProducerCheck::Outcome::fenced;
  if (!fenced && in_doubt(view)) co_return refuse(Errc::not_leader, batch);
  // It may stand in the log of another node, which leads without this one knowing.
  const auto confirmed = co_await confirm_leadership(shard_.deadline_in(kConfirmTime));
  if (!confirmed || closed_) co_return refuse(Errc::not_leader, batch);
  // Or has come meanwhile, to be taken or refused.
  const bool changed = producers_.check(view).outcome != outcome;
  if (changed || (!fenced && in_doubt(view))) co_return refuse(Errc::not_leader, batch);
  co_return std::unexpected(fenced ? Errc::invalid_producer_epoch : Errc::out_of_order_sequence);
}

std::unexpected<Errc> Partition::refuse(Errc error, core::ByteSpan batch) {
  if (const auto view = RecordBatchView::parse(batch)) refused_.note(*view, shard_.now());
  return std::unexpected(error);
}

core::Task<Result<void>> Partition::until_committed(Offset end_offset) {
  while (high_watermark_ < end_offset) {
    if (closed_ || !is_leader()) co_return std::unexpected(Errc::not_leader);
    co_await committed_.wait();
  }
  co_return Result<void>();
}

// Committed entries.

void Partition::apply(const CommittedEntry& entry) {
  const EntryKey& key = entry.key;
  high_watermark_ = key.end_offset;
  log_end_ = std::max(log_end_, high_watermark_);
  committed_timestamp_ = key.max_timestamp;
  max_timestamp_ = std::max(max_timestamp_, committed_timestamp_);
  // What this node has appended itself it knows already.
  if (key.index > producers_index_) {
    if (key.type == EntryType::records && !entry.payload.empty()) note_records(key, entry.payload);
    producers_index_ = key.index;
  }
  producers_.on_commit(high_watermark_);
  if (key.type == EntryType::command) carry_out(entry.payload);
  committed_bytes_ += entry.payload.size();
  note_for_snapshot(entry.payload.size());
  committed_.notify_all();
  wake_watchers();
  if (observer_ != nullptr) observer_->on_committed(*this);
}

/// Who begins to lead has applied all there is. Who ends takes back what may never be committed.
void Partition::on_leading(bool leads) {
  if (leads) {
    log_end_ = replica_.last().end_offset;
    max_timestamp_ = replica_.last().max_timestamp;
    if (replica_.has_earlier_terms()) leads_since_ = shard_.now();
  } else {
    log_end_ = high_watermark_;
    max_timestamp_ = committed_timestamp_;
    if (producers_index_ > replica_.commit_index()) {
      producers_.truncate_from(high_watermark_);
      producers_index_ = replica_.commit_index();
    }
  }
  committed_.notify_all();
  wake_watchers();
}

core::Status Partition::restore(const Snapshot& snapshot, const LogStart& start) {
  SENTINEL_TRY(producers, ProducerState::decode(snapshot.state));
  producers_ = std::move(producers);
  producers_index_ = snapshot.index;
  log_end_ = high_watermark_ = start.before.end_offset;
  max_timestamp_ = committed_timestamp_ = start.before.max_timestamp;
  trimmed_ = start.offset;
  trims_.clear();
  if (compacted_ != nullptr) compacted_->begin_anew();
  trim_done_.notify_all();
  return {};
}

void Partition::wake_watchers() {
  watches_.for_each([](PartitionWatch& watch) { watch.signal.notify_all(); });
}

void Partition::close_for_deletion() {
  closed_ = true;
  committed_.notify_all();
  trim_done_.notify_all();
  wake_watchers();
}

std::unexpected<Errc> Partition::unreadable(const core::Error& error) {
  std::uint64_t suppressed = 0;
  if (log_ != nullptr && read_errors_.allow(shard_.now(), suppressed)) {
    log_->write(core::LogLevel::error, "cannot read group {}: {}", replica_.group(), error.message);
  }
  return std::unexpected(Errc::storage_error);
}

// Snapshots of the producers.

/// The producers without what is not committed: only who leads knows of such.
Snapshot Partition::committed_snapshot() const {
  if (!is_leader() || producers_index_ <= replica_.commit_index())
    return {.index = std::max(producers_index_, replica_.commit_index()),
            .state = producers_.encode()};
  ProducerState committed = producers_;
  committed.truncate_from(high_watermark_);
  return {.index = replica_.commit_index(), .state = committed.encode()};
}

/// Has the producers stored when enough has come since the last time.
void Partition::note_for_snapshot(std::size_t batch_bytes) {
  ++entries_since_snapshot_;
  bytes_since_snapshot_ += batch_bytes;
  const std::uint64_t bytes_due = std::clamp(snapshot_bytes_ * kBytesPerSnapshotByte,
                                             kBytesPerSnapshotMin, kBytesPerSnapshotMax);
  const bool due =
      entries_since_snapshot_ >= kEntriesPerSnapshot || bytes_since_snapshot_ >= bytes_due;
  // A trim stores one itself, and must not be passed by: it is found again behind the snapshot.
  if (!due || saving_ || trimming_ || closed_) return;
  saving_ = true;
  scope_.spawn(save_snapshot());
}

// Giving up what is old.

/// What it releases the index comes by (CompactedLog::index_chunk()).
void Partition::carry_out(core::ByteSpan bytes) {
  const auto command = PartitionCommand::decode(bytes);
  SENTINEL_ASSERT(command.has_value(), "group {}: a command of our own", replica_.group());
  const LogStart& start = command->start;
  if (start.offset > Offset(0) || start.before.index > LogIndex(0)) begin_trim(start);
}

/// It is said which entries go, so that all replicas' logs begin at the same one.
void Partition::begin_trim(const LogStart& start) {
  trims_.push_back(start);
  if (!opened_ || trimming_ || closed_) return;
  trimming_ = true;
  scope_.spawn(trim_loop());
}

core::Task<void> Partition::trim_loop() {
  while (!trims_.empty() && !closed_) {
    Snapshot snapshot = committed_snapshot();
    // All that there are: the snapshot lies behind them, and who starts again looks behind it.
    LogStart start = replica_.start();
    for (const LogStart& each : std::exchange(trims_, {})) {
      if (each.before.index > start.before.index) start.before = each.before;
      start.offset = std::max(start.offset, each.offset);
    }
    start.before.group = replica_.group();
    const LogStart& now = replica_.start();
    if (start.offset > now.offset || start.before.index > now.before.index) {
      core::Status trimmed;
      if (compacted_ == nullptr) {
        co_await replica_.trim(start, std::move(snapshot));
      } else {
        trimmed = co_await compacted_->trim(start, std::move(snapshot));
      }
      // Done by the next trim.
      if (!trimmed) unreadable(trimmed.error());
      entries_since_snapshot_ = 0;
      bytes_since_snapshot_ = 0;
      trimmed_ = std::max(trimmed_, log_start());
    }
    trim_done_.notify_all();
  }
  trimming_ = false;
  trim_done_.notify_all();
}

core::Task<void> Partition::save_snapshot() {
  producers_.expire(shard_.ring().wall_now().time_since_epoch().count());
  Snapshot snapshot = committed_snapshot();
  entries_since_snapshot_ = 0;
  bytes_since_snapshot_ = 0;
  snapshot_bytes_ = snapshot.state.size();
  co_await replica_.store_snapshot(std::move(snapshot));
  saving_ = false;
}

core::Task<Result<ReadResult>> Partition::read(ReadRequest request) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (!is_leader()) co_return std::unexpected(Errc::not_leader);
  if (request.offset > log_end_) {
    // The reader may have come so far at another node, which leads without this one knowing: it
    // would begin anew if it were told that there is no such offset.
    const auto confirmed = co_await confirm_leadership(shard_.deadline_in(kConfirmTime));
    if (!confirmed || closed_) co_return std::unexpected(Errc::not_leader);
  }
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
  LogCursor cursor = replica_.entries(options);
  core::Status status = co_await cursor.seek(EntryTarget::offset(replica_.group(), request.offset));
  BatchGatherer gatherer(result->records);
  Offset read_end = request.offset;
  std::uint64_t bytes = 0;
  for (std::size_t count = 1; status && cursor.valid(); ++count) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.group != replica_.group() || key.end_offset > end) break;
    // What compaction by key leaves of a batch may be its header, or nothing.
    if (key.type == EntryType::records && cursor.value().size() > kBatchHeaderBytes) {
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
    if (closed_) break;
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
  LogCursor cursor = replica_.entries();
  const core::Status status = co_await cursor.seek_to_last_before(target);
  if (!status) co_return unreadable(status.error());
  if (!cursor.valid()) co_return std::nullopt;
  const auto key = EntryKey::decode(cursor.key());
  if (!key) co_return unreadable(key.error());
  if (key->index > replica_.commit_index()) {
    // What is not committed may be replaced.
    const LogIndex end = replica_.commit_index().next();
    co_return co_await last_before(EntryTarget::index(replica_.group(), end));
  }
  co_return *key;
}

/// Proposes that the log begins behind `last`, at `start`, and waits until it does.
core::Task<Result<void>> Partition::give_up(const EntryKey& last, Offset start) {
  Proposal proposal{
      .type = EntryType::command,
      .payload = PartitionCommand{.start = {.offset = start, .before = last}}.encode(),
      .end_offset = log_end_,
      .max_timestamp = max_timestamp_};
  const auto proposed = co_await replica_.propose(std::move(proposal));
  if (!proposed) co_return std::unexpected(proposed.error());
  while (trimmed_ < start && trimming_ && !closed_) co_await trim_done_.wait();
  if (trimmed_ < start) co_return std::unexpected(Errc::storage_error);
  co_return Result<void>();
}

core::Task<Result<Offset>> Partition::delete_records(Offset before) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (!replica_.is_leader()) co_return std::unexpected(Errc::not_leader);
  if (before == Offset(-1)) before = high_watermark_;
  if (before > high_watermark_) {
    const auto confirmed = co_await confirm_leadership(shard_.deadline_in(kConfirmTime));
    if (!confirmed || closed_) co_return std::unexpected(Errc::not_leader);
  }
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
  if (!is_leader()) co_return Result<void>();  // What the leader gives up goes here too.
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
    const auto too_much = co_await surplus(bytes_kept, limits.compact);
    if (!too_much && !last.has_value()) co_return std::unexpected(too_much.error());
    if (too_much && too_much->has_value() &&
        (!last.has_value() || last->index < (*too_much)->index))
      last = *too_much;
  }
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  // A trim is an entry, too, and comes of age: for that alone there is none.
  if (last.has_value() && last->end_offset > replica_.start().before.end_offset)
    co_return co_await give_up(*last, last->end_offset);
  co_return Result<void>();
}

/// The last entry without which that many bytes are left.
core::Task<Result<std::optional<EntryKey>>> Partition::surplus(std::uint64_t bytes_kept,
                                                               bool compact) {
  // Also before the first pass here: what came may have been cleaned elsewhere.
  if (compact || compacted_ != nullptr) {
    const auto found = co_await compacted().surplus(bytes_kept);
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

/// Has all replicas let go of tombstones that have expired, once all have them.
core::Task<bool> Partition::release_tombstones(CompactedLog::Expired expired) {
  const auto all_have = replica_.raft().all_have();
  if (closed_ || !is_leader() || all_have.value_or(LogIndex(0)) < expired.last) co_return false;
  Proposal proposal{.type = EntryType::command,
                    .payload = PartitionCommand{.released = expired.before}.encode(),
                    .end_offset = log_end_,
                    .max_timestamp = max_timestamp_};
  const auto proposed = co_await replica_.propose(std::move(proposal));
  co_return proposed.has_value();
}

core::Task<Result<std::optional<std::int64_t>>> Partition::clean(
    CleaningRules rules, std::optional<std::int64_t> now_ms) {
  if (closed_) co_return std::unexpected(Errc::unknown_topic_or_partition);
  auto plan = co_await compacted().plan(rules, now_ms);
  if (plan && plan->expired.has_value()) {
    const bool released = co_await release_tombstones(*plan->expired);
    if (released) plan = co_await compacted().plan(rules, now_ms);
  }
  if (!plan) co_return unreadable(plan.error());
  if (!plan->pass.has_value()) co_return plan->again_ms;
  // Batches that a pass takes away no longer tell of their producers.
  while (trimming_ && !closed_) co_await trim_done_.wait();
  if (closed_) co_return std::unexpected(Errc::closed);
  Snapshot snapshot = committed_snapshot();
  if (snapshot.index < plan->pass->last) co_return now_ms;
  const auto producers = ProducerState::decode(snapshot.state);
  if (!producers) co_return unreadable(producers.error());
  CompactedLog::Pass pass = *plan->pass;
  pass.remembered = producers->remembered();
  co_await replica_.store_snapshot(std::move(snapshot));
  const core::Status cleaned = co_await compacted().clean(std::move(pass));
  if (!cleaned) co_return unreadable(cleaned.error());
  co_return now_ms;  // Others have their turn before the next pass.
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
  LogCursor cursor = replica_.entries();
  core::Status status =
      co_await cursor.seek(EntryTarget::timestamp(replica_.group(), timestamp_ms));
  // The first entry at which the running maximum reaches the timestamp is the first with such a
  // record.
  for (std::size_t count = 1; status && cursor.valid(); ++count) {
    const auto key = EntryKey::decode(cursor.key());
    if (!key) co_return unreadable(key.error());
    if (key->group != replica_.group() || key->end_offset > high_watermark_) break;
    if (count % kBatchesPerYield == 0) co_await core::yield(shard_);
    if (key->type == EntryType::records && cursor.value().size() > kBatchHeaderBytes) {
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
  LogCursor cursor = replica_.entries();
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
  LogCursor cursor = replica_.entries();
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
  LogCursor cursor = replica_.entries();
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
