#pragma once
/// The controller: decides on topics and producer ids, and is the only one who changes the
/// metadata.
///
/// Runs on the home shard of group 0. A decision is proposed to the group's log; applying the
/// committed command changes the image, and the answer is given once every shard has that image, so
/// that a client that was told "created" finds the topic wherever it asks.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "consensus/metadata.h"
#include "consensus/replica.h"
#include "core/random.h"
#include "core/scope.h"
#include "core/sync.h"

namespace sentinel::consensus {

struct NewTopic {
  std::string name;
  std::int32_t partition_count = 1;
  std::vector<ConfigEntry> configs;
};

class Controller final : public StateMachine {
 public:
  /// Hands a new image to every shard of this node; resolves when all have it.
  using Publish = std::function<core::Task<void>(std::shared_ptr<const MetadataImage>)>;

  /// References outlive the controller. Publishes the recovered image before it returns.
  static core::Task<core::Result<std::unique_ptr<Controller>>> open(core::Shard& shard, lsm::Db& db,
                                                                    Publish publish);
  ~Controller();

  /// Errc::topic_already_exists, invalid_topic (name), invalid_partitions (count, or too many in
  /// all).
  core::Task<Result<Topic>> create_topic(NewTopic topic);
  /// Only checks what create_topic() would answer now.
  [[nodiscard]] Result<void> check_new_topic(const NewTopic& topic) const;
  /// Errc::unknown_topic_or_partition.
  core::Task<Result<Topic>> delete_topic(core::Uuid id);
  /// An id that was never given out before, also across restarts.
  core::Task<Result<ProducerId>> new_producer_id();
  core::Task<void> close();

 private:
  Controller(core::Shard& shard, lsm::Db& db, Publish publish);
  void apply(const CommittedEntry& entry) override;
  core::Task<core::Status> recover();
  core::Task<void> propose(core::Bytes command);
  core::Task<void> published(std::uint64_t version);
  core::Task<void> publish_loop();

  core::Shard& shard_;
  Replica replica_;
  const Publish publish_;
  MetadataImage image_;
  std::uint64_t published_version_ = 0;
  EntryKey last_applied_;
  std::uint64_t entries_since_snapshot_ = 0;

  ProducerId next_producer_id_{0};  // Of the reserved block that is being given out.
  ProducerId reserved_end_{0};
  core::Semaphore reserving_;

  bool closing_ = false;
  core::Signal changed_;
  core::Signal published_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
