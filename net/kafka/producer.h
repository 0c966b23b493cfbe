#pragma once
/// Sends record batches to one topic: several in flight for each partition, in order, each exactly
/// once.
///
/// The broker tells repeated batches from new ones by producer id, epoch and sequence (KIP-98),
/// which send() stamps into the batch. After a failure that may pass, the partition's batches in
/// flight are awaited and sent again from the first unanswered one. A failure that can't pass ends
/// the whole producer: what follows a refused batch would leave a gap in the sequence.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "consensus/record_batch.h"
#include "core/bytes.h"
#include "core/result.h"
#include "core/scope.h"
#include "core/sync.h"
#include "core/task.h"
#include "net/kafka/client.h"

namespace sentinel::net::kafka {

struct ProducerOptions {
  /// The broker remembers the last five batches of a producer: with more in flight a repetition
  /// could go unnoticed.
  std::size_t in_flight_max = 5;
  /// For one batch, repetitions included.
  core::Duration delivery_timeout = std::chrono::seconds(120);
};

class Producer {
 public:
  /// Asks for a producer id. `client` outlives the producer.
  static core::Task<core::Result<std::unique_ptr<Producer>>> open(Client& client, std::string topic,
                                                                  ProducerOptions options);
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  /// Sends one batch and resolves when it is committed. Batches of a partition are stored in the
  /// order in which their calls were started. `batch`: a whole record batch that nobody else reads
  /// yet; it is stamped. The caller bounds the number of calls.
  core::Task<core::Result<Produced>> send(std::int32_t partition, core::Bytes batch);

  /// Ends the producer. All calls of send() have been awaited before.
  core::Task<void> close();

 private:
  /// A batch that is not answered yet. Lives in the frame of send().
  struct Entry {
    Entry(core::Shard& shard, core::Bytes bytes, core::Deadline until)
        : batch(std::move(bytes)), deadline(until), done(shard) {}
    core::Bytes batch;
    core::Deadline deadline;
    core::Signal done;
    std::optional<core::Result<Produced>> result;
  };
  /// Invariant: the first `sent` entries have been sent since the last repetition; `in_flight` of
  /// them wait for an answer.
  struct PartitionQueue {
    PartitionQueue(core::Shard& shard, std::int32_t number) : partition(number), changed(shard) {}
    const std::int32_t partition;
    core::Signal changed;
    std::deque<Entry*> entries;
    std::size_t sent = 0;
    std::size_t in_flight = 0;
    std::int32_t next_sequence = 0;
    bool confirmed =
        false;  // The broker has answered a batch of this producer: it knows what comes next.
    bool must_repeat = false;
    int repetitions = 0;
    std::optional<core::Error> last_failure;
    std::optional<core::Error> fatal;
  };

  Producer(Client& client, std::string topic, ProducerOptions options,
           consensus::ProducerIdentity identity);

  PartitionQueue& queue_of(std::int32_t partition);
  void stamp(const core::Bytes& batch, PartitionQueue& queue) const;
  core::Task<void> drive(PartitionQueue* queue);
  core::Task<void> prepare_repetition(PartitionQueue* queue);
  void send_what_fits(PartitionQueue* queue);
  core::Task<void> attempt(PartitionQueue* queue, Entry* entry);
  void settle(PartitionQueue& queue, Entry& entry, CallResult<Produced> result);
  void fail_all(PartitionQueue& queue);
  static void resolve(PartitionQueue& queue, Entry& entry, core::Result<Produced> result);

  Client& client_;
  const std::string topic_;
  const ProducerOptions options_;
  const consensus::ProducerIdentity identity_;
  std::map<std::int32_t, std::unique_ptr<PartitionQueue>> queues_;
  std::optional<core::Error> failure_;
  core::TaskScope scope_;
};

}  // namespace sentinel::net::kafka
