#include "lsm/log_replay.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/codec.h"
#include "lsm/log_reader.h"

namespace sentinel::lsm {

LogReplay::LogReplay(core::Shard& shard, std::string directory, std::uint64_t store_id,
                     const FileSet& files)
    : shard_(shard),
      directory_(std::move(directory)),
      store_id_(store_id),
      files_(files),
      next_sequence_(files.flushed_sequence.next()) {}

core::Task<core::Status> LogReplay::run(std::function<void(WriteBatch)> apply) {
  apply_ = std::move(apply);
  std::vector<Used> used;
  for (const auto& [number, info] : files_.wals) {
    SENTINEL_CO_TRY(first, co_await first_sequence_of(info));
    if (first.has_value()) {
      used.push_back({info, *first});
    } else if (info.started) {
      co_return core::fail(
          core::Errc::corruption,
          fmt::format("{} is damaged at offset 0: what was written there is gone", path(number)));
    } else {
      segments_.push_back({.number = number, .size_bytes = info.size_bytes, .last_sequence = {}});
    }
  }
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (used[i].first > next_sequence_) {
      co_return core::fail(core::Errc::corruption,
                           fmt::format("{} starts with operation {}, but {} is missing",
                                       path(used[i].info.number), used[i].first, next_sequence_));
    }
    std::optional<SequenceNumber> next_first;
    if (i + 1 < used.size()) next_first = used[i + 1].first;
    SENTINEL_CO_CHECK(co_await replay_segment(used[i], next_first));
  }
  std::ranges::sort(segments_, {}, &Wal::Segment::number);
  co_return core::Status();
}

core::Task<core::Result<std::optional<SequenceNumber>>> LogReplay::first_sequence_of(
    const WalInfo& wal) {
  const std::string name = path(wal.number);
  auto file = co_await core::File::open(shard_, name, core::open_flags::read);
  if (!file) {
    co_return core::fail(core::Errc::corruption, fmt::format("{} is named by the manifest: {}",
                                                             name, file.error().message));
  }
  LogReader reader(*file, wal.number, wal.size_bytes);
  auto record = co_await reader.next();
  co_await file->close();
  if (!record) co_return std::unexpected(std::move(record).error());
  if (!record->has_value()) co_return std::nullopt;
  core::ByteReader start((*record)->body);
  const std::uint64_t magic = start.u64();
  const std::uint32_t version = start.u32();
  if (start.failed() || (*record)->type != kWalHeaderRecord || magic != kWalMagic) {
    co_return core::fail(core::Errc::corruption,
                         fmt::format("{} is damaged at offset 0: no log header", name));
  }
  SENTINEL_CO_CHECK(check_format(name, version));
  auto header = core::decode_fields<WalHeader>((*record)->body);
  if (!header || header->store_id != store_id_) {
    co_return core::fail(core::Errc::corruption, fmt::format("{} belongs to another store", name));
  }
  co_return header->first_sequence;
}

core::Task<core::Status> LogReplay::replay_segment(const Used& used,
                                                   std::optional<SequenceNumber> next_first) {
  auto file = co_await core::File::open(shard_, path(used.info.number),
                                        core::open_flags::read | core::open_flags::write);
  if (!file) co_return std::unexpected(std::move(file).error());
  Wal::Segment segment{
      .number = used.info.number, .size_bytes = used.info.size_bytes, .last_sequence = {}};
  core::Status status = co_await replay_records(*file, segment, next_first);
  // What was read may stand in the device's cache only; it is served from now on, so it must not
  // be lost any more.
  if (status && !next_first.has_value()) status = co_await file->sync_data();
  co_await file->close();
  segments_.push_back(segment);
  co_return status;
}

/// Up to the end, or to where an earlier recovery cut and went on in the next segment.
core::Task<core::Status> LogReplay::replay_records(const core::File& file, Wal::Segment& segment,
                                                   std::optional<SequenceNumber> next_first) {
  LogReader reader(file, segment.number, segment.size_bytes);
  for (bool header = true;; header = false) {
    SENTINEL_CO_TRY(record, co_await reader.next());
    if (!record.has_value()) break;
    if (header) continue;  // Read before.
    auto batch = WriteBatch::decode(record->body);
    if (!batch || record->type != kWalBatchRecord) {
      co_return core::fail(core::Errc::corruption,
                           fmt::format("{} is damaged: a malformed record", file.path()));
    }
    if (next_first.has_value() && batch->first_sequence() >= *next_first) break;
    segment.last_sequence = batch->first_sequence() + (batch->count() - 1);
    if (segment.last_sequence < next_sequence_) continue;  // In a table already.
    if (batch->first_sequence() != next_sequence_) {
      co_return core::fail(core::Errc::corruption,
                           fmt::format("{} is damaged: operation {} follows {}", file.path(),
                                       batch->first_sequence(), next_sequence_));
    }
    next_sequence_ = segment.last_sequence.next();
    apply_(std::move(*batch));
    ++batches_;
  }
  if (next_first.has_value() && next_sequence_ < *next_first) {
    co_return core::fail(
        core::Errc::corruption,
        fmt::format("{} is damaged at offset {}: operations {} to {} are missing", file.path(),
                    reader.end().offset, next_sequence_, next_first->value() - 1));
  }
  if (!next_first.has_value()) torn_bytes_ = reader.end().torn_bytes;
  co_return core::Status();
}

}  // namespace sentinel::lsm
