#pragma once
/// What a request handler may touch.

#include <cstdint>
#include <optional>
#include <string>

#include "consensus/broker_shard.h"
#include "core/bytes.h"
#include "core/cancel.h"
#include "core/sync.h"
#include "core/task.h"
#include "net/flow_budget.h"
#include "net/kafka/memory_plan.h"
#include "net/kafka/wire.h"
#include "net/socket.h"

namespace sentinel::net::kafka {

class ControllerGate;

/// Settings of the broker, shared by all shards and constant after start.
struct BrokerConfig {
  std::int32_t node_id = 1;
  std::string cluster_id;
  /// The address that clients are told; unset: the one they connected to. Port 0: the port they
  /// connected to.
  std::optional<HostPort> advertise;
  bool auto_create_topics = true;
  std::int32_t default_partitions = 1;
  MemoryPlan memory;
  ControllerGate* controller = nullptr;  ///< Set before the first connection.
};

/// The answers of a connection leave in the order of its requests.
struct AnswerOrder {
  std::uint64_t next = 0;  ///< The request whose answer leaves next.
  bool ended = false;      ///< None leaves any more.
  core::Signal changed;
};

/// One request on the shard that its connection lives on. Copies are cheap; what it refers to
/// outlives the request.
struct RequestContext {
  const BrokerConfig& config;
  consensus::BrokerShard& broker;
  /// Host and port under which this client reaches this broker.
  const HostPort& endpoint;
  /// Bytes of records that may be on their way out of this shard; see Reply::reserved.
  FlowBudget& responses;
  AnswerOrder& order;
  std::uint64_t number = 0;  ///< Of this request in `order`.
  core::CancelToken token;   ///< Cancelled when the connection goes away.
  ApiKey key = ApiKey::api_versions;
  std::int16_t version = 0;
  std::int32_t correlation_id = 0;
  core::Bytes body;  ///< What follows the request header; decoded requests are views into it.

  [[nodiscard]] core::Shard& shard() const { return broker.shard(); }
};

/// What becomes of a request.
struct Reply {
  std::optional<core::Chain> response;  ///< None for Produce with acks=0.
  /// Why the connection must be closed; empty: it goes on.
  std::string close_reason;
  /// The shard that alone served this request, when it was another one than the connection's: the
  /// connection may move there.
  std::optional<core::Shard::Id> served_by;
  /// Units taken from RequestContext::responses; given back when the answer has left.
  std::uint64_t reserved = 0;

  static Reply close(std::string reason) {
    return Reply{.response = {}, .close_reason = std::move(reason), .served_by = {}, .reserved = 0};
  }
};

using Handler = core::Task<Reply> (*)(RequestContext);

/// An encoded answer in the version that was asked for.
template <typename Message>
Reply reply(const RequestContext& context, const Message& response) {
  auto encoded = encode_response(response, context.version, context.correlation_id);
  if (!encoded) return Reply::close(std::move(encoded.error().message));
  return Reply{.response = std::move(*encoded), .close_reason = {}, .served_by = {}, .reserved = 0};
}

/// Decodes the body of `context` as a Request, or says why the connection has to go: there is no
/// error answer to what can't be read.
template <typename Message>
core::Result<Message> decode_body(const RequestContext& context) {
  return decode<Message>(context.body, context.version);
}

core::Task<Reply> handle_api_versions(RequestContext context);
core::Task<Reply> handle_metadata(RequestContext context);
core::Task<Reply> handle_produce(RequestContext context);
core::Task<Reply> handle_fetch(RequestContext context);
core::Task<Reply> handle_list_offsets(RequestContext context);
core::Task<Reply> handle_offset_for_leader_epoch(RequestContext context);
core::Task<Reply> handle_find_coordinator(RequestContext context);
core::Task<Reply> handle_create_topics(RequestContext context);
core::Task<Reply> handle_delete_topics(RequestContext context);
core::Task<Reply> handle_delete_records(RequestContext context);
core::Task<Reply> handle_init_producer_id(RequestContext context);
core::Task<Reply> handle_create_partitions(RequestContext context);
core::Task<Reply> handle_elect_leaders(RequestContext context);
core::Task<Reply> handle_alter_partition_reassignments(RequestContext context);
core::Task<Reply> handle_list_partition_reassignments(RequestContext context);
core::Task<Reply> handle_unregister_broker(RequestContext context);

}  // namespace sentinel::net::kafka
