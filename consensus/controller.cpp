#include "consensus/controller.h"

#include <fmt/format.h>

namespace sentinel::consensus {

namespace {

// A restart loses at most this many ids of the 2^63 there are, and one commit serves as many
// producers.
constexpr std::uint32_t kProducerIdBlock = 1000;
// The log is replayed at each start; a snapshot bounds it.
constexpr std::uint64_t kEntriesPerSnapshot = 4096;

}  // namespace

Controller::Controller(core::Shard& shard, lsm::Db& db, Publish publish)
    : shard_(shard),
      replica_(db, kControllerGroup, *this),
      publish_(std::move(publish)),
      reserving_(shard, 1),
      changed_(shard),
      published_(shard),
      scope_(shard) {}

Controller::~Controller() = default;

core::Task<core::Result<std::unique_ptr<Controller>>> Controller::open(core::Shard& shard,
                                                                       lsm::Db& db,
                                                                       Publish publish) {
  std::unique_ptr<Controller> controller(new Controller(shard, db, std::move(publish)));
  SENTINEL_CO_CHECK(co_await controller->recover());
  co_await controller->publish_(std::make_shared<const MetadataImage>(controller->image_));
  controller->published_version_ = controller->image_.version();
  controller->scope_.spawn(controller->publish_loop());
  co_return controller;
}

core::Task<core::Status> Controller::recover() {
  SENTINEL_CO_CHECK(co_await replica_.open());
  SENTINEL_CO_TRY(snapshot, co_await replica_.snapshot());
  if (snapshot.index != LogIndex(0)) {
    SENTINEL_CO_TRY(image, MetadataImage::decode(snapshot.state));
    image_ = std::move(image);
  }
  lsm::Cursor cursor = replica_.entries();
  SENTINEL_CO_CHECK(
      co_await cursor.seek(EntryTarget::index(kControllerGroup, snapshot.index.next())));
  while (cursor.valid()) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    core::Status applied = image_.apply(cursor.value());
    if (!applied) {
      co_return core::fail(applied.error().code, fmt::format("metadata entry {}: {}", key.index,
                                                             applied.error().message));
    }
    ++entries_since_snapshot_;
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  // What was reserved before the restart may be in use.
  next_producer_id_ = reserved_end_ = image_.next_producer_id();
  co_return core::Status();
}

void Controller::apply(const CommittedEntry& entry) {
  const core::Status applied = image_.apply(entry.payload);
  SENTINEL_ASSERT(applied.has_value(), "a command of our own: {}", applied.error().message);
  ++entries_since_snapshot_;
  last_applied_ = entry.key;
  changed_.notify_all();
}

core::Task<void> Controller::propose(core::Bytes command) {
  Proposal proposal{
      .type = EntryType::command, .payload = std::move(command), .snapshot = std::nullopt};
  co_await replica_.propose(std::move(proposal));
}

/// Resolves when every shard has an image at least as new as `version`.
core::Task<void> Controller::published(std::uint64_t version) {
  while (published_version_ < version) co_await published_.wait();
}

core::Task<void> Controller::publish_loop() {
  for (;;) {
    while (published_version_ == image_.version()) {
      if (closing_) co_return;
      co_await changed_.wait();
    }
    // Commands that were applied meanwhile travel together.
    auto image = std::make_shared<const MetadataImage>(image_);
    const std::uint64_t version = image->version();
    co_await publish_(std::move(image));
    published_version_ = version;
    published_.notify_all();
    if (entries_since_snapshot_ >= kEntriesPerSnapshot) {
      entries_since_snapshot_ = 0;
      co_await replica_.trim({.offset = last_applied_.end_offset, .before = last_applied_},
                             {.index = last_applied_.index, .state = image_.encode()});
    }
  }
}

Result<void> Controller::check_new_topic(const NewTopic& topic) const {
  if (!is_legal_topic_name(topic.name)) return std::unexpected(Errc::invalid_topic);
  if (image_.find(topic.name) != nullptr) return std::unexpected(Errc::topic_already_exists);
  if (topic.partition_count < 1 || topic.partition_count > kPartitionsPerTopicMax) {
    return std::unexpected(Errc::invalid_partitions);
  }
  if (image_.partition_count() + static_cast<std::size_t>(topic.partition_count) > kPartitionsMax) {
    return std::unexpected(Errc::invalid_partitions);
  }
  return {};
}

core::Task<Result<Topic>> Controller::create_topic(NewTopic topic) {
  const Result<void> allowed = check_new_topic(topic);
  if (!allowed) co_return std::unexpected(allowed.error());
  CreateTopicCommand command;
  command.topic = {.name = topic.name,
                   .id = core::Uuid::make(shard_.random()),
                   .first_group = GroupId(0),
                   .partition_count = topic.partition_count,
                   .configs = std::move(topic.configs)};
  co_await propose(encode_command(CommandType::create_topic, command));
  // Two requests may have asked for one name; the log decides who made it.
  const Topic* created = image_.find(command.topic.id);
  if (created == nullptr) co_return std::unexpected(Errc::topic_already_exists);
  Topic result = *created;
  co_await published(image_.version());
  co_return result;
}

core::Task<Result<Topic>> Controller::delete_topic(core::Uuid id) {
  const Topic* found = image_.find(id);
  if (found == nullptr) co_return std::unexpected(Errc::unknown_topic_or_partition);
  Topic deleted = *found;
  co_await propose(encode_command(CommandType::delete_topic, DeleteTopicCommand{id}));
  co_await published(image_.version());
  co_return deleted;
}

core::Task<Result<ProducerId>> Controller::new_producer_id() {
  co_await reserving_.acquire(1);
  if (next_producer_id_ == reserved_end_) {
    co_await propose(encode_command(CommandType::reserve_producer_ids,
                                    ReserveProducerIdsCommand{kProducerIdBlock}));
    reserved_end_ = image_.next_producer_id();
    next_producer_id_ =
        ProducerId(reserved_end_.value() - static_cast<std::int64_t>(kProducerIdBlock));
  }
  const ProducerId id = next_producer_id_;
  next_producer_id_ = next_producer_id_.next();
  reserving_.release(1);
  co_return id;
}

core::Task<void> Controller::close() {
  closing_ = true;
  changed_.notify_all();
  co_await scope_.close();
}

}  // namespace sentinel::consensus
