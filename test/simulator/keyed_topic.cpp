#include "test/simulator/keyed_topic.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "core/sync.h"
#include "net/kafka/consumer.h"

namespace sentinel::simulator {

using core::Task;
using net::kafka::Client;
using net::kafka::Producer;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view kName = "latest";
constexpr std::int32_t kPartitions = 2;
constexpr std::uint64_t kKeys = 12;
constexpr std::uint64_t kPauseMs = 600;

std::uint64_t number_in(core::ByteSpan bytes) {
  const std::string_view text = core::as_text(bytes);
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

Task<void> KeyedTopic::make(Client* client) {
  for (;;) {
    // Whatever can be cleaned is.
    auto created = co_await client->create_topic({.name = std::string(kName),
                                                  .partitions = kPartitions,
                                                  .replication_factor = 3,
                                                  .configs = {{"cleanup.policy", "compact"},
                                                              {"min.cleanable.dirty.ratio", "0"},
                                                              {"delete.retention.ms", "2000"}}},
                                                 client->shard().deadline_in(30s));
    if (created || created.error().code == core::Errc::already_exists) co_return;
    co_await core::sleep_for(client->shard(), 100ms);
  }
}

Task<void> KeyedTopic::write(Client* client, const bool* stopping) {
  core::Shard& shard = client->shard();
  while (!*stopping) {
    auto producer = co_await Producer::open(*client, std::string(kName), {.delivery_timeout = 25s});
    if (!producer) {
      co_await core::sleep_for(shard, 100ms);
      continue;
    }
    for (bool sent = true; sent && !*stopping;) {
      sent = co_await send_one(producer->get());
      co_await core::sleep_for(shard, std::chrono::milliseconds(random_.below(kPauseMs)));
    }
    co_await (*producer)->close();
  }
}

Task<bool> KeyedTopic::send_one(Producer* producer) {
  const std::uint64_t key = random_.below(kKeys);
  const bool deletes = random_.chance(0.2);
  const std::size_t number = written_.size();
  const auto partition = static_cast<std::int32_t>(key % kPartitions);
  written_.push_back({.key = key, .partition = partition, .deletes = deletes});
  const std::string name = fmt::format("key-{}", key);
  const std::string text = fmt::format("{} {}", number, std::string(random_.below(800), 'y'));
  // What deletes has no value; a header tells which record it is.
  const std::string id = fmt::format("{}", number);
  const std::vector<consensus::RecordHeader> headers = {{"number", core::as_bytes(id)}};
  consensus::RecordBatchBuilder builder;
  builder.add(1'700'000'000'000, core::as_bytes(name),
              deletes ? std::nullopt : std::optional(core::as_bytes(text)), headers);
  auto sent = co_await producer->send(partition, builder.finish());
  if (sent) written_[number].offset = sent->base_offset;
  co_return sent.has_value();
}

Task<bool> KeyedTopic::check(Client* client) {
  last_seen_.clear();
  for (std::int32_t partition = 0; partition < kPartitions; ++partition) {
    const bool fine = co_await read(client, partition);
    if (!fine) co_return false;
  }
  co_return check_keys();
}

Task<bool> KeyedTopic::read(Client* client, std::int32_t partition) {
  core::Shard& shard = client->shard();
  auto end = co_await client->list_offset(std::string(kName), partition, net::kafka::kLatestOffset,
                                          shard.deadline_in(60s));
  if (!end) co_return false;
  net::kafka::Consumer consumer(*client, std::string(kName),
                                {{.partition = partition, .begin = 0, .end = end->offset}}, {});
  bool fine = true;
  while (fine && !consumer.finished()) {
    auto batches = co_await consumer.next(shard.deadline_in(60s));
    if (batches && !batches->has_value()) continue;
    fine = batches.has_value();
    if (!fine) break;
    net::kafka::RecordWalk walk(std::move(**batches));
    for (auto record = walk.next(); fine; record = walk.next()) {
      fine = record.has_value();
      if (!fine || !record->has_value()) break;
      const auto& headers = (*record)->headers;
      fine = !headers.empty() && headers.front().value.has_value() &&
             note(partition, (*record)->offset.value(), number_in(*headers.front().value));
    }
  }
  co_await consumer.close();
  co_return fine;
}

/// A record was read.
bool KeyedTopic::note(std::int32_t partition, std::int64_t offset, std::uint64_t number) {
  if (number >= written_.size() || written_[number].partition != partition)
    return fail(fmt::format("record {} in partition {} was sent by nobody", number, partition));
  const Written& written = written_[number];
  if (written.offset >= 0 && written.offset != offset)
    return fail(fmt::format("record {} stands at {}/{}, and was acknowledged at {}", number,
                            partition, offset, written.offset));
  last_seen_[written.key] = number;
  return true;
}

/// For each key the last record that was acknowledged must be the last one there, but for those
/// that were not, which may have come late.
bool KeyedTopic::check_keys() {
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    std::optional<std::uint64_t> last;
    bool may_be_gone = true;
    for (std::uint64_t number = 0; number < written_.size(); ++number) {
      const Written& each = written_[number];
      if (each.key != key) continue;
      if (each.offset >= 0) {
        last = number;
        may_be_gone = each.deletes;
      } else {
        may_be_gone |= each.deletes;
      }
    }
    const auto seen = last_seen_.find(key);
    if (seen == last_seen_.end()) {
      if (!may_be_gone)
        return fail(fmt::format("key {} is gone, whose last record is {}", key, last.value_or(0)));
      continue;
    }
    const bool came_late = written_[seen->second].offset < 0;
    if (last.has_value() && !came_late && seen->second < *last)
      return fail(fmt::format("key {} ends with record {}, and {} was acknowledged behind it", key,
                              seen->second, *last));
  }
  return true;
}

bool KeyedTopic::fail(std::string what) {
  if (violation_.empty()) violation_ = std::move(what);
  return false;
}

}  // namespace sentinel::simulator
