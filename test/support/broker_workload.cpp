#include "test/support/broker_workload.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "net/kafka/client.h"
#include "net/kafka/consumer.h"
#include "net/kafka/producer.h"

namespace sentinel::test {

using core::Bytes;
using core::Shard;
using core::Task;
using net::HostPort;
using net::kafka::Client;
using net::kafka::Consumer;
using net::kafka::Producer;
using namespace std::chrono_literals;

namespace {

net::kafka::ClientOptions client_options(NodeId broker) {
  net::kafka::ClientOptions options;
  options.bootstrap = HostPort{.host = fmt::format("node-{}", broker), .port = kBrokerPort};
  options.connect_timeout = 2s;
  options.request_timeout = 3s;
  return options;
}

/// A client as soon as a broker is there.
Task<std::unique_ptr<Client>> open_client(Shard* shard, std::vector<NodeId> brokers) {
  for (std::size_t at = 0;; ++at) {
    auto client = co_await Client::open(*shard, client_options(brokers[at % brokers.size()]));
    if (client) co_return std::move(*client);
    co_await core::sleep_for(*shard, 50ms);
  }
}

Bytes make_batch(core::Random& random, const std::vector<std::string>& values) {
  static constexpr consensus::Codec kCodecs[] = {consensus::Codec::none, consensus::Codec::none,
                                                 consensus::Codec::lz4};
  consensus::RecordBatchBuilder builder(kCodecs[random.below(std::size(kCodecs))]);
  for (const std::string& value : values)
    builder.add(1'700'000'000'000, std::nullopt, core::as_bytes(value));
  return builder.finish();
}

}  // namespace

Task<void> create_topic(Shard* shard, Workload workload) {
  std::unique_ptr<Client> client = co_await open_client(shard, workload.brokers);
  for (;;) {
    auto created = co_await client->create_topic(
        {.name = "events", .partitions = workload.partitions, .configs = {}},
        shard->deadline_in(30s));
    if (created || created.error().code == core::Errc::already_exists) break;
  }
  co_await client->close();
}

/// Sends batches of unique values, one after the other, until all were answered or given up.
Task<void> produce(Shard* shard, Workload workload, int id, std::uint64_t seed, History* history) {
  core::Random random(seed);
  std::unique_ptr<Client> client = co_await open_client(shard, workload.brokers);
  std::unique_ptr<Producer> producer;
  for (int batch = 0; batch < workload.batches; ++batch) {
    while (producer == nullptr) {
      auto opened = co_await Producer::open(*client, "events",
                                            {.in_flight_max = 5, .delivery_timeout = 120s});
      if (opened) {
        producer = std::move(*opened);
      } else {
        co_await core::sleep_for(*shard, 100ms);
      }
    }
    std::vector<std::string> values;
    const std::uint64_t count = 1 + random.below(4);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::size_t padding = random.chance(0.1) ? 6000 : random.below(200);
      values.push_back(fmt::format("{}/{:03}/{}/{}", id, batch, i, std::string(padding, 'x')));
      history->attempted.insert(values.back());
    }
    const auto partition =
        static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(workload.partitions)));
    auto sent = co_await producer->send(partition, make_batch(random, values));
    if (sent && sent->base_offset >= 0) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        history->acked[values[i]] =
            Place{partition, sent->base_offset + static_cast<std::int64_t>(i)};
      }
    } else if (!sent) {
      co_await producer->close();
      producer.reset();
    }
    co_await core::sleep_for(*shard, std::chrono::milliseconds(random.below(40)));
  }
  if (producer != nullptr) co_await producer->close();
  co_await client->close();
  ++history->producers_done;
}

/// Reads every partition from its start to its end.
Task<void> read_all(Shard* shard, Workload workload, History* history) {
  std::unique_ptr<Client> client = co_await open_client(shard, workload.brokers);
  for (int partition = 0; partition < workload.partitions; ++partition) {
    auto end = co_await client->list_offset("events", partition, net::kafka::kLatestOffset,
                                            shard->deadline_in(60s));
    if (!end) {
      history->error = end.error().message;
      break;
    }
    Consumer consumer(*client, "events", {{.partition = partition, .begin = 0, .end = end->offset}},
                      {});
    while (!consumer.finished()) {
      auto batches = co_await consumer.next(shard->deadline_in(60s));
      if (!batches) {
        history->error = batches.error().message;
        break;
      }
      if (!batches->has_value()) break;
      net::kafka::RecordWalk walk(std::move(**batches));
      for (;;) {
        auto record = walk.next();
        if (!record) history->error = record.error().message;
        if (!record || !record->has_value()) break;
        history->log[Place{partition, (*record)->offset.value()}] =
            core::as_text(*(*record)->value);
      }
    }
    co_await consumer.close();
  }
  co_await client->close();
  history->read_all = true;
}

void check(const History& history) {
  REQUIRE_MESSAGE(history.error.empty(), history.error);
  std::set<std::string> seen;
  std::map<int, std::int64_t> next_offset;
  std::map<std::pair<int, int>, std::string> last_of_producer;
  for (const auto& [place, value] : history.log) {
    REQUIRE_MESSAGE(place.offset == next_offset[place.partition],
                    "offsets have a gap before " << place.offset);
    ++next_offset[place.partition];
    REQUIRE_MESSAGE(history.attempted.contains(value), "a record nobody sent");
    REQUIRE_MESSAGE(seen.insert(value).second, "twice in the log: " << value.substr(0, 20));
    // Values of one producer sort in the order in which they were sent.
    std::string& last = last_of_producer[{value[0], place.partition}];
    REQUIRE_MESSAGE(last.substr(0, 8) <= value.substr(0, 8),
                    "out of order: " << value.substr(0, 20));
    last = value;
  }
  for (const auto& [value, place] : history.acked) {
    const auto found = history.log.find(place);
    REQUIRE_MESSAGE(found != history.log.end(), "acknowledged and lost: " << value.substr(0, 20));
    REQUIRE_MESSAGE(found->second == value, "another record at the acknowledged offset");
  }
}

}  // namespace sentinel::test
