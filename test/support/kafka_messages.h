#pragma once
/// All messages of the Kafka codec as a list of types, for tests that treat every one alike.

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "net/kafka/messages/alter_partition_reassignments.h"
#include "net/kafka/messages/api_versions.h"
#include "net/kafka/messages/create_partitions.h"
#include "net/kafka/messages/create_topics.h"
#include "net/kafka/messages/delete_records.h"
#include "net/kafka/messages/delete_topics.h"
#include "net/kafka/messages/elect_leaders.h"
#include "net/kafka/messages/fetch.h"
#include "net/kafka/messages/find_coordinator.h"
#include "net/kafka/messages/init_producer_id.h"
#include "net/kafka/messages/list_offsets.h"
#include "net/kafka/messages/list_partition_reassignments.h"
#include "net/kafka/messages/metadata.h"
#include "net/kafka/messages/offset_for_leader_epoch.h"
#include "net/kafka/messages/produce.h"
#include "net/kafka/messages/unregister_broker.h"
#include "net/kafka/wire.h"
#include "net/kafka/wire_json.h"

namespace sentinel::test {

template <typename Request, typename Response>
struct MessagePair {
  using RequestType = Request;
  using ResponseType = Response;
};

using KafkaMessages = std::tuple<
    MessagePair<net::kafka::ProduceRequest, net::kafka::ProduceResponse>,
    MessagePair<net::kafka::FetchRequest, net::kafka::FetchResponse>,
    MessagePair<net::kafka::ListOffsetsRequest, net::kafka::ListOffsetsResponse>,
    MessagePair<net::kafka::MetadataRequest, net::kafka::MetadataResponse>,
    MessagePair<net::kafka::FindCoordinatorRequest, net::kafka::FindCoordinatorResponse>,
    MessagePair<net::kafka::ApiVersionsRequest, net::kafka::ApiVersionsResponse>,
    MessagePair<net::kafka::CreateTopicsRequest, net::kafka::CreateTopicsResponse>,
    MessagePair<net::kafka::DeleteTopicsRequest, net::kafka::DeleteTopicsResponse>,
    MessagePair<net::kafka::DeleteRecordsRequest, net::kafka::DeleteRecordsResponse>,
    MessagePair<net::kafka::InitProducerIdRequest, net::kafka::InitProducerIdResponse>,
    MessagePair<net::kafka::OffsetForLeaderEpochRequest, net::kafka::OffsetForLeaderEpochResponse>,
    MessagePair<net::kafka::CreatePartitionsRequest, net::kafka::CreatePartitionsResponse>,
    MessagePair<net::kafka::ElectLeadersRequest, net::kafka::ElectLeadersResponse>,
    MessagePair<net::kafka::AlterPartitionReassignmentsRequest,
                net::kafka::AlterPartitionReassignmentsResponse>,
    MessagePair<net::kafka::ListPartitionReassignmentsRequest,
                net::kafka::ListPartitionReassignmentsResponse>,
    MessagePair<net::kafka::UnregisterBrokerRequest, net::kafka::UnregisterBrokerResponse>>;

/// What a body means, and the frame that says it again.
struct Recoded {
  std::string json;
  core::Result<core::Chain> frame;
};

template <net::kafka::Message T>
core::Result<Recoded> recode(const core::Bytes& body, std::int16_t version,
                             std::int32_t correlation_id, std::string_view client_id) {
  SENTINEL_TRY(message, net::kafka::decode<T>(body, version));
  std::string json = to_json(message, version, net::kafka::JsonStyle::exact);
  if constexpr (net::kafka::Request<T>) {
    return Recoded{std::move(json),
                   net::kafka::encode_request(message, version, correlation_id, client_id)};
  } else {
    return Recoded{std::move(json), net::kafka::encode_response(message, version, correlation_id)};
  }
}

using Recode = core::Result<Recoded> (*)(const core::Bytes&, std::int16_t, std::int32_t,
                                         std::string_view);

/// The recode() of the message of that key and kind, or null when there is none.
inline Recode find_recode(net::kafka::ApiKey key, net::kafka::MessageKind kind) {
  Recode found = nullptr;
  const auto try_pair = [&]<typename Pair>(std::type_identity<Pair>) {
    if (Pair::RequestType::kKey != key) return;
    const bool request = kind == net::kafka::MessageKind::request;
    found = request ? recode<typename Pair::RequestType> : recode<typename Pair::ResponseType>;
  };
  [&]<typename... Pairs>(std::type_identity<std::tuple<Pairs...>>) {
    (try_pair(std::type_identity<Pairs>{}), ...);
  }(std::type_identity<KafkaMessages>{});
  return found;
}

}  // namespace sentinel::test
