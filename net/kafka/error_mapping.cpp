#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

ErrorCode to_error_code(consensus::Errc error) {
  using consensus::Errc;
  switch (error) {
    case Errc::not_leader: return ErrorCode::not_leader_or_follower;
    case Errc::offset_out_of_range: return ErrorCode::offset_out_of_range;
    case Errc::corrupt_batch: return ErrorCode::corrupt_message;
    case Errc::invalid_record: return ErrorCode::invalid_record;
    case Errc::batch_too_large: return ErrorCode::message_too_large;
    case Errc::unsupported_compression: return ErrorCode::unsupported_compression_type;
    case Errc::invalid_timestamp: return ErrorCode::invalid_timestamp;
    case Errc::transactions_unsupported: return ErrorCode::transactional_id_authorization_failed;
    case Errc::out_of_order_sequence: return ErrorCode::out_of_order_sequence_number;
    case Errc::invalid_producer_epoch: return ErrorCode::invalid_producer_epoch;
    case Errc::unknown_topic_or_partition: return ErrorCode::unknown_topic_or_partition;
    case Errc::topic_already_exists: return ErrorCode::topic_already_exists;
    case Errc::invalid_topic: return ErrorCode::invalid_topic_exception;
    case Errc::invalid_partitions: return ErrorCode::invalid_partitions;
    case Errc::invalid_replication_factor: return ErrorCode::invalid_replication_factor;
    case Errc::invalid_members: return ErrorCode::invalid_request;
    case Errc::stale_disk:
    case Errc::node_removed:
    case Errc::node_in_use:
    case Errc::node_is_alive: return ErrorCode::invalid_request;
    case Errc::only_copy:
    case Errc::recovering: return ErrorCode::invalid_request;
    case Errc::not_moving: return ErrorCode::no_reassignment_in_progress;
    case Errc::unknown_node: return ErrorCode::broker_id_not_registered;
    case Errc::disk_full:
    case Errc::storage_error: return ErrorCode::kafka_storage_error;
    case Errc::timed_out: return ErrorCode::request_timed_out;
    // A partition that is being closed or moved is asked for again elsewhere.
    case Errc::cancelled:
    case Errc::closed: return ErrorCode::not_leader_or_follower;
    case Errc::overloaded: return ErrorCode::request_timed_out;
  }
  return ErrorCode::unknown_server_error;
}

}  // namespace sentinel::net::kafka
