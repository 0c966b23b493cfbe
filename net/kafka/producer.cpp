#include "net/kafka/producer.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/crc32c.h"

namespace sentinel::net::kafka {

namespace layout = consensus::batch_layout;

namespace {
constexpr std::int16_t kAcksAll = -1;
// Sequences count records and start again at 0 behind the largest.
constexpr std::uint32_t kSequenceMask = 0x7fffffff;
}  // namespace

core::Task<core::Result<std::unique_ptr<Producer>>> Producer::open(Client& client,
                                                                   std::string topic,
                                                                   ProducerOptions options) {
  const core::Deadline deadline = client.shard().deadline_in(client.options().request_timeout);
  SENTINEL_CO_TRY(identity, co_await client.init_producer_id(deadline));
  co_return std::unique_ptr<Producer>(new Producer(client, std::move(topic), options, identity));
}

Producer::Producer(Client& client, std::string topic, ProducerOptions options,
                   consensus::ProducerIdentity identity)
    : client_(client),
      topic_(std::move(topic)),
      options_(options),
      identity_(identity),
      scope_(client.shard()) {}

Producer::~Producer() = default;

core::Task<void> Producer::close() { co_await scope_.close(); }

Producer::PartitionQueue& Producer::queue_of(std::int32_t partition) {
  auto& queue = queues_[partition];
  if (queue == nullptr) {
    queue = std::make_unique<PartitionQueue>(client_.shard(), partition);
    scope_.spawn(drive(queue.get()));
  }
  return *queue;
}

core::Task<core::Result<Produced>> Producer::send(std::int32_t partition, core::Bytes batch) {
  if (failure_) co_return std::unexpected(*failure_);
  SENTINEL_ASSERT(batch.size() >= consensus::kBatchHeaderBytes);
  PartitionQueue& queue = queue_of(partition);
  stamp(batch, queue);
  Entry entry(client_.shard(), std::move(batch),
              client_.shard().deadline_in(options_.delivery_timeout));
  queue.entries.push_back(&entry);
  queue.changed.notify_all();
  while (!entry.result) co_await entry.done.wait();
  co_return std::move(*entry.result);
}

/// Writes the producer's identity and the batch's place in its sequence into the header.
void Producer::stamp(const core::Bytes& batch, PartitionQueue& queue) const {
  std::byte* header = batch.stamp();
  core::store_be(header + layout::producer_id, identity_.id);
  core::store_be(header + layout::producer_epoch, identity_.epoch);
  core::store_be(header + layout::base_sequence, queue.next_sequence);
  const core::ByteSpan covered = batch.view().subspan(layout::attributes);
  core::store_be(header + layout::crc, core::crc32c(covered));
  const auto count = core::load_be<std::uint32_t>(header + layout::record_count);
  queue.next_sequence = static_cast<std::int32_t>(
      (static_cast<std::uint32_t>(queue.next_sequence) + count) & kSequenceMask);
}

core::Task<void> Producer::drive(PartitionQueue* queue) {
  const core::CancelToken token = scope_.token();
  while (!token.cancelled()) {
    if (queue->in_flight == 0 && queue->fatal) fail_all(*queue);
    if (queue->in_flight == 0 && queue->must_repeat) {
      co_await prepare_repetition(queue);
      continue;
    }
    // The leader is looked up before anything leaves, so that the first batches can't overtake each
    // other while it is asked for.
    if (!queue->entries.empty() && queue->in_flight == 0) {
      auto leader = co_await client_.leader(topic_, queue->partition);
      if (!leader) {
        queue->must_repeat = leader.error().retriable;
        (leader.error().retriable ? queue->last_failure : queue->fatal) =
            std::move(leader.error().error);
        continue;
      }
    }
    send_what_fits(queue);
    const bool settled_at_once = queue->in_flight == 0 && (queue->must_repeat || queue->fatal);
    if (!settled_at_once) co_await queue->changed.wait({}, token);
  }
}

core::Task<void> Producer::prepare_repetition(PartitionQueue* queue) {
  client_.forget(topic_);
  const bool late =
      !queue->entries.empty() && queue->entries.front()->deadline.passed(client_.shard().now());
  if (late) {
    queue->fatal = queue->last_failure;
    co_return;
  }
  const bool again = co_await client_.pause(queue->repetitions++, core::Deadline::never());
  if (!again) queue->fatal = core::Error{core::Errc::closed, "the client was closed"};
  queue->sent = 0;
  queue->must_repeat = false;
}

void Producer::send_what_fits(PartitionQueue* queue) {
  // A broker that has not seen this producer takes any sequence for its first: until it has
  // answered one batch, only one may be on its way.
  const std::size_t window = queue->confirmed ? options_.in_flight_max : 1;
  while (!queue->must_repeat && !queue->fatal && queue->sent < queue->entries.size() &&
         queue->in_flight < window) {
    Entry* entry = queue->entries[queue->sent];
    ++queue->sent;
    ++queue->in_flight;
    scope_.spawn(attempt(queue, entry));
  }
}

core::Task<void> Producer::attempt(PartitionQueue* queue, Entry* entry) {
  auto result =
      co_await client_.produce_once(topic_, queue->partition, core::Chain(entry->batch), kAcksAll);
  --queue->in_flight;
  settle(*queue, *entry, std::move(result));
  queue->changed.notify_all();
}

void Producer::settle(PartitionQueue& queue, Entry& entry, CallResult<Produced> result) {
  // Stored by an earlier attempt, so long ago that the broker has forgotten where.
  const bool duplicate = !result && result.error().code == ErrorCode::duplicate_sequence_number;
  if (result || duplicate) {
    queue.confirmed = true;
    queue.repetitions = 0;
    resolve(queue, entry, result ? *result : Produced{});
    return;
  }
  CallFailure failure = std::move(result).error();
  // Behind a batch that failed, the next ones arrive out of order.
  const bool behind_failed =
      failure.code == ErrorCode::out_of_order_sequence_number && queue.entries.front() != &entry;
  if (failure.retriable || behind_failed) {
    queue.must_repeat = true;
    if (!behind_failed) queue.last_failure = std::move(failure.error);
  } else {
    if (!queue.fatal) queue.fatal = std::move(failure.error);
  }
}

void Producer::fail_all(PartitionQueue& queue) {
  failure_ = *queue.fatal;
  while (!queue.entries.empty()) resolve(queue, *queue.entries.front(), std::unexpected(*failure_));
  queue.sent = 0;
  queue.must_repeat = false;
  queue.fatal.reset();
}

void Producer::resolve(PartitionQueue& queue, Entry& entry, core::Result<Produced> result) {
  const auto found = std::ranges::find(queue.entries, &entry);
  SENTINEL_ASSERT(found != queue.entries.end());
  if (found - queue.entries.begin() < static_cast<std::ptrdiff_t>(queue.sent)) --queue.sent;
  queue.entries.erase(found);
  entry.result.emplace(std::move(result));
  entry.done.notify_all();
}

}  // namespace sentinel::net::kafka
