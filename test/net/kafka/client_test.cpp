/// The Kafka client against a scripted broker on the loopback.

#include "net/kafka/client.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/runtime.h"
#include "net/kafka/consumer.h"
#include "net/kafka/producer.h"
#include "test/net/kafka/fake_broker.h"

namespace sentinel {

using core::Shard;
using core::Task;
using net::kafka::Client;
using net::kafka::ClientOptions;
using net::kafka::Consumer;
using net::kafka::Producer;
using test::FakeBroker;

namespace {

const std::string kTopic(FakeBroker::kTopic);

/// Runs a test body with a broker and a client on this thread.
using Body = Task<void> (*)(FakeBroker* broker, Client* client);

ClientOptions options_for(const FakeBroker& broker) {
  ClientOptions options;
  options.bootstrap.host = "127.0.0.1";
  options.bootstrap.port = broker.port();
  options.request_timeout = std::chrono::seconds(20);
  return options;
}

Task<int> with_client(Shard& shard, test::Misbehaviour wrong, Body body) {
  auto broker = co_await FakeBroker::open(shard, 2);
  broker->wrong = wrong;
  auto client = co_await Client::open(shard, options_for(*broker));
  CHECK(client.has_value());
  if (client) {
    co_await body(broker.get(), client->get());
    co_await (*client)->close();
  }
  co_await broker->close();
  co_return 0;
}

/// On io_uring, where the machine has it, and on epoll.
void run(Body body, test::Misbehaviour wrong = {}) {
  for (const core::IoKind io : {core::IoKind::automatic, core::IoKind::asio}) {
    const auto code = core::run_on_this_thread(io, 1, &with_client, wrong, body);
    REQUIRE(code.has_value());
  }
}

core::Bytes batch_of(const std::vector<std::string>& values,
                     consensus::Codec codec = consensus::Codec::none) {
  consensus::RecordBatchBuilder builder(codec);
  for (const std::string& value : values) builder.add(1000, std::nullopt, core::as_bytes(value));
  return builder.finish();
}

core::Deadline soon(Client* client) {
  return client->shard().deadline_in(std::chrono::seconds(20));
}

/// All values of partition 0, in order.
Task<std::vector<std::string>> read_all(Client* client, std::int64_t begin, std::int64_t end) {
  net::kafka::ConsumeRange range;
  range.begin = begin;
  range.end = end;
  std::vector<net::kafka::ConsumeRange> ranges{range};
  Consumer consumer(*client, kTopic, std::move(ranges), {});
  std::vector<std::string> values;
  while (!consumer.finished()) {
    auto batches = co_await consumer.next(soon(client));
    CHECK_MESSAGE(batches.has_value(), (batches ? "" : batches.error().message));
    if (!batches || !*batches) break;
    net::kafka::RecordWalk walk(std::move(**batches));
    for (;;) {
      auto record = walk.next();
      CHECK(record.has_value());
      if (!record || !*record) break;
      values.emplace_back(core::as_text(*(*record)->value));
    }
  }
  co_await consumer.close();
  co_return values;
}

Task<void> send_one(Producer* producer, std::string value, std::vector<std::int64_t>* offsets) {
  auto produced = co_await producer->send(0, batch_of({value, value + "+"}));
  CHECK_MESSAGE(produced.has_value(), (produced ? "" : produced.error().message));
  if (produced) offsets->push_back(produced->base_offset);
}

/// Sends 40 batches, the first alone, and checks that each is there once and in order. `wrong` is
/// what happens to those behind the first, while several are in flight.
Task<void> forty_batches(FakeBroker* broker, Client* client, test::Misbehaviour wrong) {
  auto producer = co_await Producer::open(*client, kTopic, {});
  CHECK(producer.has_value());
  std::vector<std::int64_t> offsets;
  co_await send_one(producer->get(), "0", &offsets);
  broker->wrong = wrong;
  core::TaskScope scope(client->shard());
  for (int i = 1; i < 40; ++i) {
    scope.spawn(send_one(producer->get(), std::to_string(i), &offsets));
  }
  co_await scope.join();
  co_await (*producer)->close();
  CHECK(offsets.size() == 40);
  CHECK(std::ranges::is_sorted(offsets));
  CHECK(broker->partition(0).end == 80);
  const std::vector<std::string> values = co_await read_all(client, 0, 80);
  CHECK(values.size() == 80);
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(values[i] == std::to_string(i / 2) + (i % 2 == 0 ? "" : "+"));
  }
}

}  // namespace

TEST_CASE("what is produced comes back in order") {
  run([](FakeBroker* broker, Client* client) { return forty_batches(broker, client, {}); });
}

TEST_CASE("batches whose answers were lost are sent again and stored once") {
  const auto body = [](FakeBroker* broker, Client* client) {
    return forty_batches(broker, client, {.lose_produce_answers = 3});
  };
  run(body);
  run(body, {.lose_produce_answers = 2});
}

TEST_CASE("batches that were lost on the way are sent again in order") {
  const auto body = [](FakeBroker* broker, Client* client) {
    return forty_batches(broker, client, {.lose_produce_requests = 3});
  };
  run(body);
  run(body, {.lose_produce_requests = 2});
}

TEST_CASE("batches behind one that was refused for a while are sent again in order") {
  run([](FakeBroker* broker, Client* client) {
    return forty_batches(broker, client, {.deny_leadership = 1});
  });
}

TEST_CASE("a partition whose leader moved is looked up again") {
  run([](FakeBroker* broker, Client* client) { return forty_batches(broker, client, {}); },
      {.deny_leadership = 3, .hide_leader = 2});
}

TEST_CASE("a partition that has come since the topic was looked up is found") {
  run([](FakeBroker* broker, Client* client) -> Task<void> {
    const auto refused = co_await client->produce_once(kTopic, 2, core::Chain(batch_of({"a"})), 1);
    CHECK(!refused.has_value());
    if (!refused)
      CHECK(refused.error().error.message ==
            "topic orders has no partition 2: it has 2, counted from 0");
    broker->grow();
    auto produced = co_await client->produce_once(kTopic, 2, core::Chain(batch_of({"a"})), 1);
    CHECK_MESSAGE(produced.has_value(), (produced ? "" : produced.error().error.message));
    CHECK(broker->partition(2).end == 1);
  });
}

TEST_CASE("a consumer survives a leader that moves") {
  run([](FakeBroker* broker, Client* client) -> Task<void> {
    auto produced =
        co_await client->produce_once(kTopic, 0, core::Chain(batch_of({"a", "b", "c"})), 1);
    CHECK(produced.has_value());
    broker->wrong.deny_leadership = 2;
    const std::vector<std::string> values = co_await read_all(client, 0, 3);
    CHECK(values == std::vector<std::string>{"a", "b", "c"});
  });
}

TEST_CASE("a range inside compressed batches gives its records only") {
  run([](FakeBroker*, Client* client) -> Task<void> {
    for (const consensus::Codec codec : {consensus::Codec::gzip, consensus::Codec::snappy,
                                         consensus::Codec::lz4, consensus::Codec::zstd}) {
      auto produced = co_await client->produce_once(
          kTopic, 0, core::Chain(batch_of({"a", "b", "c"}, codec)), -1);
      CHECK(produced.has_value());
    }
    const std::vector<std::string> values = co_await read_all(client, 4, 8);
    CHECK(values == std::vector<std::string>{"b", "c", "a", "b"});
  });
}

TEST_CASE("an offset behind the end is an error that says so") {
  run([](FakeBroker*, Client* client) -> Task<void> {
    net::kafka::ConsumeRange range;
    range.begin = 5;
    std::vector<net::kafka::ConsumeRange> ranges{range};
    Consumer consumer(*client, kTopic, std::move(ranges), {});
    auto batches = co_await consumer.next(soon(client));
    CHECK(!batches.has_value());
    if (!batches) CHECK(batches.error().message.find("OFFSET_OUT_OF_RANGE") != std::string::npos);
    co_await consumer.close();
  });
}

TEST_CASE("a broker that only knows ApiVersions 0 is spoken to") {
  run(
      [](FakeBroker* broker, Client* client) -> Task<void> {
        auto topic = co_await client->topic(kTopic, false, soon(client));
        CHECK(topic.has_value());
        if (topic) CHECK(topic->partitions.size() == 2);
        CHECK(broker->connections() == 2);
      },
      {.only_api_versions_0 = true});
}

TEST_CASE("offsets and topics are listed") {
  run([](FakeBroker*, Client* client) -> Task<void> {
    auto produced = co_await client->produce_once(kTopic, 1, core::Chain(batch_of({"a", "b"})), -1);
    CHECK(produced.has_value());
    auto end = co_await client->list_offset(kTopic, 1, net::kafka::kLatestOffset, soon(client));
    CHECK(end.has_value());
    if (end) CHECK(end->offset == 2);
    auto cluster = co_await client->cluster(soon(client));
    CHECK(cluster.has_value());
    if (cluster) CHECK(cluster->topics.size() == 1);
    auto none = co_await client->topic("nothing", false, soon(client));
    CHECK(!none.has_value());
    if (!none) CHECK(none.error().code == core::Errc::not_found);
    auto beyond = co_await client->list_offset(kTopic, 2, net::kafka::kLatestOffset, soon(client));
    CHECK(!beyond.has_value());
  });
}

TEST_CASE("a refused batch ends the producer with a sentence about the topic") {
  run(
      [](FakeBroker*, Client* client) -> Task<void> {
        auto producer = co_await Producer::open(*client, kTopic, {});
        CHECK(producer.has_value());
        for (int i = 0; i < 2; ++i) {
          auto produced = co_await (*producer)->send(0, batch_of({"a"}));
          CHECK(!produced.has_value());
          if (produced) continue;
          CHECK(produced.error().code == core::Errc::too_large);
          CHECK(produced.error().message.find("orders/0") != std::string::npos);
        }
        co_await (*producer)->close();
      },
      {.refuse_large = true});
}

TEST_CASE(
    "an answer that belongs to another request breaks the connection and the call is repeated") {
  run([](FakeBroker* broker, Client* client) -> Task<void> {
    broker->wrong.swap_correlation_ids = 1;
    const net::HostPort address = client->options().bootstrap;
    net::kafka::BrokerConnection connection(client->shard(), address, "test");
    auto answer = co_await connection.call<net::kafka::MetadataResponse>(
        net::kafka::MetadataRequest(), soon(client));
    CHECK(!answer.has_value());
    if (!answer) CHECK(answer.error().code == core::Errc::corruption);
    CHECK(!connection.connected());
    auto again = co_await connection.call<net::kafka::MetadataResponse>(
        net::kafka::MetadataRequest(), soon(client));
    CHECK(again.has_value());
    co_await connection.close();
  });
}

namespace {
Task<void> ask(net::kafka::BrokerConnection* connection, core::Deadline deadline,
               std::vector<core::Errc>* failures) {
  auto answer = co_await connection->call<net::kafka::MetadataResponse>(
      net::kafka::MetadataRequest(), deadline);
  CHECK(!answer.has_value());
  if (!answer) failures->push_back(answer.error().code);
}
}  // namespace

TEST_CASE("closing a connection, or a deadline that passes, fails all calls in flight") {
  run(
      [](FakeBroker*, Client* client) -> Task<void> {
        net::kafka::BrokerConnection connection(client->shard(), client->options().bootstrap,
                                                "test");
        std::vector<core::Errc> failures;
        core::TaskScope scope(client->shard());
        auto connected = co_await connection.connect(soon(client));
        CHECK(connected.has_value());
        scope.spawn(ask(&connection, soon(client), &failures));
        scope.spawn(
            ask(&connection, client->shard().deadline_in(std::chrono::milliseconds(1)), &failures));
        co_await scope.join();
        CHECK(failures == std::vector<core::Errc>{core::Errc::timed_out, core::Errc::timed_out});
        scope.spawn(ask(&connection, soon(client), &failures));
        co_await connection.close();
        co_await scope.join();
        CHECK(failures.size() == 3);
      },
      {.ignore_metadata = true});
}

TEST_CASE("a port where nobody listens is named in the error") {
  const auto code =
      core::run_on_this_thread(core::IoKind::automatic, 1, [](Shard& shard) -> Task<int> {
        auto broker = co_await FakeBroker::open(shard, 1);
        ClientOptions options = options_for(*broker);
        const std::string address = options.bootstrap.to_string();
        co_await broker->close();
        auto client = co_await Client::open(shard, std::move(options));
        CHECK(!client.has_value());
        if (!client) {
          CHECK(client.error().code == core::Errc::refused);
          CHECK(client.error().message.find(address) != std::string::npos);
        }
        co_return 0;
      });
  REQUIRE(code.has_value());
}

}  // namespace sentinel
