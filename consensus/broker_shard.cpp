#include "consensus/broker_shard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <set>

#include "consensus/topic_config.h"
#include "core/call.h"

namespace sentinel::consensus {

/// One partition in memory: closed, being opened, open, or being dropped.
struct BrokerShard::Use::Slot {
  explicit Slot(core::Shard& shard) : changed(shard) {}

  std::unique_ptr<Partition> partition;
  bool opening = false;
  bool failed = false;
  bool dropping = false;
  bool deleted = false;  // The topic, too.
  std::size_t waiting = 0;
  std::size_t uses = 0;
  core::Signal changed;
};

namespace {

/// All that a group has.
constexpr std::array kStateKinds{StateKind::snapshot,   StateKind::log_start, StateKind::cleaning,
                                 StateKind::hard_state, StateKind::members,   StateKind::terms,
                                 StateKind::left};

// Before the metadata are asked for again that could not be had.
constexpr core::Duration kCatchUpPause = std::chrono::milliseconds(200);

/// Of where a damaged store lies until the new one has everything.
std::string aside_prefix(std::uint32_t store) { return fmt::format("damaged-store-{}-", store); }

core::Task<core::Result<std::uint64_t>> bytes_in(core::Shard& shard, std::string directory) {
  std::uint64_t bytes = 0;
  SENTINEL_CO_TRY(names, co_await core::list_directory(shard, directory));
  for (const std::string& name : names) {
    SENTINEL_CO_TRY(stat, co_await core::stat_path(shard, fmt::format("{}/{}", directory, name)));
    bytes += stat.size_bytes;
  }
  co_return bytes;
}

core::Task<core::Status> remove_store(core::Shard& shard, std::string directory) {
  SENTINEL_CO_TRY(names, co_await core::list_directory(shard, directory));
  for (const std::string& name : names) {
    SENTINEL_CO_CHECK(co_await core::unlink_file(shard, fmt::format("{}/{}", directory, name)));
  }
  co_return co_await core::remove_directory(shard, directory);
}

/// What stands in the store of the groups [first, end), but for their states.
void discard_groups(lsm::Db& db, GroupId first, GroupId end) {
  db.discard(entries_begin(first), entries_begin(end));
  db.discard(index_begin(first), index_begin(end));
}

}  // namespace

BrokerShard::Use::Use(Slot& slot) : slot_(&slot) { ++slot.uses; }
BrokerShard::Use::~Use() {
  if (slot_ != nullptr && --slot_->uses == 0) slot_->changed.notify_all();
}
Partition* BrokerShard::Use::operator->() const { return slot_->partition.get(); }
Partition& BrokerShard::Use::operator*() const { return *slot_->partition; }

BrokerShard::BrokerShard(core::Shard& shard, const BrokerLayout& layout, std::uint32_t shard_count,
                         PeerTransport* transport)
    : shard_(shard),
      layout_(layout),
      shard_count_(shard_count),
      has_others_(transport != nullptr),
      cache_(shard, layout.cache_bytes),
      read_ahead_(shard, layout.read_ahead),
      raft_(
          shard, layout.raft, [this](GroupId group) { return self(group); }, transport, this),
      image_(std::make_shared<const MetadataImage>()),
      question_ended_(shard),
      keeper_(shard, raft_, keeper_rules()),
      retention_(shard, *this),
      cleaner_(shard, *this, layout.cleaning_gather),
      scope_(shard) {}

BrokerShard::~BrokerShard() = default;

core::Task<core::Result<std::unique_ptr<BrokerShard>>> BrokerShard::open(core::Shard& shard,
                                                                         const BrokerLayout& layout,
                                                                         std::uint32_t shard_count,
                                                                         PeerTransport* transport) {
  std::unique_ptr<BrokerShard> broker(new BrokerShard(shard, layout, shard_count, transport));
  for (std::uint32_t store = shard.id(); store < layout.identity.numbers.stores;
       store += shard_count) {
    core::Status opened = co_await broker->open_store(store);
    if (opened) continue;
    if (broker->has_others_ && !layout.create && opened.error().code == core::Errc::corruption) {
      broker->damaged_.push_back({store, std::move(opened).error().message});
      continue;
    }
    co_await broker->close();
    co_return std::unexpected(std::move(opened).error());
  }
  co_return broker;
}

core::Task<core::Status> BrokerShard::open_store(std::uint32_t store) {
  std::string directory = fmt::format("{}/store-{}", layout_.data_directory, store);
  const auto& to_make = layout_.identity.to_make;
  const bool anew = std::ranges::find(to_make, store) != to_make.end();
  if (anew) {
    SENTINEL_CO_CHECK(co_await set_aside(store, directory));
  }
  if (anew || layout_.create) {
    SENTINEL_CO_CHECK(co_await core::make_directory(shard_, directory));
    // Its name becomes durable with the identity that calls the stores ready.
  }
  SENTINEL_CO_TRY(db, co_await open_db(store, std::move(directory), anew || layout_.create));
  if (layout_.identity.numbers.number_of(store) != layout_.identity.numbers.disk)
    set_aside_.insert(store);
  const lsm::RecoveryReport& report = db->recovery();
  if (layout_.log != nullptr && (report.batches > 0 || report.torn_bytes > 0)) {
    layout_.log->write(core::LogLevel::info,
                       "store {}: replayed {} batches, cut {} bytes of an unacknowledged write",
                       store, report.batches, report.torn_bytes);
  }
  if (layout_.log != nullptr && !report.direct_io && store == 0) {
    layout_.log->write(
        core::LogLevel::info,
        "this file system refuses direct I/O; the log is written buffered and synced");
  }
  stores_.emplace(store, std::move(db));
  co_return core::Status();
}

core::Task<core::Result<std::unique_ptr<lsm::Db>>> BrokerShard::open_db(std::uint32_t store,
                                                                        std::string directory,
                                                                        bool create) {
  lsm::DbOptions options;
  options.directory = std::move(directory);
  options.store_id = layout_.identity.store_id(store);
  options.memtable_bytes = layout_.memtable_bytes;
  // The memtables of other stores need the same disk.
  options.disk_reserve_bytes += (layout_.identity.numbers.stores - 1) * layout_.memtable_bytes;
  options.cache = &cache_;
  options.read_ahead = &read_ahead_;
  options.runs.group_bytes = kGroupPrefixBytes;
  // Entries are searched, but records' keys and states are looked up.
  options.runs.filters_from = core::as_text(index_begin(GroupId(0)));
  options.log = layout_.log;
  options.wal = layout_.wal;
  options.on_damage = [this, store](const core::Error& error) { note_damage(store, error); };
  co_return co_await lsm::Db::open(shard_, std::move(options), create);
}

/// What is damaged is kept until others have made up for it. If it is aside already, what lies in
/// its place is half of the new store.
core::Task<core::Status> BrokerShard::set_aside(std::uint32_t store, std::string directory) {
  const std::string aside = fmt::format("{}/{}{}", layout_.data_directory, aside_prefix(store),
                                        layout_.identity.numbers.number_of(store));
  const auto is_aside = co_await core::stat_path(shard_, aside);
  if (is_aside) co_return core::Status();
  if (is_aside.error().code != core::Errc::not_found) co_return std::unexpected(is_aside.error());
  const auto stands = co_await core::stat_path(shard_, directory);
  if (!stands && stands.error().code == core::Errc::not_found) co_return core::Status();
  SENTINEL_CO_CHECK(co_await core::rename_file(shard_, directory, aside));
  SENTINEL_CO_CHECK(co_await core::sync_directory(shard_, layout_.data_directory));
  // The new one needs as much space. That others have it all is known since it has its number.
  SENTINEL_CO_TRY(needed, co_await bytes_in(shard_, aside));
  SENTINEL_CO_TRY(free, co_await core::free_space(shard_, layout_.data_directory));
  if (free > needed + needed / 4) co_return core::Status();
  if (layout_.log != nullptr) {
    layout_.log->write(core::LogLevel::warn,
                       "there is no space for {} beside the new store: it is removed", aside);
  }
  co_return co_await remove_store(shard_, aside);
}

/// Others have made up for what was damaged: it is of no use any more.
void BrokerShard::remove_aside() {
  if (!caught_up_) return;
  std::erase_if(set_aside_, [this](std::uint32_t store) {
    if (!is_made_up_for(store)) return false;
    scope_.spawn(remove_aside_of(store));
    return true;
  });
}

bool BrokerShard::is_made_up_for(std::uint32_t store) const {
  return std::ranges::none_of(image_->topics(), [&](const auto& each) {
    const Topic& topic = each.second;
    return std::ranges::any_of(topic.moves, [&](const PartitionMove& move) {
      return layout_.identity.numbers.store_of(topic.group(PartitionIndex(move.partition))) ==
             store;
    });
  });
}

/// Also what earlier lives have removed and a crash has brought back.
core::Task<void> BrokerShard::remove_aside_of(std::uint32_t store) {
  const auto names = co_await core::list_directory(shard_, layout_.data_directory);
  if (!names) co_return;  // Looked for again after the next start.
  for (const std::string& name : *names) {
    if (!name.starts_with(aside_prefix(store))) continue;
    const std::string directory = fmt::format("{}/{}", layout_.data_directory, name);
    const core::Status removed = co_await remove_store(shard_, directory);
    if (layout_.log == nullptr) continue;
    if (removed) {
      layout_.log->write(core::LogLevel::info, "store {} has everything again; {} is removed",
                         store, directory);
    } else {
      layout_.log->write(core::LogLevel::warn, "store {} has everything again; remove {}: {}",
                         store, directory, removed.error().message);
    }
  }
}

void BrokerShard::note_damage(std::uint32_t store, const core::Error& error) {
  if (on_damage) on_damage({store, error.message});
}

core::Task<core::Status> BrokerShard::start(std::vector<BrokerShard*> peers) {
  peers_ = std::move(peers);
  if (shard_.id() != 0) co_return core::Status();
  auto controller = co_await Controller::open(
      shard_, raft_, store_of(kControllerGroup), layout_.controllers,
      [this](std::shared_ptr<const MetadataImage> image) { return publish(std::move(image)); },
      [this](NodeId node) { return is_alive(node); });
  if (!controller) co_return std::unexpected(std::move(controller).error());
  controller_ = std::move(*controller);
  co_return core::Status();
}

core::Task<void> BrokerShard::publish(std::shared_ptr<const MetadataImage> image) {
  for (BrokerShard* peer : peers_) {
    co_await core::call(shard_, peer->shard_, &BrokerShard::install_image, peer, image);
  }
}

core::Task<bool> BrokerShard::install_image(BrokerShard* self,
                                            std::shared_ptr<const MetadataImage> image) {
  const std::shared_ptr<const MetadataImage> old = std::exchange(self->image_, std::move(image));
  const bool first = !std::exchange(self->has_image_, true);
  for (const auto& [name, topic] : old->topics()) {
    if (self->image_->find(topic.id) == nullptr) self->drop_partitions_of(topic);
  }
  std::vector<GroupId> replicated;
  for (const auto& [name, topic] : self->image_->topics()) {
    const Topic* before = old->find(topic.id);
    const std::int32_t known = before == nullptr ? 0 : before->partition_count;
    for (std::int32_t i = known; i < topic.partition_count; ++i) {
      const GroupId group = topic.group(PartitionIndex(i));
      if (!self->is_home_of(group) || !self->is_placed_here(group)) continue;
      self->add_partition(topic, group, !first);
      if (topic.replicas_of(group).size() > 1) replicated.push_back(group);
    }
  }
  if (!replicated.empty()) self->scope_.spawn(self->open_replicated(std::move(replicated)));
  if (self->on_image) self->on_image(*self->image_);
  if (first) {
    self->retention_.start();
    self->cleaner_.start();
    self->keeper_.start();
  } else {
    self->note_placement(*old);
  }
  self->remove_aside();
  self->keeper_.look_at_all();
  // Topics may have come and gone between two images, and an earlier life may have had them.
  const auto deleted = self->image_->deleted_groups();
  const bool passed_by = !deleted.empty() && deleted.back().second > old->next_group();
  if (first || passed_by) self->scope_.spawn(self->give_up_again());
  co_return true;
}

void BrokerShard::add_partition(const Topic& topic, GroupId group, bool is_new) {
  retention_.add(group, retention_limits(topic), is_new);
  cleaner_.add(group, cleaning_rules(topic), is_new);
}

void BrokerShard::on_committed(const Partition& partition) {
  retention_.on_committed(partition);
  cleaner_.on_committed(partition);
}

bool BrokerShard::is_home_of(GroupId group) const {
  return stores_.contains(layout_.identity.numbers.store_of(group));
}

/// A store forgets what was discarded when it is closed, and a crash may have come between a
/// deletion and its consequences.
core::Task<void> BrokerShard::give_up_again() {
  for (const auto& [number, store] : stores_) {
    const core::Status done = co_await give_up_again_in(*store);
    if (!done && layout_.log != nullptr)
      layout_.log->write(core::LogLevel::error, "store {}: {}", number, done.error().message);
  }
}

core::Task<core::Status> BrokerShard::give_up_again_in(lsm::Db& db) {
  for (const auto& [first, end] : image_->deleted_groups()) discard_groups(db, first, end);
  lsm::WriteBatch removals;
  lsm::Cursor cursor = db.cursor(states_begin());
  SENTINEL_CO_CHECK(co_await cursor.seek(lsm::KeyTarget(states_begin())));
  while (cursor.valid()) {
    SENTINEL_CO_TRY(key, StateKey::decode(cursor.key()));
    if (image_->is_deleted(key.group)) {
      removals.remove(cursor.key());
    } else if (key.kind == StateKind::log_start) {
      SENTINEL_CO_TRY(start, LogStart::decode(cursor.value()));
      Replica::discard_before(db, key.group, start);
    }
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  if (!removals.empty()) co_await db.write(std::move(removals));
  co_return core::Status();
}

void BrokerShard::drop_partitions_of(const Topic& topic) {
  for (std::int32_t i = 0; i < topic.partition_count; ++i) {
    const GroupId group = topic.group(PartitionIndex(i));
    if (!is_home_of(group)) continue;
    retention_.remove(group);
    cleaner_.remove(group);
    scope_.spawn(drop_partition(group));
  }
}

core::Task<void> BrokerShard::drop_partition(GroupId group) {
  if (const auto found = slots_.find(group); found != slots_.end()) {
    Slot& slot = *found->second;
    slot.deleted = true;
    if (std::exchange(slot.dropping, true)) co_return;  // Who is at it erases the rest.
    co_await close_slot(&slot);
    slots_.erase(group);
  }
  co_await erase_partition(group);
}

core::Task<void> BrokerShard::erase_partition(GroupId group) {
  lsm::Db& db = store_of(group);
  discard_groups(db, group, GroupId(group.value() + 1));
  lsm::WriteBatch states;
  for (const StateKind kind : kStateKinds) states.remove(state_key(group, kind));
  co_await db.write(std::move(states));
}

core::Task<Result<std::optional<EntryKey>>> BrokerShard::oldest_batch(GroupId group) {
  if (!is_home_of(group)) co_return std::unexpected(Errc::storage_error);
  lsm::Db& db = store_of(group);
  auto ranges = co_await Replica::stored_ranges(db, group);
  if (!ranges) co_return std::unexpected(Errc::storage_error);
  const Offset start = (*ranges)->start.end_offset;
  LogCursor cursor(db, std::move(*ranges));
  const core::Status sought = co_await cursor.seek(EntryTarget::offset(group, start));
  if (!sought) co_return std::unexpected(Errc::storage_error);
  if (!cursor.valid()) co_return std::nullopt;
  const auto key = EntryKey::decode(cursor.key());
  if (!key) co_return std::unexpected(Errc::storage_error);
  co_return *key;
}

core::Task<Result<BrokerShard::Use>> BrokerShard::partition(GroupId group) {
  auto found = slots_.find(group);
  if (found == slots_.end() && !image_->has_group(group))
    co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (found == slots_.end() && !is_placed_here(group)) co_return std::unexpected(Errc::not_leader);
  if (!is_home_of(group)) co_return std::unexpected(Errc::storage_error);  // It is damaged.
  if (found == slots_.end()) found = slots_.emplace(group, std::make_unique<Slot>(shard_)).first;
  Slot& slot = *found->second;
  if (slot.dropping) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (slot.partition != nullptr && slot.waiting == 0) co_return Use(slot);
  // Whoever comes while others wait for the opening queues behind them.
  ++slot.waiting;
  if (slot.partition == nullptr && !slot.opening) {
    slot.opening = true;
    slot.failed = false;
    scope_.spawn(open_partition(&slot, group));
  }
  do {
    co_await slot.changed.wait();
  } while (slot.partition == nullptr && !slot.failed && !slot.dropping);
  --slot.waiting;
  slot.changed.notify_all();
  if (slot.dropping) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (slot.partition == nullptr) co_return std::unexpected(Errc::storage_error);
  co_return Use(slot);
}

void BrokerShard::look_ahead(GroupId group, ReadRequest request) {
  const auto found = slots_.find(group);
  if (scope_.cancelled() || found == slots_.end()) return;
  Slot& slot = *found->second;
  if (slot.partition != nullptr && !slot.dropping) scope_.spawn(look_ahead_in(Use(slot), request));
}

core::Task<void> BrokerShard::look_ahead_in(Use partition, ReadRequest request) {
  co_await partition->look_ahead(request);
}

Configuration BrokerShard::base_of(GroupId group) const {
  Configuration base;
  std::vector<MemberId> first = image_->first_replicas_of(group);
  // Who has come later learns from the others who takes part.
  if (std::ranges::find(first, self(group)) == first.end()) return base;
  base.voters = std::move(first);
  std::ranges::sort(base.voters);
  return base;
}

bool BrokerShard::is_placed_here(GroupId group) const {
  const Topic* topic = image_->topic_of(group);
  return topic != nullptr && topic->is_placed_on(group, self(group));
}

/// Partitions that have come here, or have gone.
void BrokerShard::note_placement(const MetadataImage& before) {
  std::vector<GroupId> came;
  for (const auto& [name, topic] : image_->topics()) {
    const Topic* old = before.find(topic.id);
    if (old == nullptr || (old->replicas == topic.replicas && old->moves == topic.moves)) continue;
    for (std::int32_t i = 0; i < old->partition_count; ++i) {
      const GroupId group = topic.group(PartitionIndex(i));
      if (!is_home_of(group)) continue;
      const bool was_here = old->is_placed_on(group, self(group));
      const bool is_here = topic.is_placed_on(group, self(group));
      if (is_here && !was_here) {
        add_partition(topic, group, false);
        came.push_back(group);
      }
      // Before that an older state of the metadata may be speaking, of an earlier stay.
      if (was_here && !is_here && caught_up_) scope_.spawn(release_partition(group));
    }
  }
  if (!came.empty()) scope_.spawn(open_replicated(std::move(came)));
}

core::Task<bool> BrokerShard::note_caught_up(BrokerShard* self) {
  if (!std::exchange(self->caught_up_, true)) {
    self->scope_.spawn(self->release_strays());
    for (const GroupId group : std::exchange(self->lost_entries_, {})) {
      if (group == kControllerGroup || self->image_->has_group(group))
        self->note_lost_entries(group);
    }
  }
  self->remove_aside();
  co_return true;
}

/// What an earlier life had here and is elsewhere now.
core::Task<void> BrokerShard::release_strays() {
  std::set<GroupId> strays;
  for (const auto& [number, store] : stores_) {
    lsm::Cursor cursor = store->cursor(states_begin());
    core::Status status = co_await cursor.seek(lsm::KeyTarget(states_begin()));
    while (status && cursor.valid()) {
      const auto key = StateKey::decode(cursor.key());
      if (key && key->group != kControllerGroup && image_->has_group(key->group) &&
          !is_placed_here(key->group))
        strays.insert(key->group);
      status = co_await cursor.next();
    }
  }
  for (const GroupId group : strays) {
    if (scope_.cancelled()) co_return;
    co_await release_partition(group);
  }
}

/// The partition is elsewhere now.
core::Task<void> BrokerShard::release_partition(GroupId group) {
  auto& made = slots_[group];
  if (made == nullptr) made = std::make_unique<Slot>(shard_);
  Slot& slot = *made;
  if (slot.dropping) co_return;  // On its way already.
  // Kept until nothing is left, so that nobody opens it meanwhile.
  slot.dropping = true;
  retention_.remove(group);
  cleaner_.remove(group);
  co_await close_slot(&slot);
  const bool goes = co_await may_erase(group, &slot);
  if (goes) {
    const core::Status erased = co_await Replica::erase(store_of(group), group, scope_.token());
    if (!erased && !scope_.cancelled() && layout_.log != nullptr)
      layout_.log->write(core::LogLevel::error, "cannot erase group {}: {}", group,
                         erased.error().message);
  }
  const bool deleted = slot.deleted;
  while (slot.waiting > 0) co_await slot.changed.wait();
  slots_.erase(group);
  if (deleted) {
    co_await erase_partition(group);
  } else if (is_placed_here(group)) {
    co_await partition(group);  // Back already.
  }
}

/// Waits until nobody uses the partition, and closes it.
core::Task<void> BrokerShard::close_slot(Slot* slot) {
  if (slot->partition != nullptr) slot->partition->close_for_deletion();
  slot->changed.notify_all();
  while (slot->uses > 0 || slot->waiting > 0 || slot->opening) co_await slot->changed.wait();
  if (slot->partition != nullptr) co_await slot->partition->close();
}

/// One question at a time for all groups. Who comes while it is under way waits for the next one:
/// the answer must be newer than the wish to know.
core::Task<bool> BrokerShard::bring_up_to_date() {
  if (!catch_up) co_return true;
  const std::uint64_t wanted = questions_begun_ + 1;
  while (questions_ended_ < wanted) {
    if (questions_begun_ > questions_ended_) {
      co_await question_ended_.wait();
      continue;
    }
    ++questions_begun_;
    last_answer_ = co_await catch_up();
    ++questions_ended_;
    question_ended_.notify_all();
  }
  co_return last_answer_;
}

/// Whether a partition that the image has elsewhere may go. The image may be old: the partition may
/// have come back here, and what has been acknowledged since must stay. Now that it is closed,
/// nothing more is.
core::Task<bool> BrokerShard::may_erase(GroupId group, const Slot* slot) {
  while (!scope_.cancelled() && !slot->deleted && !is_placed_here(group)) {
    const bool sure = co_await bring_up_to_date();
    if (sure) co_return !slot->deleted && !is_placed_here(group);
    co_await core::sleep_for(shard_, kCatchUpPause, scope_.token());
  }
  co_return false;
}

void BrokerShard::report_settled(core::Task<void> report) {
  // What is left out is said again.
  constexpr std::size_t kReportsMax = 8;
  if (reports_ >= kReportsMax || scope_.cancelled()) return;
  ++reports_;
  scope_.spawn(run_report(std::move(report)));
}

core::Task<void> BrokerShard::run_report(core::Task<void> report) {
  co_await std::move(report);
  --reports_;
}

std::optional<WantedMembers> BrokerShard::wanted_members(GroupId group) const {
  if (group == kControllerGroup)
    return controller_ == nullptr ? std::nullopt : controller_->wanted_members();
  const Topic* topic = image_->topic_of(group);
  if (topic == nullptr) return std::nullopt;
  const PartitionMove* move = topic->move_of(topic->partition_of(group));
  return WantedMembers{.voters = topic->replicas_of(group),
                       .learners = {},
                       .version = move == nullptr ? 0 : move->version};
}

MembershipKeeper::Rules BrokerShard::keeper_rules() {
  return {
      .wanted = [this](GroupId group) { return wanted_members(group); },
      .is_gone = [this](GroupId group, MemberId member) { return image_->is_gone(group, member); },
      .is_alive = [this](NodeId node) { return is_alive(node); },
      .bring_up_to_date = [this] { return bring_up_to_date(); },
      .settled =
          [this](GroupId group, std::uint64_t version) {
            if (on_settled) on_settled(group, version);
          },
      .unsettled =
          [this](GroupId group) {
            const Topic* topic = image_->topic_of(group);
            return topic != nullptr && topic->is_moving(group);
          }};
}

/// Partitions that other nodes have too take part from the start on: they may be needed for a vote.
core::Task<void> BrokerShard::open_replicated(std::vector<GroupId> groups) {
  for (const GroupId group : groups) {
    if (scope_.cancelled()) co_return;
    co_await partition(group);
  }
}

// Who leads.

void BrokerShard::on_role(const Replica& replica) {
  const Raft& raft = replica.raft();
  // That a group without others leads itself is known without being said.
  if (raft.is_alone() && raft.term() == kFirstTerm) return;
  if (replica.is_leader()) keeper_.look_at(replica.group());
  const auto leader = raft.leader();
  if (layout_.log != nullptr && layout_.log->enabled(core::LogLevel::debug)) {
    layout_.log->write(core::LogLevel::debug,
                       "group {}: term {}, leader {}{}, log up to {}, applied {}, {} voters",
                       replica.group(), raft.term(), node_of(leader.value_or(MemberId(0))),
                       replica.is_leader() ? " (this node)" : "", raft.log().last().index,
                       replica.commit_index(), raft.configuration().voters.size());
  }
  if (!leader.has_value() || (raft.is_leader() && !replica.is_leader())) return;
  leaders_news_.push_back(
      {.group = replica.group(),
       .term = raft.term(),
       .leader = node_of(*leader),
       .in_sync = replica.is_leader() ? raft_.in_sync(replica.group()) : std::vector<NodeId>()});
  if (std::exchange(telling_, true)) return;
  scope_.spawn(tell_leaders());
}

void BrokerShard::on_lost_entries(const Replica& replica) {
  const GroupId group = replica.group();
  // Whose topic has been deleted was erased, and is begun anew until that is known again: who then
  // goes by what it had acknowledged before speaks of what was not lost.
  if (!caught_up_) {
    lost_entries_.push_back(group);
  } else {
    note_lost_entries(group);
  }
}

void BrokerShard::note_lost_entries(GroupId group) {
  note_damage(layout_.identity.numbers.store_of(group),
              {core::Errc::corruption,
               fmt::format("group {} has acknowledged more than there is: the drive has lost what "
                           "it said it had written",
                           group)});
}

core::Task<void> BrokerShard::tell_leaders() {
  // What changes in one go travels together.
  co_await core::yield(shard_);
  while (!leaders_news_.empty() && !peers_.empty()) {
    std::vector<GroupLeader> news = std::exchange(leaders_news_, {});
    co_await core::call(shard_, peers_.front()->shard_, &BrokerShard::note_leaders, peers_.front(),
                        std::move(news));
  }
  telling_ = false;
}

core::Task<bool> BrokerShard::note_leaders(BrokerShard* self, std::vector<GroupLeader> news) {
  std::vector<GroupLeader> led;
  for (const GroupLeader& each : news) {
    if (self->leaders_.note(each) && each.leader == self->node()) led.push_back(each);
  }
  if (!led.empty() && self->on_led) self->on_led(led);
  co_return true;
}

GroupLeader BrokerShard::leader_of(GroupId group) const {
  GroupLeader known = leaders_.of(group);
  if (known.term != Term(0)) return known;
  const Topic* topic = image_->topic_of(group);
  const bool alone = group == kControllerGroup
                         ? layout_.controllers.voters == std::vector{self(group)}
                         : topic != nullptr && topic->replicas_of(group).size() == 1;
  if (!alone) return known;
  const MemberId only = group == kControllerGroup ? self(group) : topic->replicas_of(group).front();
  return {.group = group, .term = kFirstTerm, .leader = node_of(only), .in_sync = {node_of(only)}};
}

core::Task<BrokerShard::ClusterState> BrokerShard::describe_cluster(BrokerShard* self,
                                                                    std::vector<GroupId> groups) {
  ClusterState state;
  for (const GroupId group : groups) state.leaders.push_back(self->leader_of(group));
  for (const auto& [id, node] : self->image_->nodes()) {
    if (self->is_alive(id)) state.alive.push_back(id);
  }
  state.controller = self->leader_of(kControllerGroup).leader;
  co_return state;
}

core::Task<void> BrokerShard::hand_over(core::Deadline deadline) {
  while (raft_.hand_over() && !deadline.passed(shard_.now()))
    co_await core::sleep_for(shard_, MultiRaft::kTick / 10);
  raft_.give_up_waiting();
}

core::Task<Result<void>> BrokerShard::transfer_group(BrokerShard* self, GroupId group,
                                                     MemberId to) {
  Replica* replica = self->raft_.find(group);
  if (replica == nullptr || !replica->is_leader()) co_return std::unexpected(Errc::not_leader);
  if (to == self->self(group)) co_return Result<void>();
  if (!self->is_alive(node_of(to))) co_return std::unexpected(Errc::invalid_members);
  co_return replica->transfer_to(to);
}

bool BrokerShard::is_alive(NodeId node) const {
  return node == layout_.node() || raft_.hears(node);
}

core::Task<void> BrokerShard::open_partition(Slot* slot, GroupId group) {
  // The opener runs behind the caller's wait, also when nothing has to be read.
  co_await core::yield(shard_);
  auto opened = co_await Partition::open(shard_, raft_, store_of(group), group, base_of(group),
                                         layout_.log, this, layout_.sequence_patience);
  slot->opening = false;
  if (opened) {
    slot->partition = std::move(*opened);
    // A new group has its first leader at once.
    Replica& replica = slot->partition->replica();
    const Topic* topic = image_->topic_of(group);
    const bool is_new = replica.last().index == LogIndex(0) && replica.term() == kFirstTerm;
    if (is_new && topic != nullptr && topic->replicas_of(group).front() == self(group) &&
        !replica.raft().is_leader())
      replica.campaign();
  } else {
    slot->failed = true;
    if (layout_.log != nullptr) {
      layout_.log->write(core::LogLevel::error, "cannot open partition group {}: {}", group,
                         opened.error().message);
    }
    // What is not as it was left, although no checksum says so.
    if (opened.error().code == core::Errc::corruption)
      note_damage(layout_.identity.numbers.store_of(group), opened.error());
  }
  slot->changed.notify_all();
}

core::Task<bool> BrokerShard::wait_for_data(BrokerShard* self, std::uint64_t key,
                                            std::vector<Awaited> awaited,
                                            std::uint64_t missing_bytes, core::Deadline deadline) {
  core::CancelSource cancelled;
  self->waits_.emplace(key, &cancelled);
  core::Signal moved(self->shard_);
  std::vector<Use> uses;
  std::deque<PartitionWatch> watches;
  bool all_there = true;
  for (const Awaited& each : awaited) {
    auto use = co_await self->partition(each.group);
    if (!use) {
      all_there = false;
      break;
    }
    (*use)->watch(watches.emplace_back(moved));
    uses.push_back(std::move(*use));
  }
  for (;;) {
    if (!all_there || cancelled.cancelled()) break;
    std::uint64_t grown = 0;
    bool closed = false;
    for (std::size_t i = 0; i < uses.size(); ++i) {
      grown += uses[i]->committed_bytes() - awaited[i].seen_committed_bytes;
      closed |= uses[i]->closed() || !uses[i]->is_leader();
    }
    if (closed || grown >= missing_bytes) break;
    const core::Wake wake = co_await moved.wait(deadline, core::CancelToken(cancelled));
    if (wake != core::Wake::signalled) break;
  }
  self->waits_.erase(key);
  co_return true;
}

core::Task<bool> BrokerShard::cancel_wait(BrokerShard* self, std::uint64_t key) {
  const auto found = self->waits_.find(key);
  if (found != self->waits_.end()) found->second->cancel();
  co_return true;
}

BrokerShard& BrokerShard::home_of(GroupId group) const {
  return *peers_[layout_.identity.numbers.store_of(group) % shard_count_];
}

lsm::Db& BrokerShard::store_of(GroupId group) const {
  return *stores_.at(layout_.identity.numbers.store_of(group));
}

core::Task<void> BrokerShard::close() {
  for (auto& [number, store] : stores_) store->prepare_close();
  if (controller_ != nullptr) co_await controller_->close();
  for (auto& [key, wait] : waits_) wait->cancel();  // lint: order does not matter
  for (auto& [group, slot] : slots_) {              // lint: order does not matter
    if (slot->partition != nullptr) slot->partition->close_for_deletion();
  }
  co_await keeper_.close();
  co_await retention_.close();
  co_await cleaner_.close();
  co_await scope_.close();
  for (auto& [group, slot] : slots_) {  // lint: order does not matter
    if (slot->partition != nullptr) co_await slot->partition->close();
  }
  co_await raft_.close();
  for (auto& [number, store] : stores_) co_await store->close();
  co_await read_ahead_.close();
}

}  // namespace sentinel::consensus
