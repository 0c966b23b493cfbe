#include "net/kafka/consumer.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace sentinel::net::kafka {

using consensus::RecordBatchView;

core::Result<std::optional<consensus::Record>> RecordWalk::next() {
  for (;;) {
    if (!reader_) {
      SENTINEL_TRY(opened, open_next_batch());
      if (!opened) return std::nullopt;
    }
    auto record = reader_->next();
    if (!record) {
      return core::fail(
          core::Errc::corruption,
          fmt::format("partition {}: a record batch can't be decoded", fetched_.partition));
    }
    if (!record->has_value()) {
      reader_.reset();
      continue;
    }
    const std::int64_t offset = (*record)->offset.value();
    if (offset >= fetched_.begin && offset < fetched_.end) return std::move(*record);
  }
}

/// False behind the last batch.
core::Result<bool> RecordWalk::open_next_batch() {
  while (position_ < fetched_.batches.size()) {
    const auto batch = RecordBatchView::parse(fetched_.batches.view().subspan(position_));
    if (!batch) break;
    position_ += batch->bytes().size();
    if (batch->is_control() || batch->end_offset().value() <= fetched_.begin) continue;
    if (!batch->crc_matches()) {
      return core::fail(core::Errc::corruption,
                        fmt::format("partition {}: the checksum of the batch at offset {} is wrong",
                                    fetched_.partition, batch->base_offset().value()));
    }
    auto reader = consensus::RecordReader::open(*batch);
    if (!reader) {
      return core::fail(core::Errc::corruption,
                        fmt::format("partition {}: the batch at offset {} can't be decompressed",
                                    fetched_.partition, batch->base_offset().value()));
    }
    reader_.emplace(std::move(*reader));
    return true;
  }
  return false;
}

Consumer::Consumer(Client& client, std::string topic, std::vector<ConsumeRange> ranges,
                   ConsumerOptions options)
    : client_(client),
      topic_(std::move(topic)),
      options_(options),
      queue_(client.shard(), options.ahead_max),
      scope_(client.shard()) {
  for (const ConsumeRange& range : ranges) positions_.emplace_back().range = range;
  scope_.spawn(run());
}

Consumer::~Consumer() = default;

core::Task<void> Consumer::close() {
  queue_.close();
  co_await scope_.close();
}

core::Task<core::Result<std::optional<ConsumedBatches>>> Consumer::next(core::Deadline deadline) {
  auto taken = co_await queue_.pop(deadline, {});
  if (!taken) co_return std::nullopt;
  if (!*taken) co_return std::unexpected(std::move(*taken).error());
  co_return std::move(**taken);
}

bool Consumer::all_done() const { return std::ranges::all_of(positions_, &Position::done); }

core::Task<void> Consumer::run() {
  const core::CancelToken token = scope_.token();
  while (!token.cancelled() && !all_done()) {
    co_await read_round();
    if (!failure_) continue;
    client_.forget(topic_);
    bool again = failure_->retriable && !patience_.passed(client_.shard().now());
    if (again) again = co_await client_.pause(failed_rounds_, patience_);
    if (again) continue;
    core::Result<ConsumedBatches> end = std::unexpected(failure_->error);
    co_await queue_.push(std::move(end), {}, token);
    break;
  }
  queue_.close();
}

/// Reads until everything is read, or until something failed.
core::Task<void> Consumer::read_round() {
  failure_.reset();
  round_over_ = false;
  auto found = co_await find_leaders();
  if (!found) {
    note(std::move(found).error());
    co_return;
  }
  std::set<std::int32_t> leaders;
  for (const Position& position : positions_) {
    if (!position.done()) leaders.insert(position.leader);
  }
  core::TaskScope readers(client_.shard());
  for (const std::int32_t leader : leaders) readers.spawn(read_from(leader));
  co_await readers.join();
}

core::Task<CallResult<bool>> Consumer::find_leaders() {
  for (std::size_t i = 0; i < positions_.size(); ++i) {
    if (positions_[i].done()) continue;
    SENTINEL_CO_TRY(leader, co_await client_.leader(topic_, positions_[i].range.partition));
    positions_[i].leader = leader;
  }
  co_return true;
}

core::Task<void> Consumer::read_from(std::int32_t leader) {
  const core::CancelToken token = scope_.token();
  std::size_t first = 0;
  while (!token.cancelled() && !round_over_) {
    std::vector<FetchFrom> from;
    for (std::size_t i = 0; i < positions_.size(); ++i) {
      // Each request begins with another partition: the first ones of a response get its room.
      const Position& position = positions_[(first + i) % positions_.size()];
      if (position.leader == leader && !position.done())
        from.push_back({position.range.partition, position.range.begin});
    }
    if (from.empty()) co_return;
    ++first;
    auto fetched = co_await client_.fetch_once(leader, topic_, std::move(from), options_.limits);
    if (!fetched) {
      note(std::move(fetched).error());
      co_return;
    }
    for (FetchedPartition& part : *fetched) {
      const bool taken = co_await take(std::move(part));
      if (!taken) co_return;
    }
  }
}

/// Queues what was fetched of one partition. False when the round is over.
core::Task<bool> Consumer::take(FetchedPartition fetched) {
  const auto found = std::ranges::find(positions_, fetched.partition,
                                       [](const Position& each) { return each.range.partition; });
  if (found == positions_.end()) co_return true;
  if (fetched.error_code != ErrorCode::none) {
    note(failure_of(fetched.error_code, fmt::format("fetch of {}/{} from offset {}", topic_,
                                                    fetched.partition, found->range.begin)));
    co_return false;
  }
  if (fetched.batches.empty()) co_return true;
  ConsumedBatches consumed;
  consumed.partition = fetched.partition;
  consumed.begin = found->range.begin;
  consumed.end = found->range.end;
  auto whole = advance(*found, fetched.batches);
  if (!whole) {
    note(failure_of(std::move(whole).error()));
    co_return false;
  }
  failed_rounds_ = 0;
  consumed.batches = std::move(*whole);
  const core::CancelToken token = scope_.token();
  core::Result<ConsumedBatches> item = std::move(consumed);
  co_return co_await queue_.push(std::move(item), {}, token);
}

/// Moves the position behind the last whole batch and returns the whole ones: a broker may cut the
/// last.
core::Result<core::Bytes> Consumer::advance(Position& position, const core::Bytes& fetched) {
  std::size_t whole = 0;
  while (whole < fetched.size()) {
    const auto batch = RecordBatchView::parse(fetched.view().subspan(whole));
    if (!batch) break;
    whole += batch->bytes().size();
    position.range.begin = std::max(position.range.begin, batch->end_offset().value());
  }
  if (whole > 0) return fetched.slice(0, whole);
  return core::fail(core::Errc::corruption,
                    fmt::format("{}/{}: what the broker has at offset {} is no record batch",
                                topic_, position.range.partition, position.range.begin));
}

void Consumer::note(CallFailure failure) {
  round_over_ = true;
  if (failure_) return;
  if (failed_rounds_++ == 0) patience_ = client_.shard().deadline_in(options_.patience);
  failure_ = std::move(failure);
}

}  // namespace sentinel::net::kafka
