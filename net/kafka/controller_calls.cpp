#include "net/kafka/controller_calls.h"

#include "core/call.h"

namespace sentinel::net::kafka {

namespace {

using consensus::BrokerShard;
using consensus::NewTopic;
using consensus::Result;
using consensus::Topic;

core::Task<Result<Topic>> create_there(BrokerShard* controller_shard, NewTopic topic,
                                       bool validate_only) {
  if (!validate_only)
    co_return co_await controller_shard->controller().create_topic(std::move(topic));
  const Result<void> allowed = controller_shard->controller().check_new_topic(topic);
  if (!allowed) co_return std::unexpected(allowed.error());
  co_return Topic{.name = std::move(topic.name),
                  .id = {},
                  .first_group = {},
                  .partition_count = topic.partition_count,
                  .configs = std::move(topic.configs)};
}

core::Task<Result<Topic>> delete_there(BrokerShard* controller_shard, core::Uuid id) {
  co_return co_await controller_shard->controller().delete_topic(id);
}

core::Task<Result<consensus::ProducerId>> new_id_there(BrokerShard* controller_shard) {
  co_return co_await controller_shard->controller().new_producer_id();
}

}  // namespace

core::Task<Result<Topic>> create_topic(BrokerShard& broker, NewTopic topic, bool validate_only) {
  BrokerShard& there = broker.home_of(consensus::kControllerGroup);
  co_return co_await core::call(broker.shard(), there.shard(), &create_there, &there,
                                std::move(topic), validate_only);
}

core::Task<Result<Topic>> delete_topic(BrokerShard& broker, core::Uuid id) {
  BrokerShard& there = broker.home_of(consensus::kControllerGroup);
  co_return co_await core::call(broker.shard(), there.shard(), &delete_there, &there, id);
}

core::Task<Result<consensus::ProducerId>> new_producer_id(BrokerShard& broker) {
  BrokerShard& there = broker.home_of(consensus::kControllerGroup);
  co_return co_await core::call(broker.shard(), there.shard(), &new_id_there, &there);
}

}  // namespace sentinel::net::kafka
