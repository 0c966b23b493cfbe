#pragma once
/// What clients do in a run, with the product's own client, and the history of what they saw.

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/random.h"
#include "net/kafka/client.h"
#include "net/kafka/producer.h"
#include "test/simulator/keyed_topic.h"
#include "test/simulator/scenario.h"
#include "test/support/history.h"
#include "test/support/sim_world.h"

namespace sentinel::simulator {

using test::NodeId;
using test::SimWorld;

class Workload {
 public:
  /// Adds nodes for the clients to the world. `brokers` are those that clients are told of.
  Workload(SimWorld& world, const Scenario& scenario, std::vector<NodeId> brokers);

  /// Makes the topic; done when is_idle().
  void create_topic();
  /// All begin; and go on until stop().
  void start();
  void stop() { stopping_ = true; }
  /// Nothing is under way.
  [[nodiscard]] bool is_idle() const;
  /// One more record to each partition, and then everything is read from the start to the end.
  void finish();
  [[nodiscard]] bool finished() const { return finished_; }
  /// The first answer that can't be right; empty while there was none.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  /// What is wrong with the topic that keeps the latest records; empty when nothing is.
  [[nodiscard]] const std::string& keyed_violation() const { return keyed_.violation(); }

  /// Something that an operator does: runs on a client of its own, one after the other. It gives up
  /// after a while.
  using Errand = std::function<core::Task<void>(net::kafka::Client&)>;
  void send_operator(Errand errand);
  /// The topic is to have one more partition.
  core::Task<void> grow(net::kafka::Client& client);
  /// Another topic is made and deleted, by some clients at the same time.
  core::Task<void> change_topics(net::kafka::Client& client, std::uint64_t seed);
  /// The first part of a partition's records is deleted.
  core::Task<void> trim(net::kafka::Client& client, std::int32_t partition, double part);

  [[nodiscard]] const std::vector<NodeId>& clients() const { return clients_; }
  [[nodiscard]] const test::ClientHistory& history() const { return history_; }
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  static constexpr std::string_view kTopic = "events";

 private:
  using Client = net::kafka::Client;
  using Producer = net::kafka::Producer;

  NodeId add_client();
  core::Task<std::unique_ptr<Client>> open_client(core::Shard* shard, std::size_t first = 0);
  core::Task<void> make_topic(core::Shard* shard);
  core::Task<void> produce(core::Shard* shard, std::uint64_t seed);
  core::Task<void> send(core::Shard* shard, Producer* producer, core::Random* random,
                        std::uint32_t process, bool* broken, std::size_t* in_flight);
  void check_failure(const core::Error& failure);
  core::Task<void> send_weakly(core::Shard* shard, Client* client, core::Random* random);
  core::Task<void> poll(core::Shard* shard, std::uint64_t seed);
  core::Task<bool> read_some(core::Shard* shard, Client* client, std::uint32_t process,
                             std::vector<std::int64_t>* positions, core::TimePoint until);
  void check_refusal(const core::Error& refusal, const std::vector<std::int64_t>& positions);
  core::Task<void> ask_ends(core::Shard* shard, std::uint64_t seed);
  core::Task<std::optional<std::int64_t>> ask_start(core::Shard* shard, Client* client,
                                                    std::int32_t partition,
                                                    core::Duration patience);
  core::Task<void> change_topic(net::kafka::Client* client, std::string name, bool creates);
  core::Task<void> operate(core::Shard* shard);
  core::Task<void> write_keyed(core::Shard* shard);
  core::Task<void> finish_there(core::Shard* shard);
  core::Task<void> read_all(core::Shard* shard, Client* client, std::int32_t partition);

  std::size_t begin_send(core::Shard& shard, core::Random& random, std::uint32_t process,
                         bool weak);
  core::Bytes batch_of(const test::SendOp& send, core::Random& random) const;
  void end_send(core::Shard& shard, std::size_t at, const net::kafka::Produced* produced);
  std::int32_t any_partition(core::Random& random) const;

  SimWorld& world_;
  const Scenario& scenario_;
  const std::vector<NodeId> brokers_;
  std::vector<NodeId> clients_;
  test::ClientHistory history_;
  KeyedTopic keyed_;
  std::int32_t partitions_;
  std::uint32_t next_process_ = 1;
  std::uint64_t next_value_ = 1;
  std::uint64_t operations_ = 0;
  std::string violation_;
  std::deque<Errand> errands_;
  bool stopping_ = false;
  bool finished_ = false;
};

}  // namespace sentinel::simulator
