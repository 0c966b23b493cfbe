#pragma once
/// The numbers and outcomes of this floor.

#include <cstdint>
#include <string_view>

#include "core/result.h"
#include "core/tagged.h"

namespace sentinel::consensus {

/// A broker, as flags and Kafka clients number them.
using NodeId = core::Tagged<std::int32_t, struct NodeIdTag>;
/// A node with one disk, as Raft groups number their members. A node that comes back with another
/// disk is another member: it has none of what the one before has promised.
using MemberId = core::Tagged<std::int64_t, struct MemberIdTag>;
/// A Raft group: one a partition; 0 is the controller.
using GroupId = core::Tagged<std::uint64_t, struct GroupIdTag>;
using Term = core::Tagged<std::uint64_t, struct TermTag>;
/// Counts entries of a group's log from 1.
using LogIndex = core::Tagged<std::uint64_t, struct LogIndexTag>;
/// Kafka's offset: counts records of a partition from 0.
using Offset = core::Tagged<std::int64_t, struct OffsetTag>;
using PartitionIndex = core::Tagged<std::int32_t, struct PartitionIndexTag>;
using ProducerId = core::Tagged<std::int64_t, struct ProducerIdTag>;

/// `disk` counts the disks that the node has had, from 1.
constexpr MemberId member_of(NodeId node, std::int32_t disk) {
  return MemberId((std::int64_t{disk} << 32) | node.value());
}
constexpr NodeId node_of(MemberId member) {
  return NodeId(static_cast<std::int32_t>(member.value() & 0xffffffff));
}

/// Kafka's leader epoch is the term of the partition's group. This is the one place that says so.
inline std::int32_t leader_epoch_of(Term term) { return core::narrow<std::int32_t>(term.value()); }

/// Expected outcomes of this floor's operations.
enum class Errc : std::uint8_t {
  not_leader,
  offset_out_of_range,
  corrupt_batch,   ///< Length or checksum wrong.
  invalid_record,  ///< Well-formed bytes that break a rule.
  batch_too_large,
  unsupported_compression,
  invalid_timestamp,
  transactions_unsupported,
  out_of_order_sequence,
  invalid_producer_epoch,
  unknown_topic_or_partition,
  topic_already_exists,
  invalid_topic,
  invalid_partitions,
  invalid_replication_factor,
  invalid_members,  ///< A change of a group's members that changes nothing, or leaves nobody.
  stale_disk,       ///< An old copy of a data directory that has been used since.
  not_moving,       ///< There is nothing to take back: the partition is where it is to be.
  unknown_node,
  node_removed,   ///< For good; its data directory can't be used any more.
  node_in_use,    ///< There are partitions on it.
  only_copy,      ///< A store has what no majority of others has.
  recovering,     ///< Others are still getting what they lack.
  node_is_alive,  ///< Where only one that is stopped may be.
  storage_error,
  disk_full,  ///< For new records; they are taken again once there is space.
  timed_out,
  cancelled,
  closed,
  overloaded,
};

std::string_view to_string(Errc error);

template <typename T>
using Result = core::Result<T, Errc>;

}  // namespace sentinel::consensus
