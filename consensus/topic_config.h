#pragma once
/// Topic settings: which names are known, which values they take, and what they mean to a
/// partition.
///
/// Every name that Kafka documents is accepted, stored and given back, also those without a meaning
/// here, because frameworks set them and read them back.

#include <cstdint>
#include <string>
#include <string_view>

#include "consensus/metadata.h"
#include "consensus/partition.h"
#include "core/result.h"

namespace sentinel::consensus {

/// Kafka's default of max.message.bytes: 1 MiB and a batch header.
inline constexpr std::int32_t kBatchBytesDefault = 1'048'588;
/// A batch must fit a record of the write-ahead log.
inline constexpr std::int32_t kBatchBytesMax = 16 << 20;

/// Errc::invalid_argument with a sentence when the name is unknown or the value not one it takes.
core::Status check_topic_config(std::string_view name, std::string_view value);

/// What of the topic's partitions may be given up; without settings a week is kept, as by Kafka.
/// Nothing may if the cleanup policy is not to delete.
RetentionLimits retention_limits(const Topic& topic);

/// Whether the topic's cleanup policy lets records be deleted, by limits or by request.
bool may_delete(const Topic& topic);

/// Whether and how the topic's partitions are compacted by key.
CleaningRules cleaning_rules(const Topic& topic);

/// The settings of `topic` that an append needs, for a Produce request of `produce_version`.
AppendOptions append_options(const Topic& topic, std::int16_t produce_version);

}  // namespace sentinel::consensus
