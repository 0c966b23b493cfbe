#include "consensus/types.h"

namespace sentinel::consensus {

std::string_view to_string(Errc error) {
  switch (error) {
    case Errc::not_leader: return "this broker does not lead the partition";
    case Errc::stale_disk: return "an old copy of a data directory that has been used since";
    case Errc::only_copy: return "there is no majority without this store";
    case Errc::recovering: return "other replicas still lack records";
    case Errc::not_moving: return "the partition is where it is to be";
    case Errc::unknown_node: return "the cluster has no such node";
    case Errc::node_removed: return "the node has been removed from the cluster";
    case Errc::node_in_use: return "there are partitions on the node; drain it first";
    case Errc::node_is_alive: return "the node still runs; stop it first";
    case Errc::offset_out_of_range: return "the offset is outside the log";
    case Errc::corrupt_batch: return "the record batch is damaged: its length or checksum is wrong";
    case Errc::invalid_record: return "the record batch breaks a rule of the format";
    case Errc::batch_too_large:
      return "the record batch is larger than max.message.bytes of the topic";
    case Errc::unsupported_compression:
      return "the compression is not known to this version of Produce";
    case Errc::invalid_timestamp:
      return "a timestamp is too far from the broker's clock, or of a type that is not the "
             "producer's to set";
    case Errc::transactions_unsupported: return "this release has no transactions";
    case Errc::out_of_order_sequence:
      return "the sequence number does not follow the last one of this producer";
    case Errc::invalid_producer_epoch: return "a newer instance of this producer has taken over";
    case Errc::unknown_topic_or_partition: return "there is no such topic or partition";
    case Errc::topic_already_exists: return "the topic exists already";
    case Errc::invalid_topic:
      return "a topic name has 1 to 249 characters of a-z A-Z 0-9 . _ - and is not . or ..";
    case Errc::invalid_partitions: return "the number of partitions is not between 1 and the limit";
    case Errc::invalid_replication_factor: return "there are not as many brokers";
    case Errc::invalid_members:
      return "the change would leave the group's members as they are, or leave nobody";
    case Errc::disk_full:
      return "the broker's disk is nearly full: no records are taken until there is space again";
    case Errc::storage_error: return "the stored data can't be read; see the broker's log";
    case Errc::timed_out: return "not done in time";
    case Errc::cancelled: return "cancelled";
    case Errc::closed: return "the partition is being closed";
    case Errc::overloaded: return "the broker is overloaded";
  }
  return "unknown error";
}

}  // namespace sentinel::consensus
