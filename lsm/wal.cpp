#include "lsm/wal.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/codec.h"

namespace sentinel::lsm {

namespace {

// An unthrottled prefill raises the p99 of commits from 0.2 to 9 ms (measured); in these steps it
// does not show.
constexpr std::size_t kPrefillStepBytes = std::size_t{1} << 20;
constexpr core::Duration kPrefillPause = std::chrono::milliseconds(20);
// One segment ahead is enough while recycled ones come back; the second covers the time that a
// first prefill takes.
constexpr std::size_t kReadyMax = 2;
// While there is no space for another segment.
constexpr core::Duration kSpaceRetry = std::chrono::seconds(1);
constexpr std::size_t kFreeMax = 4;

std::array<std::byte, kLogRecordHeaderBytes> record_header(const WriteBatch& batch) {
  std::array<std::byte, kLogRecordHeaderBytes> header;
  core::store_be(header.data(), static_cast<std::uint32_t>(batch.body_bytes()));
  header[4] = std::byte{kWalBatchRecord};
  return header;
}

}  // namespace

/// One append: its record, how much of it is encoded, and who waits.
struct Wal::Pending : core::ListHook<PendingTag> {
  Pending(core::Shard& waiter_shard, const WriteBatch& batch, Durability wanted)
      : shard(waiter_shard),
        durability(wanted),
        header(record_header(batch)),
        body(batch.pieces()),
        record_bytes(header.size() + batch.body_bytes()),
        first_sequence(batch.first_sequence()),
        last_sequence(batch.last_sequence()) {}

  /// Encodes on from where it stopped; true when the whole record is in.
  bool encode_into(BlockEncoder& encoder) {
    if (encoded < header.size()) {
      encoded += encoder.append(core::ByteSpan(header).subspan(encoded));
      if (encoded < header.size()) return false;
    }
    while (piece < body.size()) {
      const core::ByteSpan rest = body[piece].subspan(piece_done);
      const std::size_t taken = encoder.append(rest);
      encoded += taken;
      piece_done += taken;
      if (taken < rest.size()) return false;
      ++piece;
      piece_done = 0;
    }
    SENTINEL_ASSERT(encoded == record_bytes);
    return true;
  }

  void end() {
    ended = true;
    if (waiter) shard.make_ready(waiter);
  }

  bool await_ready() const { return false; }
  /// Through the run queue also when it has ended already: those that ended before it stand there.
  void await_suspend(std::coroutine_handle<> handle) {
    waiter = handle;
    if (ended) shard.make_ready(waiter);
  }
  void await_resume() const {}

  core::Shard& shard;
  const Durability durability;
  std::array<std::byte, kLogRecordHeaderBytes> header;
  std::vector<core::ByteSpan> body;
  std::size_t record_bytes = 0;
  std::size_t encoded = 0;
  std::size_t piece = 0;
  std::size_t piece_done = 0;
  SequenceNumber first_sequence;
  SequenceNumber last_sequence;
  std::coroutine_handle<> waiter;
  bool ended = false;
};

Wal::Fill::Fill(std::span<std::byte> memory, std::int32_t index)
    : encoder(memory), buffer_index(index) {}
Wal::Fill::~Fill() = default;

Wal::Wal(core::Shard& shard, WalOptions options, Manifest& manifest)
    : shard_(shard),
      options_(std::move(options)),
      manifest_(manifest),
      memory_(2 * options_.buffer_bytes),
      work_(shard),
      written_(shard),
      resumed_(shard),
      ready_changed_(shard),
      scope_(shard) {
  const iovec whole{memory_.data(), memory_.size()};
  const bool registered = shard.ring().register_buffers({&whole, 1});
  for (std::size_t i = 0; i < fills_.size(); ++i) {
    fills_[i] = std::make_unique<Fill>(
        memory_.part(i * options_.buffer_bytes, options_.buffer_bytes), registered ? 0 : -1);
  }
  fill_ = fills_[0].get();
  flight_ = fills_[1].get();
}

Wal::~Wal() = default;

core::Task<core::Result<std::unique_ptr<Wal>>> Wal::start(core::Shard& shard, WalOptions options,
                                                          Manifest& manifest,
                                                          std::vector<Segment> recovered,
                                                          SequenceNumber flushed) {
  std::unique_ptr<Wal> wal(new Wal(shard, std::move(options), manifest));
  core::Status status = co_await wal->sort_recovered(recovered, flushed);
  if (status) {
    auto prepared = co_await wal->prepare_one(wal->options_.first_segment_bytes);
    if (!prepared) status = std::unexpected(std::move(prepared).error());
  }
  if (status) status = co_await wal->prefill(wal->ready_.back().segment.number, false);
  if (!status) {
    co_await wal->close();
    co_return std::unexpected(std::move(status).error());
  }
  wal->scope_.spawn(wal->commit_loop());
  wal->scope_.spawn(wal->prepare_loop());
  co_return wal;
}

/// Keeps what holds unflushed entries. The rest is used again, or starting again and again would
/// fill the disk.
core::Task<core::Status> Wal::sort_recovered(const std::vector<Segment>& recovered,
                                             SequenceNumber flushed) {
  VersionEdit edit;
  for (const Segment& segment : recovered) {
    if (segment.last_sequence > flushed) {
      sealed_.push_back(segment);
    } else {
      edit.wals_removed.push_back(segment.number);
      free_.push_back(segment);
    }
  }
  if (free_.empty()) co_return core::Status();
  SENTINEL_CO_CHECK(co_await manifest_.apply(std::move(edit)));
  trim_free();
  co_return core::Status();
}

core::Task<void> Wal::append(const WriteBatch& batch, Durability durability) {
  SENTINEL_ASSERT(batch.fits() && !batch.empty() && !closing_);
  Pending pending(shard_, batch, durability);
  appended_ = pending.last_sequence;
  queue_.push_back(pending);
  encode_queued();
  work_.notify_one();
  co_await pending;
}

bool Wal::try_append(const WriteBatch& batch) {
  SENTINEL_ASSERT(batch.fits() && !batch.empty() && !closing_ && queue_.empty());
  const std::size_t record_bytes = kLogRecordHeaderBytes + batch.body_bytes();
  BlockEncoder& encoder = fill_->encoder;
  if (failed_ || !segment_open_ || record_bytes > encoder.room() || !fits_segment(record_bytes))
    return false;
  encoder.append(record_header(batch));
  batch.for_each_piece([&encoder](core::ByteSpan piece) { encoder.append(piece); });
  fill_->last_sequence = appended_ = batch.last_sequence();
  work_.notify_one();
  return true;
}

core::Task<void> Wal::sync() {
  const SequenceNumber wanted = appended_;
  while (durable_ < wanted) co_await written_.wait();
}

void Wal::encode_queued() {
  while (!queue_.empty()) {
    Pending& next = queue_.front();
    const bool starts = next.encoded == 0;
    if (starts && (!segment_open_ || !fits_segment(next.record_bytes))) {
      if (!begin_segment(next.first_sequence)) return;
      // The first segment may be too small for this record; then only its header is written.
      continue;
    }
    const bool whole = next.encode_into(fill_->encoder);
    if (!whole) return;
    queue_.pop_front();
    fill_->last_sequence = next.last_sequence;
    complete(next);
  }
}

/// A batch that is only queued is complete once it is encoded, unless one before it is not.
void Wal::complete(Pending& encoded) {
  const bool is_first = flight_->completes.empty() && fill_->completes.empty();
  if (encoded.durability == Durability::queued && is_first) {
    encoded.end();
  } else {
    fill_->completes.push_back(encoded);
  }
}

bool Wal::fits_segment(std::size_t record_bytes) const {
  const std::uint64_t blocks_used = planned_block_ + fill_->encoder.blocks();
  const std::uint64_t room =
      fill_->encoder.room_in_block() + (planned_blocks_max_ - blocks_used) * kLogBlockPayloadBytes;
  return record_bytes <= room;
}

/// Directs the buffer being filled to a new segment. Not possible while it holds blocks of the one
/// before.
bool Wal::begin_segment(SequenceNumber first_sequence) {
  if (!fill_->encoder.empty()) return false;
  const bool first = active_.number == FileNumber{} && flight_->encoder.empty();
  planned_block_ = 0;
  planned_blocks_max_ =
      (first ? options_.first_segment_bytes : options_.segment_bytes) / kLogBlockBytes;
  segment_open_ = true;
  fill_->opens_segment = true;
  const WalHeader header{
      .magic = kWalMagic, .store_id = options_.store_id, .first_sequence = first_sequence};
  core::ByteWriter body;
  core::encode_fields(body, header);
  core::ByteWriter record;
  record.u32(static_cast<std::uint32_t>(body.size()));
  record.u8(kWalHeaderRecord);
  record.bytes(body.view());
  fill_->encoder.append(record.view());
  return true;
}

core::Task<void> Wal::commit_loop() {
  for (;;) {
    while (fill_->encoder.empty()) {
      if (closing_) co_return;
      co_await work_.wait();
    }
    while (paused_ && !closing_ && !never_pauses_) co_await resumed_.wait();
    std::swap(fill_, flight_);
    planned_block_ += flight_->encoder.blocks();
    encode_queued();
    core::Status written = co_await write_flight();
    if (!written) {
      report(written.error());
      co_return;
    }
    durable_ = std::max(durable_, flight_->last_sequence);
    written_.notify_all();
    while (!flight_->completes.empty()) flight_->completes.pop_front().end();
    flight_->encoder.clear();
    flight_->opens_segment = false;
    // Encoding may have stopped because the buffer in flight belonged to another segment.
    encode_queued();
  }
}

core::Task<core::Status> Wal::write_flight() {
  if (flight_->opens_segment) {
    co_await take_next_segment();
    if (failed_) co_return core::fail(core::Errc::io_error, "no segment");
  }
  const core::ByteSpan bytes =
      flight_->encoder.finish(static_cast<std::uint32_t>(active_.number.value()), ++write_number_,
                              static_cast<std::uint32_t>(next_block_));
  const std::uint64_t offset = next_block_ * kLogBlockBytes;
  next_block_ += flight_->encoder.blocks();
  SENTINEL_ASSERT(next_block_ * kLogBlockBytes <= active_.size_bytes);
  if (flight_->last_sequence > active_.last_sequence)
    active_.last_sequence = flight_->last_sequence;
  ++writes_;
  written_bytes_ += bytes.size();
  SENTINEL_CO_CHECK(co_await active_file_.write(offset, bytes, flight_->buffer_index));
  if (!flight_->opens_segment) co_return core::Status();
  // Only now may the segment be said to hold something: an empty one is damage from here on.
  VersionEdit edit;
  edit.wals_started.push_back(active_.number);
  co_return co_await manifest_.apply(std::move(edit));
}

core::Task<void> Wal::take_next_segment() {
  // A write of zeros that is still in flight must not come in behind what is logged.
  while (!failed_ && (ready_.empty() || filling_ == ready_.front().segment.number)) {
    if (closing_ && ready_.empty() && lacks_space_) {
      // Nobody makes another one any more, and who waits for this write must not wait for ever.
      report({core::Errc::no_space, fmt::format("{} has no space", options_.directory)});
      break;
    }
    co_await ready_changed_.wait();
  }
  if (failed_) co_return;
  Ready next = std::move(ready_.front());
  ready_.pop_front();
  if (active_file_.is_open()) {
    sealed_.push_back(active_);
    co_await active_file_.close();
  }
  active_ = next.segment;
  active_file_ = std::move(next.file);
  write_number_ = 0;
  next_block_ = 0;
  ready_changed_.notify_all();
}

core::Task<void> Wal::prepare_loop() {
  while (!closing_) {
    if (ready_.size() >= kReadyMax) {
      lacks_space_ = false;
      co_await ready_changed_.wait();
      continue;
    }
    auto recycled = co_await prepare_one(options_.segment_bytes);
    core::Status status;
    if (!recycled) {
      status = std::unexpected(std::move(recycled).error());
    } else if (!*recycled) {
      status = co_await prefill(ready_.back().segment.number, true);
    }
    lacks_space_ = !status && status.error().code == core::Errc::no_space;
    if (lacks_space_) {
      // A segment that is recycled needs no space; what others free on the disk is no event.
      co_await ready_changed_.wait(shard_.deadline_in(kSpaceRetry));
    } else if (!status) {
      report(status.error());
      co_return;
    }
  }
}

/// Makes one more segment ready: a recycled file under a new name, or a new file. Says whether it
/// is recycled, so that its space has been written before.
core::Task<core::Result<bool>> Wal::prepare_one(std::uint64_t size_bytes) {
  const Segment segment{
      .number = manifest_.new_file_number(), .size_bytes = size_bytes, .last_sequence = {}};
  const std::string name = path(segment.number);
  const auto reused = std::find_if(free_.begin(), free_.end(), [&](const Segment& candidate) {
    return candidate.size_bytes == size_bytes;
  });
  const bool recycles = reused != free_.end();
  if (recycles) {
    const FileNumber old_number = reused->number;
    free_.erase(reused);
    SENTINEL_CO_CHECK(co_await core::rename_file(shard_, path(old_number), name));
  }
  auto file = co_await open_segment_file(name, recycles ? 0 : core::open_flags::create);
  if (!file) co_return std::unexpected(std::move(file).error());
  core::Status status;
  if (!recycles) {
    status = co_await file->allocate(size_bytes);
    if (status) status = co_await file->sync_all();
  }
  if (status) status = co_await core::sync_directory(shard_, options_.directory);
  if (!status) {
    co_await file->close();
    // A start removes what the manifest does not name, but until then it would hold space.
    co_await core::unlink_file(shard_, name);
    co_return std::unexpected(std::move(status).error());
  }
  VersionEdit edit;
  edit.wals_added.push_back(
      {.number = segment.number, .size_bytes = segment.size_bytes, .started = false});
  status = co_await manifest_.apply(std::move(edit));
  if (!status) {
    // The edit may have reached the disk all the same, so the file stays.
    co_await file->close();
    co_return std::unexpected(std::move(status).error());
  }
  ready_.push_back(Ready{segment, std::move(*file)});
  ready_changed_.notify_all();
  co_return recycles;
}

/// Writes zeros to a ready segment until it is full or taken: writing to space that was never
/// written costs a commit 0.1 ms, waiting for the zeros would cost it more.
core::Task<core::Status> Wal::prefill(FileNumber number, bool paced) {
  core::AlignedMemory zeros(std::min<std::size_t>(kPrefillStepBytes, options_.segment_bytes));
  for (std::uint64_t offset = 0;; offset += zeros.size()) {
    const Ready* target = find_ready(number);
    if (target == nullptr || closing_ || offset >= target->segment.size_bytes) break;
    const std::size_t length =
        std::min<std::uint64_t>(zeros.size(), target->segment.size_bytes - offset);
    filling_ = number;
    core::Status written = co_await target->file.write(offset, zeros.part(0, length));
    filling_ = FileNumber{0};
    ready_changed_.notify_all();
    SENTINEL_CO_CHECK(std::move(written));
    if (paced) co_await core::sleep_for(shard_, kPrefillPause, scope_.token());
  }
  co_return core::Status();
}

const Wal::Ready* Wal::find_ready(FileNumber number) const {
  const auto found = std::ranges::find_if(
      ready_, [number](const Ready& each) { return each.segment.number == number; });
  return found == ready_.end() ? nullptr : &*found;
}

core::Task<core::Result<core::File>> Wal::open_segment_file(std::string name,
                                                            std::uint32_t extra_flags) {
  namespace open_flags = core::open_flags;
  auto file = co_await core::File::open_direct(
      shard_, std::move(name),
      open_flags::read | open_flags::write | open_flags::data_sync | extra_flags);
  if (file) direct_ = file->direct();
  co_return file;
}

void Wal::report(const core::Error& error) {
  failed_ = true;
  ready_changed_.notify_all();
  const bool full = error.code == core::Errc::no_space;
  shard_.fail(full ? core::ExitCode::disk_full : core::ExitCode::io_failed,
              full
                  ? fmt::format("{}; free some space and start again, nothing acknowledged is lost",
                                error.message)
                  : fmt::format("{}; nothing more is acknowledged", error.message));
}

void Wal::stop_pausing() {
  never_pauses_ = true;
  resumed_.notify_all();
}

void Wal::resume() {
  paused_ = false;
  resumed_.notify_all();
}

std::vector<FileNumber> Wal::obsolete(SequenceNumber flushed) const {
  std::vector<FileNumber> numbers;
  for (const Segment& segment : sealed_) {
    if (segment.last_sequence > flushed) break;
    numbers.push_back(segment.number);
  }
  return numbers;
}

void Wal::recycle(const std::vector<FileNumber>& numbers) {
  for (FileNumber number : numbers) {
    SENTINEL_ASSERT(!sealed_.empty() && sealed_.front().number == number);
    free_.push_back(sealed_.front());
    sealed_.pop_front();
  }
  ready_changed_.notify_all();
  trim_free();
}

void Wal::trim_free() {
  while (free_.size() > kFreeMax) {
    // Not named by the manifest any more: if the removal fails, the next start removes it.
    scope_.spawn([](core::Shard& shard, std::string name) -> core::Task<void> {
      co_await core::unlink_file(shard, std::move(name));
    }(shard_, path(free_.back().number)));
    free_.pop_back();
  }
}

core::Task<void> Wal::close() {
  closing_ = true;
  work_.notify_all();
  resumed_.notify_all();
  ready_changed_.notify_all();
  co_await scope_.close();
  co_await active_file_.close();
  while (!ready_.empty()) {
    co_await ready_.front().file.close();
    ready_.pop_front();
  }
}

}  // namespace sentinel::lsm
