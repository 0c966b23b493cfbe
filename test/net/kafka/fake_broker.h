#pragma once
/// A broker with one topic in memory that misbehaves on request, for the tests of the client.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/scope.h"
#include "core/shard.h"
#include "net/frame_reader.h"
#include "net/kafka/error_code.h"
#include "net/kafka/wire.h"
#include "net/socket.h"

namespace sentinel::test {

/// What the broker does wrong, how many more times.
struct Misbehaviour {
  int lose_produce_answers = 0;      ///< Stores the batch, then hangs up instead of answering.
  int lose_produce_requests = 0;     ///< Hangs up instead of storing.
  int deny_leadership = 0;           ///< Answers Produce and Fetch with NOT_LEADER_OR_FOLLOWER.
  int hide_leader = 0;               ///< Metadata without a leader.
  int swap_correlation_ids = 0;      ///< Answers Metadata with a wrong correlation id.
  bool only_api_versions_0 = false;  ///< As brokers before KIP-511's request.
  bool ignore_metadata = false;      ///< Never answers it.
  bool refuse_large = false;         ///< Answers Produce with MESSAGE_TOO_LARGE.
};

class FakeBroker {
 public:
  static constexpr std::string_view kTopic = "orders";

  static core::Task<std::unique_ptr<FakeBroker>> open(core::Shard& shard, std::int32_t partitions);
  core::Task<void> close();

  [[nodiscard]] std::uint16_t port() const { return listener_->port(); }
  Misbehaviour wrong;
  /// One partition more.
  void grow() { partitions_.try_emplace(static_cast<std::int32_t>(partitions_.size())); }

  struct Partition {
    std::vector<core::Bytes> batches;
    std::int64_t end = 0;
    std::int32_t next_sequence = 0;
    std::map<std::int32_t, std::int64_t> offset_of_sequence;
  };
  [[nodiscard]] const Partition& partition(std::int32_t index) const {
    return partitions_.at(index);
  }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  FakeBroker(core::Shard& shard, std::int32_t partitions);
  core::Task<void> accept_loop();
  core::Task<void> serve(net::Socket* socket);
  struct Step {
    core::Chain answer;
    bool hang_up = false;
  };
  Step handle(const net::kafka::RequestHeader& header, const core::Bytes& body);
  Step answer_api_versions(const net::kafka::RequestHeader& header);
  Step answer_metadata(const net::kafka::RequestHeader& header);
  Step answer_produce(const net::kafka::RequestHeader& header, const core::Bytes& body);
  Step answer_fetch(const net::kafka::RequestHeader& header, const core::Bytes& body);
  Step answer_list_offsets(const net::kafka::RequestHeader& header, const core::Bytes& body);
  Step answer_init_producer_id(const net::kafka::RequestHeader& header);
  net::kafka::ErrorCode store(Partition& partition, core::Bytes batch, std::int64_t& base_offset);

  core::Shard& shard_;
  std::unique_ptr<net::Listener> listener_;
  std::map<std::int32_t, Partition> partitions_;
  std::vector<std::unique_ptr<net::Socket>> sockets_;
  int connections_ = 0;
  core::TaskScope scope_;
};

}  // namespace sentinel::test
