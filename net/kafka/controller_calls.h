#pragma once
/// The controller's decisions, asked for from any shard.

#include "consensus/broker_shard.h"
#include "core/task.h"

namespace sentinel::net::kafka {

/// Creates a topic, or with `validate_only` says whether it could be created. Resolves when every
/// shard of this broker knows it.
core::Task<consensus::Result<consensus::Topic>> create_topic(consensus::BrokerShard& broker,
                                                             consensus::NewTopic topic,
                                                             bool validate_only);
core::Task<consensus::Result<consensus::Topic>> delete_topic(consensus::BrokerShard& broker,
                                                             core::Uuid id);
core::Task<consensus::Result<consensus::ProducerId>> new_producer_id(
    consensus::BrokerShard& broker);

}  // namespace sentinel::net::kafka
