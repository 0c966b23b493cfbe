/// Fetch: reads each partition on its home shard, all shards at the same time; when there is too
/// little, waits there until there is more, and reads once more.
///
/// Limits are soft by one batch: the first batch of the whole response comes even if it is larger
/// than every limit, so that a consumer always progresses; after it only whole batches within the
/// limits (KIP-74). Each shard has its share of the limits, and serves its partitions in the order
/// of the request: clients put those first that got nothing last time. Fetch sessions (KIP-227) are
/// declined: every answer has session id 0 and is complete.

#include "net/kafka/messages/fetch.h"

#include <algorithm>

#include "core/call.h"
#include "net/kafka/context.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

using consensus::BrokerShard;
using consensus::GroupId;
using consensus::Offset;

// Kafka's fetch.max.bytes.
constexpr std::uint64_t kResponseBytesMax = 55u << 20;
// More is sent only to who waits for more: what is smaller stays in the processor's cache on its
// way, and the disk works on the next answer meanwhile.
constexpr std::uint64_t kResponseBytesUsual = 8u << 20;
// A fetch gets a share of the memory that is free, so that many clients that don't take their
// answers are needed to use it up; and so much at least, for which it waits.
constexpr std::uint64_t kShareOfFree = 8;
constexpr std::uint64_t kGrantedMin = std::uint64_t{1} << 20;

// One part in so many of what may be read is left over.
constexpr std::uint64_t kLastBit = 8;
// So many partitions of a request are looked at ahead of the one that is read.
constexpr std::size_t kLookAheadItems = 4;
// And so many of those that get nothing.
constexpr std::size_t kUnservedLookedAt = 32;

/// One partition of the request that exists here.
struct Item {
  GroupId group;
  FetchPartition asked;
  std::size_t topic_at = 0;  // In the response.
  std::size_t partition_at = 0;
};

/// What reading one partition gave.
struct ReadOutcome {
  ErrorCode error = ErrorCode::none;
  core::Chain records;
  std::int64_t high_watermark = -1;
  std::int64_t log_start = -1;
  std::uint64_t committed_bytes = 0;
  bool cut_short = false;
  FetchDivergingEpoch diverging;
};

ErrorCode check_epoch(const consensus::Partition& partition, std::int32_t client_epoch) {
  if (!partition.is_leader()) return ErrorCode::not_leader_or_follower;
  const std::int32_t epoch = consensus::leader_epoch_of(partition.leader_epoch());
  if (client_epoch < 0 || client_epoch == epoch) return ErrorCode::none;
  return client_epoch < epoch ? ErrorCode::fenced_leader_epoch : ErrorCode::unknown_leader_epoch;
}

/// KIP-320: whether the log up to the fetch offset is the one that the reader has seen; if not,
/// where it parts.
core::Task<ReadOutcome> compare_epochs(consensus::Partition* partition, FetchPartition asked) {
  ReadOutcome outcome;
  if (asked.last_fetched_epoch < 0) co_return outcome;
  // Of another leader's, of which this one does not know.
  if (asked.last_fetched_epoch > consensus::leader_epoch_of(partition->leader_epoch())) {
    outcome.error = ErrorCode::unknown_leader_epoch;
    co_return outcome;
  }
  auto end = co_await partition->end_of_epoch(
      consensus::Term(static_cast<std::uint64_t>(asked.last_fetched_epoch)));
  if (!end) {
    outcome.error = to_error_code(end.error());
  } else if (!end->has_value()) {
    outcome.error = ErrorCode::offset_out_of_range;
  } else if (consensus::leader_epoch_of((*end)->term) < asked.last_fetched_epoch ||
             (*end)->end_offset.value() < asked.fetch_offset) {
    outcome.diverging = {.epoch = consensus::leader_epoch_of((*end)->term),
                         .end_offset = (*end)->end_offset.value()};
  }
  co_return outcome;
}

core::Task<ReadOutcome> read_one(BrokerShard* home, GroupId group, FetchPartition asked,
                                 consensus::ReadRequest request) {
  auto use = co_await home->partition(group);
  if (!use)
    co_return ReadOutcome{.error = to_error_code(use.error()), .records = {}, .diverging = {}};
  consensus::Partition& partition = **use;
  const ErrorCode fenced = check_epoch(partition, asked.current_leader_epoch);
  if (fenced != ErrorCode::none)
    co_return ReadOutcome{.error = fenced, .records = {}, .diverging = {}};
  ReadOutcome outcome = co_await compare_epochs(&partition, asked);
  if (outcome.error != ErrorCode::none) co_return outcome;
  if (outcome.diverging.epoch < 0) {
    auto read = co_await partition.read(request);
    if (!read)
      co_return ReadOutcome{.error = to_error_code(read.error()), .records = {}, .diverging = {}};
    outcome.records = std::move(read->records);
    outcome.committed_bytes = read->committed_bytes;
    outcome.cut_short = read->cut_short;
  }
  outcome.high_watermark = partition.high_watermark().value();
  outcome.log_start = partition.log_start().value();
  co_return outcome;
}

struct ReadLimits {
  std::uint64_t bytes_left = 0;
  bool nothing_yet = true;
};

std::uint64_t partition_max(const Item& item) {
  return static_cast<std::uint64_t>(std::max(item.asked.partition_max_bytes, 0));
}

/// Keeps the disk busy: with the partition that is read and a few that come next, and, once the
/// limits are used up, with those that the client will ask for first next time.
class LookAhead {
 public:
  LookAhead(BrokerShard& home, const std::vector<Item>& items, std::uint64_t bytes)
      : home_(home), items_(items), bytes_left_(bytes) {}

  /// The item at `reading` is being read; some of those that get nothing count against the limit.
  void go_on(std::size_t reading, bool limits_used_up) {
    const std::size_t until =
        limits_used_up ? items_.size() : std::min(items_.size(), reading + 1 + kLookAheadItems);
    for (; next_ < until && bytes_left_ > 0 && unserved_left_ > 0; ++next_) {
      const Item& item = items_[next_];
      const std::uint64_t bytes = std::min(partition_max(item), bytes_left_);
      if (bytes == 0) continue;
      home_.look_ahead(item.group, {.offset = Offset(item.asked.fetch_offset),
                                    .bytes_max = bytes,
                                    .streams = items_.size()});
      if (!limits_used_up) continue;
      bytes_left_ -= bytes;
      --unserved_left_;
    }
  }

 private:
  BrokerShard& home_;
  const std::vector<Item>& items_;
  std::uint64_t bytes_left_;  // Of what the next answer will be.
  std::size_t unserved_left_ = kUnservedLookedAt;
  std::size_t next_ = 0;
};

/// Reads `items`, which all live on `home`, in their order.
core::Task<std::vector<ReadOutcome>> read_there(BrokerShard* home, std::vector<Item> items,
                                                ReadLimits limits) {
  std::vector<ReadOutcome> outcomes;
  outcomes.reserve(items.size());
  const std::uint64_t granted = limits.bytes_left;
  LookAhead ahead(*home, items, granted);
  for (std::size_t at = 0; at < items.size(); ++at) {
    const Item& item = items[at];
    ahead.go_on(at, limits.bytes_left == 0);
    const consensus::ReadRequest request{
        .offset = Offset(item.asked.fetch_offset),
        .bytes_max = std::min(partition_max(item), limits.bytes_left),
        .first_batch_whole = limits.nothing_yet,
        .streams = items.size()};
    ReadOutcome outcome = co_await read_one(home, item.group, item.asked, request);
    limits.bytes_left -= std::min<std::uint64_t>(limits.bytes_left, outcome.records.size());
    // The last bit is not worth a read of the disk for less and less of it.
    if (outcome.cut_short && limits.bytes_left < granted / kLastBit) limits.bytes_left = 0;
    limits.nothing_yet = limits.nothing_yet && outcome.records.empty();
    outcomes.push_back(std::move(outcome));
  }
  co_return outcomes;
}

/// A Fetch request at work.
class FetchWork {
 public:
  FetchWork(RequestContext context, FetchRequest request)
      : context_(std::move(context)), request_(std::move(request)) {}

  core::Task<FetchResponse> run() {
    const core::Deadline deadline =
        context_.shard().deadline_in(std::chrono::milliseconds(std::max(request_.max_wait_ms, 0)));
    resolve();
    co_await read();
    while (must_wait() && !deadline.passed(context_.shard().now())) {
      const bool more = co_await wait(deadline);
      if (!more) break;
      co_await read();
    }
    co_return std::move(response_);
  }

  /// Units of RequestContext::responses that the answer holds.
  [[nodiscard]] std::uint64_t reserved() const { return reserved_; }

  [[nodiscard]] std::optional<core::Shard::Id> only_home() const {
    return by_home_.size() == 1 ? std::optional(by_home_.front().home->shard().id()) : std::nullopt;
  }

 private:
  struct AtHome {
    BrokerShard* home;
    std::vector<Item> items;
    std::vector<BrokerShard::Awaited> awaited;
  };

  /// Finds topics and partitions, prepares the answer for each, and sorts them by home shard.
  void resolve() {
    image_ = context_.broker.image();
    const bool by_id = context_.version >= 13;
    for (const FetchTopic& asked : request_.topics) {
      FetchTopicResponse& answered = response_.topics.emplace_back();
      answered.topic = asked.topic;
      answered.topic_id = asked.topic_id;
      const consensus::Topic* topic =
          by_id ? image_->find(asked.topic_id) : image_->find(asked.topic);
      for (const FetchPartition& partition : asked.partitions) {
        FetchPartitionResponse& entry = answered.partitions.emplace_back();
        entry.partition_index = partition.partition;
        if (topic == nullptr || !topic->has(partition.partition)) {
          const bool unknown_id = by_id && topic == nullptr;
          refuse(entry,
                 unknown_id ? ErrorCode::unknown_topic_id : ErrorCode::unknown_topic_or_partition);
          any_unknown_ = true;
          continue;
        }
        const GroupId group = topic->group(consensus::PartitionIndex(partition.partition));
        add(Item{group, partition, response_.topics.size() - 1, answered.partitions.size() - 1});
      }
    }
  }

  void add(Item item) {
    BrokerShard& home = context_.broker.home_of(item.group);
    auto found =
        std::ranges::find_if(by_home_, [&](const AtHome& each) { return each.home == &home; });
    if (found == by_home_.end()) found = by_home_.insert(by_home_.end(), AtHome{&home, {}, {}});
    found->items.push_back(item);
  }

  /// Waits for the answers before this one: only the answer that leaves next may hold memory. One
  /// that came earlier would keep it from the others while it can't leave.
  core::Task<void> wait_for_turn() {
    while (context_.order.next != context_.number && !context_.order.ended) {
      co_await context_.order.changed.wait();
    }
  }

  /// Takes memory for the records that will be read and returns how many may be: what was asked
  /// for, or less when there is little.
  core::Task<std::uint64_t> reserve() {
    release();
    co_await wait_for_turn();
    std::uint64_t wanted = 0;
    for (const AtHome& at : by_home_) {
      for (const Item& item : at.items) wanted += partition_max(item);
    }
    const auto asked = static_cast<std::uint64_t>(std::max(request_.max_bytes, 0));
    const std::uint64_t usual = std::max(kResponseBytesUsual, min_bytes());
    wanted = std::min({wanted, asked, usual, kResponseBytesMax});
    FlowBudget& responses = context_.responses;
    const std::uint64_t share = responses.available() / kShareOfFree;
    // A first batch comes even to who asks for less.
    const std::uint64_t units = std::max(std::min(wanted, share), kGrantedMin);
    bool granted = responses.try_acquire(units);
    if (!granted) granted = co_await responses.acquire(units, {}, context_.token);
    if (granted) reserved_ = units;
    co_return std::min(wanted, reserved_);
  }
  void release() {
    if (reserved_ > 0) context_.responses.release(std::exchange(reserved_, 0));
  }
  /// Gives back what the records that were read do not need; a first batch may need more.
  void settle() {
    if (bytes_ < reserved_) context_.responses.release(reserved_ - bytes_);
    if (bytes_ > reserved_) context_.responses.overdraw(bytes_ - reserved_);
    reserved_ = bytes_;
  }

  core::Task<void> read() {
    const std::uint64_t granted = co_await reserve();
    if (by_home_.size() > 1) co_await read_at_once(granted);
    // A share may have been too small where the whole is not.
    const bool too_little = cut_short_ && (bytes_ == 0 || bytes_ < min_bytes());
    if (by_home_.size() <= 1 || too_little) co_await read_in_turn(granted);
    settle();
  }

  /// All shards at the same time, each with a share of what may be read.
  core::Task<void> read_at_once(std::uint64_t granted) {
    begin_reading();
    std::size_t items = 0;
    for (const AtHome& at : by_home_) items += at.items.size();
    std::vector<std::vector<ReadOutcome>> outcomes(by_home_.size());
    core::TaskScope reads(context_.shard());
    for (std::size_t i = 0; i < by_home_.size(); ++i) {
      const ReadLimits limits{.bytes_left = granted * by_home_[i].items.size() / items,
                              .nothing_yet = i == 0};
      reads.spawn(read_home(&context_, &by_home_[i], limits, &outcomes[i]));
    }
    co_await reads.join();
    for (std::size_t i = 0; i < by_home_.size(); ++i) take(by_home_[i], std::move(outcomes[i]));
  }

  static core::Task<void> read_home(const RequestContext* context, const AtHome* at,
                                    ReadLimits limits, std::vector<ReadOutcome>* outcomes) {
    *outcomes = co_await core::call(context->shard(), at->home->shard(), &read_there, at->home,
                                    at->items, limits);
  }

  /// One shard after the other, each with what those before have left.
  core::Task<void> read_in_turn(std::uint64_t granted) {
    begin_reading();
    for (AtHome& at : by_home_) {
      const ReadLimits limits{.bytes_left = granted - std::min(granted, bytes_),
                              .nothing_yet = bytes_ == 0};
      auto outcomes = co_await core::call(context_.shard(), at.home->shard(), &read_there, at.home,
                                          at.items, limits);
      take(at, std::move(outcomes));
    }
  }

  void begin_reading() {
    bytes_ = 0;
    cut_short_ = false;
    any_error_ = any_unknown_;
    for (const AtHome& at : by_home_) {
      for (const Item& item : at.items) entry_of(item).records.emplace();
    }
  }

  FetchPartitionResponse& entry_of(const Item& item) {
    return response_.topics[item.topic_at].partitions[item.partition_at];
  }

  void take(AtHome& at, std::vector<ReadOutcome> outcomes) {
    at.awaited.clear();
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      const Item& item = at.items[i];
      at.awaited.push_back({item.group, outcomes[i].committed_bytes});
      cut_short_ |= outcomes[i].cut_short;
      fill(entry_of(item), std::move(outcomes[i]));
    }
  }

  void fill(FetchPartitionResponse& entry, ReadOutcome outcome) {
    if (outcome.error != ErrorCode::none) {
      refuse(entry, outcome.error);
      any_error_ = true;
      return;
    }
    entry.error_code = ErrorCode::none;
    bytes_ += outcome.records.size();
    any_error_ |= outcome.diverging.epoch >= 0;
    entry.high_watermark = outcome.high_watermark;
    entry.last_stable_offset = outcome.high_watermark;  // No transactions are open: there are none.
    entry.log_start_offset = outcome.log_start;
    entry.diverging_epoch = outcome.diverging;
    if (request_.isolation_level == 1) entry.aborted_transactions.emplace();
    entry.records = std::move(outcome.records);
  }

  static void refuse(FetchPartitionResponse& entry, ErrorCode error) {
    entry.error_code = error;
    entry.high_watermark = -1;
    entry.last_stable_offset = -1;
    entry.log_start_offset = -1;
  }

  [[nodiscard]] std::uint64_t min_bytes() const {
    return static_cast<std::uint64_t>(std::max(request_.min_bytes, 0));
  }
  /// There is nothing to wait for where there is more that the limits don't let through.
  [[nodiscard]] bool must_wait() const {
    return !any_error_ && !cut_short_ && !by_home_.empty() && bytes_ < min_bytes();
  }

  /// Waits on all home shards at once until one has something. False when the deadline passed or
  /// the client went away.
  core::Task<bool> wait(core::Deadline deadline) {
    const std::uint64_t missing = min_bytes() - bytes_;
    const std::uint64_t key = context_.broker.new_wait_key();
    core::Signal any(context_.shard());
    core::TaskScope waits(context_.shard());
    bool ended = false;
    for (const AtHome& at : by_home_) {
      // What several shards have together is seen when each wakes for its first byte.
      waits.spawn(wait_there(&context_, &at, key, by_home_.size() == 1 ? missing : 1, deadline,
                             &any, &ended));
    }
    bool gone = false;
    while (!ended && !gone) {
      const core::Wake wake = co_await any.wait(deadline, context_.token);
      gone = wake != core::Wake::signalled;
    }
    for (const AtHome& at : by_home_) {
      co_await core::call(context_.shard(), at.home->shard(), &BrokerShard::cancel_wait, at.home,
                          key);
    }
    co_await waits.join();
    co_return !gone || deadline.passed(context_.shard().now());
  }

  static core::Task<void> wait_there(const RequestContext* context, const AtHome* at,
                                     std::uint64_t key, std::uint64_t missing,
                                     core::Deadline deadline, core::Signal* any, bool* ended) {
    co_await core::call(context->shard(), at->home->shard(), &BrokerShard::wait_for_data, at->home,
                        key, at->awaited, missing, deadline);
    *ended = true;
    any->notify_all();
  }

  const RequestContext context_;
  const FetchRequest request_;
  FetchResponse response_;
  std::shared_ptr<const consensus::MetadataImage> image_;
  std::vector<AtHome> by_home_;
  std::uint64_t bytes_ = 0;
  std::uint64_t reserved_ = 0;
  bool any_unknown_ = false;
  bool any_error_ = false;
  bool cut_short_ = false;  // Some partition has more than the limits let through.
};

}  // namespace

core::Task<Reply> handle_fetch(RequestContext context) {
  auto request = decode_body<FetchRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  // A session that was never granted: the client starts over with a full fetch. Epoch 0 or -1
  // already is one.
  if (request->session_id != 0 && request->session_epoch > 0) {
    FetchResponse unknown;
    unknown.error_code = ErrorCode::fetch_session_id_not_found;
    co_return reply(context, unknown);
  }
  FetchWork work(context, std::move(*request));
  const FetchResponse response = co_await work.run();
  Reply answered = reply(context, response);
  answered.served_by = work.only_home();
  answered.reserved = work.reserved();
  co_return answered;
}

}  // namespace sentinel::net::kafka
