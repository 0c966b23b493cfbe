#include "test/simulator/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "core/sync.h"
#include "net/kafka/consumer.h"

namespace sentinel::simulator {

using core::Bytes;
using core::Random;
using core::Shard;
using core::Task;
using net::kafka::Consumer;
using test::SendOp;
using test::Span;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

std::int64_t time_of(Shard& shard) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(shard.now().time_since_epoch())
      .count();
}

/// The number that a record's value begins with.
test::Value value_of(core::ByteSpan bytes) {
  const std::string_view text = core::as_text(bytes);
  test::Value value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// The records of one answer, from where they were asked for on. False when they can't be read.
bool collect(net::kafka::ConsumedBatches batches, std::vector<test::Seen>& seen) {
  const std::int32_t partition = batches.partition;
  net::kafka::RecordWalk walk(std::move(batches));
  for (;;) {
    auto record = walk.next();
    if (!record) return false;
    if (!record->has_value()) return true;
    seen.push_back({partition, (*record)->offset.value(), value_of(*(*record)->value)});
  }
}

}  // namespace

Workload::Workload(SimWorld& world, const Scenario& scenario, std::vector<NodeId> brokers)
    : world_(world),
      scenario_(scenario),
      brokers_(std::move(brokers)),
      keyed_(world.random("keyed").next()),
      partitions_(scenario.partitions) {
  // Producers, pollers, one that asks for ends, the operator, and who writes the latest records.
  const std::uint32_t count =
      scenario_.producers + scenario_.pollers + 2 + (scenario_.keyed ? 1 : 0);
  for (std::uint32_t i = 0; i < count; ++i) {
    clients_.push_back(world_.add_node({}));
    world_.start(clients_.back());
  }
}

void Workload::create_topic() {
  world_.spawn(clients_.front(), 0, make_topic(&world_.shard(clients_.front())));
}

void Workload::start() {
  Random seeds = world_.random("workload");
  std::size_t next = 0;
  for (std::uint32_t i = 0; i < scenario_.producers; ++i) {
    const NodeId at = clients_[next++];
    world_.spawn(at, 0, produce(&world_.shard(at), seeds.next()));
  }
  for (std::uint32_t i = 0; i < scenario_.pollers; ++i) {
    const NodeId at = clients_[next++];
    world_.spawn(at, 0, poll(&world_.shard(at), seeds.next()));
  }
  const NodeId asks = clients_[next++];
  world_.spawn(asks, 0, ask_ends(&world_.shard(asks), seeds.next()));
  const NodeId operates = clients_[next++];
  world_.spawn(operates, 0, operate(&world_.shard(operates)));
  if (!scenario_.keyed) return;
  const NodeId writes = clients_[next];
  world_.spawn(writes, 0, write_keyed(&world_.shard(writes)));
}

bool Workload::is_idle() const {
  return std::ranges::all_of(clients_, [&](NodeId client) { return world_.is_idle(client); });
}

void Workload::finish() {
  world_.spawn(clients_.front(), 0, finish_there(&world_.shard(clients_.front())));
}

/// Asks one broker after the other, from the `first` on.
Task<std::unique_ptr<net::kafka::Client>> Workload::open_client(Shard* shard, std::size_t first) {
  for (std::size_t at = first;; ++at) {
    net::kafka::ClientOptions options;
    const NodeId broker = brokers_[at % brokers_.size()];
    options.bootstrap = {.host = fmt::format("node-{}", broker), .port = 9092};
    options.connect_timeout = 2s;
    options.request_timeout = 3s;
    auto client = co_await Client::open(*shard, std::move(options));
    if (client) co_return std::move(*client);
    co_await core::sleep_for(*shard, 50ms);
  }
}

Task<void> Workload::make_topic(Shard* shard) {
  std::unique_ptr<Client> client = co_await open_client(shard);
  for (;;) {
    auto created = co_await client->create_topic({.name = std::string(kTopic),
                                                  .partitions = scenario_.partitions,
                                                  .replication_factor = 3,
                                                  // Records go only when they are deleted.
                                                  .configs = {{"retention.ms", "-1"}}},
                                                 shard->deadline_in(30s));
    if (created || created.error().code == core::Errc::already_exists) break;
    co_await core::sleep_for(*shard, 100ms);
  }
  if (scenario_.keyed) co_await keyed_.make(client.get());
  co_await client->close();
}

// Producers

std::int32_t Workload::any_partition(Random& random) const {
  return static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(partitions_)));
}

std::size_t Workload::begin_send(Shard& shard, Random& random, std::uint32_t process, bool weak) {
  SendOp send{.process = process,
              .time = {.invoke = time_of(shard), .complete = kNever},
              .result = test::Result::unknown,
              .partition = any_partition(random),
              .values = {},
              .offset = -1,
              .weak = weak};
  const std::uint64_t count = 1 + random.below(3);
  for (std::uint64_t i = 0; i < count; ++i) send.values.push_back(next_value_++);
  history_.emplace_back(std::move(send));
  return history_.size() - 1;
}

Bytes Workload::batch_of(const SendOp& send, Random& random) const {
  static constexpr consensus::Codec kCodecs[] = {consensus::Codec::none, consensus::Codec::none,
                                                 consensus::Codec::none, consensus::Codec::lz4};
  consensus::RecordBatchBuilder builder(kCodecs[random.below(std::size(kCodecs))]);
  for (const test::Value value : send.values) {
    const std::size_t padding = random.chance(scenario_.large_values) ? 6000 : random.below(120);
    const std::string text = fmt::format("{} {}", value, std::string(padding, 'x'));
    builder.add(1'700'000'000'000, std::nullopt, core::as_bytes(text));
  }
  return builder.finish();
}

void Workload::end_send(Shard& shard, std::size_t at, const net::kafka::Produced* produced) {
  ++operations_;
  auto& send = std::get<SendOp>(history_[at]);
  // What failed may still have been written.
  if (produced == nullptr) return;
  send.result = test::Result::ok;
  send.time.complete = time_of(shard);
  send.offset = produced->base_offset;
}

Task<void> Workload::send(Shard* shard, Producer* producer, Random* random, std::uint32_t process,
                          bool* broken, std::size_t* in_flight) {
  ++*in_flight;
  const std::size_t at = begin_send(*shard, *random, process, false);
  const auto& send = std::get<SendOp>(history_[at]);
  auto sent = co_await producer->send(send.partition, batch_of(send, *random));
  end_send(*shard, at, sent ? &*sent : nullptr);
  if (!sent) check_failure(sent.error());
  *broken |= !sent.has_value();
  --*in_flight;
}

/// Producers here keep their order, and nobody takes over their ids.
void Workload::check_failure(const core::Error& failure) {
  const bool wrong = failure.message.find("misses an earlier batch") != std::string::npos ||
                     failure.message.find("another producer took over") != std::string::npos;
  if (wrong && violation_.empty())
    violation_ = "a producer is told of an order that it has not broken: " + failure.message;
}

Task<void> Workload::send_weakly(Shard* shard, Client* client, Random* random) {
  const std::size_t at = begin_send(*shard, *random, next_process_++, true);
  const auto& send = std::get<SendOp>(history_[at]);
  auto sent = co_await client->produce_once(std::string(kTopic), send.partition,
                                            core::Chain(batch_of(send, *random)),
                                            static_cast<std::int16_t>(random->below(2)));
  end_send(*shard, at, sent ? &*sent : nullptr);
}

Task<void> Workload::produce(Shard* shard, std::uint64_t seed) {
  Random random(seed);
  std::unique_ptr<Client> client = co_await open_client(shard);
  const double each = scenario_.sends_per_second / scenario_.producers;
  const auto pause = static_cast<std::uint64_t>(2e6 / each);
  while (!stopping_) {
    auto producer =
        co_await Producer::open(*client, std::string(kTopic),
                                {.in_flight_max = scenario_.in_flight, .delivery_timeout = 25s});
    if (!producer) {
      co_await core::sleep_for(*shard, 100ms);
      continue;
    }
    const std::uint32_t process = next_process_++;
    bool broken = false;
    std::size_t in_flight = 0;
    core::TaskScope sends(*shard);
    while (!stopping_ && !broken) {
      if (random.chance(scenario_.weak_sends)) {
        co_await send_weakly(shard, client.get(), &random);
      } else if (in_flight < scenario_.in_flight * 2) {
        sends.spawn(send(shard, producer->get(), &random, process, &broken, &in_flight));
      }
      co_await core::sleep_for(*shard, std::chrono::microseconds(random.below(pause)));
    }
    co_await sends.join();
    co_await (*producer)->close();
  }
  co_await client->close();
}

// Readers

Task<void> Workload::poll(Shard* shard, std::uint64_t seed) {
  Random random(seed);
  Random roads = random.fork("roads");
  std::unique_ptr<Client> client = co_await open_client(shard);
  std::vector<std::int64_t> positions;
  while (!stopping_) {
    if (scenario_.roving) {
      co_await client->close();
      client = co_await open_client(shard, roads.below(brokers_.size()));
    }
    // Now and then from the start, which is read from the disk.
    if (random.chance(0.2)) positions.clear();
    positions.resize(static_cast<std::size_t>(partitions_));
    const std::uint32_t process = next_process_++;
    const auto spell = std::chrono::milliseconds(scenario_.roving ? 50 + roads.below(600)
                                                                  : 1000 + random.below(8000));
    const bool fine =
        co_await read_some(shard, client.get(), process, &positions, shard->now() + spell);
    if (fine) continue;
    co_await core::sleep_for(*shard, 200ms);
    // What was to be read next may have been deleted.
    for (std::size_t i = 0; i < positions.size() && !stopping_; ++i) {
      const auto start = co_await ask_start(shard, client.get(), static_cast<std::int32_t>(i), 1s);
      if (start.has_value()) positions[i] = std::max(positions[i], *start);
    }
  }
  co_await client->close();
}

/// One consumer's life. False when it failed.
Task<bool> Workload::read_some(Shard* shard, Client* client, std::uint32_t process,
                               std::vector<std::int64_t>* positions, core::TimePoint until) {
  std::vector<net::kafka::ConsumeRange> ranges;
  test::AssignOp assigned{.process = process, .positions = {}};
  for (std::size_t i = 0; i < positions->size(); ++i) {
    const auto partition = static_cast<std::int32_t>(i);
    ranges.push_back({.partition = partition, .begin = (*positions)[i]});
    assigned.positions.push_back({partition, (*positions)[i], 0});
  }
  history_.emplace_back(std::move(assigned));
  Consumer consumer(*client, std::string(kTopic), std::move(ranges), {.patience = 10s});
  bool fine = true;
  while (fine && !stopping_ && shard->now() < until) {
    const std::int64_t invoke = time_of(*shard);
    auto batches = co_await consumer.next(shard->deadline_in(500ms));
    fine = batches.has_value();
    if (!fine) check_refusal(batches.error(), *positions);
    if (!fine || !batches->has_value()) continue;
    test::PollOp poll{
        .process = process, .time = {invoke, time_of(*shard)}, .records = {}, .final = false};
    fine = collect(std::move(**batches), poll.records);
    for (const test::Seen& seen : poll.records)
      (*positions)[static_cast<std::size_t>(seen.partition)] = seen.offset + 1;
    history_.emplace_back(std::move(poll));
    ++operations_;
  }
  co_await consumer.close();
  co_return fine;
}

/// That there is no such offset may be said only of what may have been deleted.
void Workload::check_refusal(const core::Error& refusal,
                             const std::vector<std::int64_t>& positions) {
  if (refusal.message.find("no such offset") == std::string::npos) return;
  const bool may_be_gone = std::ranges::any_of(history_, [&](const test::HistoryOp& op) {
    const auto* gone = std::get_if<test::DeleteOp>(&op);
    return gone != nullptr && positions[static_cast<std::size_t>(gone->partition)] < gone->offset;
  });
  if (!may_be_gone && violation_.empty())
    violation_ = "what a reader has come to is said not to be there: " + refusal.message;
}

Task<void> Workload::ask_ends(Shard* shard, std::uint64_t seed) {
  Random random(seed);
  std::unique_ptr<Client> client = co_await open_client(shard);
  while (!stopping_) {
    const std::int32_t partition = any_partition(random);
    const std::int64_t invoke = time_of(*shard);
    auto end = co_await client->list_offset(std::string(kTopic), partition,
                                            net::kafka::kLatestOffset, shard->deadline_in(5s));
    if (end)
      history_.emplace_back(
          test::EndOp{next_process_++, {invoke, time_of(*shard)}, partition, end->offset});
    ++operations_;
    if (random.chance(0.3)) std::ignore = co_await ask_start(shard, client.get(), partition, 5s);
    co_await core::sleep_for(*shard, std::chrono::milliseconds(random.below(500)));
  }
  co_await client->close();
}

/// Where a partition begins.
Task<std::optional<std::int64_t>> Workload::ask_start(Shard* shard, Client* client,
                                                      std::int32_t partition,
                                                      core::Duration patience) {
  const std::int64_t invoke = time_of(*shard);
  auto start = co_await client->list_offset(
      std::string(kTopic), partition, net::kafka::kEarliestOffset, shard->deadline_in(patience));
  ++operations_;
  if (!start) co_return std::nullopt;
  history_.emplace_back(
      test::StartOp{next_process_++, {invoke, time_of(*shard)}, partition, start->offset});
  co_return start->offset;
}

// The operator

void Workload::send_operator(Errand errand) {
  constexpr std::size_t kWaitingMax = 8;
  if (errands_.size() < kWaitingMax) errands_.push_back(std::move(errand));
}

Task<void> Workload::change_topics(Client& client, std::uint64_t seed) {
  Random random(seed);
  Shard& shard = client.shard();
  const std::string name = fmt::format("other-{}", random.below(2));
  // Each asks a node of its own.
  std::vector<std::unique_ptr<Client>> others;
  for (std::uint64_t count = random.below(3); count > 0; --count)
    others.push_back(co_await open_client(&shard, random.below(brokers_.size())));
  core::TaskScope scope(shard);
  scope.spawn(change_topic(&client, name, random.chance(0.5)));
  for (const auto& other : others) scope.spawn(change_topic(other.get(), name, random.chance(0.5)));
  co_await scope.join();
  for (const auto& other : others) co_await other->close();
}

Task<void> Workload::change_topic(Client* client, std::string name, bool creates) {
  const std::size_t at = history_.size();
  history_.emplace_back(test::TopicOp{.process = next_process_++,
                                      .time = {time_of(client->shard()), kNever},
                                      .result = test::Result::unknown,
                                      .topic = name,
                                      .creates = creates});
  net::kafka::CallResult<bool> done = true;
  if (creates) {
    done = co_await client->create_topic_once({.name = name, .partitions = 2, .configs = {}});
  } else {
    done = co_await client->delete_topic_once(name);
  }
  ++operations_;
  using net::kafka::ErrorCode;
  const ErrorCode refusal =
      creates ? ErrorCode::topic_already_exists : ErrorCode::unknown_topic_or_partition;
  if (!done && done.error().code != refusal) co_return;
  auto& op = std::get<test::TopicOp>(history_[at]);
  op.result = done ? test::Result::ok : test::Result::fail;
  op.time.complete = time_of(client->shard());
}

Task<void> Workload::operate(Shard* shard) {
  std::unique_ptr<Client> client = co_await open_client(shard);
  while (!stopping_) {
    if (!errands_.empty()) {
      Errand errand = std::move(errands_.front());
      errands_.pop_front();
      co_await errand(*client);
      ++operations_;
    }
    co_await core::sleep_for(*shard, 50ms);
  }
  co_await client->close();
}

Task<void> Workload::write_keyed(Shard* shard) {
  std::unique_ptr<Client> client = co_await open_client(shard);
  co_await keyed_.write(client.get(), &stopping_);
  co_await client->close();
}

Task<void> Workload::grow(Client& client) {
  constexpr std::int32_t kMost = 12;
  if (partitions_ >= kMost) co_return;
  const auto grown = co_await client.grow_topic(std::string(kTopic), partitions_ + 1,
                                                client.shard().deadline_in(5s));
  // Also one that was not answered may have come about; asked again it says so.
  const bool is_there = grown || grown.error().code == core::Errc::invalid_argument;
  if (is_there) ++partitions_;
}

Task<void> Workload::trim(Client& client, std::int32_t partition, double part) {
  Shard& shard = client.shard();
  const auto begin = co_await ask_start(&shard, &client, partition, 5s);
  const auto end = co_await client.list_offset(std::string(kTopic), partition,
                                               net::kafka::kLatestOffset, shard.deadline_in(5s));
  if (!begin.has_value() || !end) co_return;
  const auto more = static_cast<double>(end->offset - *begin) * part;
  const std::int64_t offset = *begin + static_cast<std::int64_t>(more);
  history_.emplace_back(test::DeleteOp{{time_of(shard), kNever}, partition, offset});
  const std::size_t at = history_.size() - 1;
  const auto done =
      co_await client.delete_records(std::string(kTopic), partition, offset, shard.deadline_in(5s));
  if (done) std::get<test::DeleteOp>(history_[at]).time.complete = time_of(shard);
}

// The end

Task<void> Workload::finish_there(Shard* shard) {
  std::unique_ptr<Client> client = co_await open_client(shard);
  auto topic = co_await client->topic(std::string(kTopic), false, shard->deadline_in(60s));
  if (topic) partitions_ = static_cast<std::int32_t>(topic->partitions.size());
  Random random = world_.random("finish");
  for (std::int32_t partition = 0; partition < partitions_; ++partition) {
    auto producer =
        co_await Producer::open(*client, std::string(kTopic), {.delivery_timeout = 60s});
    if (!producer) continue;
    const std::size_t at = begin_send(*shard, random, next_process_++, false);
    auto& send = std::get<SendOp>(history_[at]);
    send.partition = partition;
    auto sent = co_await (*producer)->send(partition, batch_of(send, random));
    end_send(*shard, at, sent ? &*sent : nullptr);
    co_await (*producer)->close();
    if (!sent) {
      co_await client->close();
      co_return;  // finished() stays false.
    }
  }
  for (std::int32_t partition = 0; partition < partitions_; ++partition)
    co_await read_all(shard, client.get(), partition);
  finished_ = !scenario_.keyed || co_await keyed_.check(client.get());
  co_await client->close();
}

Task<void> Workload::read_all(Shard* shard, Client* client, std::int32_t partition) {
  auto end = co_await client->list_offset(std::string(kTopic), partition, net::kafka::kLatestOffset,
                                          shard->deadline_in(60s));
  const auto begin = co_await ask_start(shard, client, partition, 60s);
  if (!end || !begin.has_value()) co_return;
  Consumer consumer(*client, std::string(kTopic),
                    {{.partition = partition, .begin = *begin, .end = end->offset}}, {});
  const std::uint32_t process = next_process_++;
  while (!consumer.finished()) {
    const std::int64_t invoke = time_of(*shard);
    auto batches = co_await consumer.next(shard->deadline_in(60s));
    if (!batches || !batches->has_value()) break;
    test::PollOp poll{
        .process = process, .time = {invoke, time_of(*shard)}, .records = {}, .final = true};
    const bool fine = collect(std::move(**batches), poll.records);
    history_.emplace_back(std::move(poll));
    if (!fine) break;
  }
  co_await consumer.close();
  history_.emplace_back(test::FinalEndOp{partition, end->offset});
}

}  // namespace sentinel::simulator
