#include "net/kafka/call_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace sentinel::net::kafka {

namespace {

struct Meaning {
  ErrorCode code;
  core::Errc errc;
  bool retriable;
  std::string_view sentence;  ///< Cause and remedy; continues "produce to orders/0 failed: ".
};

constexpr auto kMeanings = std::to_array<Meaning>({
    {ErrorCode::unknown_server_error, core::Errc::io_error, false,
     "the broker met an error that it does not explain; see its log"},
    {ErrorCode::offset_out_of_range, core::Errc::not_found, false,
     "there is no such offset; topics describe shows the range, --from-beginning starts with the "
     "oldest record"},
    {ErrorCode::corrupt_message, core::Errc::corruption, true,
     "the records were damaged on the way"},
    {ErrorCode::unknown_topic_or_partition, core::Errc::not_found, true,
     "there is no such topic or partition; topics list shows what there is"},
    {ErrorCode::leader_not_available, core::Errc::unreachable, true,
     "the partition has no leader at present"},
    {ErrorCode::not_leader_or_follower, core::Errc::unreachable, true,
     "the partition's leader has moved"},
    {ErrorCode::request_timed_out, core::Errc::timed_out, true,
     "the broker could not finish in time"},
    {ErrorCode::broker_not_available, core::Errc::unreachable, true, "the broker is not available"},
    {ErrorCode::replica_not_available, core::Errc::unreachable, true,
     "the replica is not available"},
    {ErrorCode::message_too_large, core::Errc::too_large, false,
     "the records are larger than the topic's max.message.bytes; raise that, or compress with "
     "--compression zstd"},
    {ErrorCode::network_exception, core::Errc::reset, true, "the broker lost its connection"},
    {ErrorCode::coordinator_load_in_progress, core::Errc::unreachable, true,
     "the coordinator is still loading"},
    {ErrorCode::coordinator_not_available, core::Errc::unreachable, true,
     "the coordinator is not available"},
    {ErrorCode::not_coordinator, core::Errc::unreachable, true, "the coordinator has moved"},
    {ErrorCode::invalid_topic_exception, core::Errc::invalid_argument, false,
     "not a legal topic name: use 1 to 249 letters, digits, '.', '_' and '-'"},
    {ErrorCode::record_list_too_large, core::Errc::too_large, false,
     "the batch is larger than the broker stores; send smaller batches"},
    {ErrorCode::not_enough_replicas, core::Errc::unreachable, true, "too few replicas are in sync"},
    {ErrorCode::not_enough_replicas_after_append, core::Errc::unreachable, true,
     "too few replicas are in sync"},
    {ErrorCode::topic_authorization_failed, core::Errc::not_permitted, false,
     "this user may not use the topic; ask for the right to"},
    {ErrorCode::cluster_authorization_failed, core::Errc::not_permitted, false,
     "this user may not do that; ask for the right to"},
    {ErrorCode::invalid_timestamp, core::Errc::invalid_argument, false,
     "the topic refuses the records' timestamps"},
    {ErrorCode::topic_already_exists, core::Errc::already_exists, false,
     "there is a topic of that name"},
    {ErrorCode::invalid_partitions, core::Errc::invalid_argument, false,
     "the broker refuses that number of partitions"},
    {ErrorCode::invalid_replication_factor, core::Errc::invalid_argument, false,
     "there are fewer brokers than replicas were asked for; lower the replication factor"},
    {ErrorCode::invalid_config, core::Errc::invalid_argument, false,
     "the broker refuses a setting of the topic"},
    {ErrorCode::not_controller, core::Errc::unreachable, true, "the controller has moved"},
    {ErrorCode::invalid_request, core::Errc::invalid_argument, false,
     "the broker refuses the request"},
    {ErrorCode::out_of_order_sequence_number, core::Errc::io_error, false,
     "the broker misses an earlier batch of this producer; records may be lost: compare what was "
     "sent with what is stored"},
    {ErrorCode::invalid_producer_epoch, core::Errc::not_permitted, false,
     "another producer took over this producer's id"},
    {ErrorCode::kafka_storage_error, core::Errc::io_error, true,
     "the broker can't use its disk; see its log"},
    {ErrorCode::unknown_producer_id, core::Errc::io_error, false,
     "the broker has forgotten this producer; start it again"},
    {ErrorCode::fenced_leader_epoch, core::Errc::unreachable, true,
     "the partition's leader has changed"},
    {ErrorCode::unknown_leader_epoch, core::Errc::unreachable, true,
     "the broker has not heard of the new leader"},
    {ErrorCode::unsupported_compression_type, core::Errc::unsupported, false,
     "the broker does not know this compression; choose another with --compression"},
    {ErrorCode::offset_not_available, core::Errc::unreachable, true,
     "the new leader does not know its end yet"},
    {ErrorCode::invalid_record, core::Errc::invalid_argument, false,
     "the broker refuses a record; a compacted topic needs keys"},
    {ErrorCode::throttling_quota_exceeded, core::Errc::busy, true, "a quota is used up"},
    {ErrorCode::policy_violation, core::Errc::not_permitted, false,
     "a policy of the broker forbids it"},
    {ErrorCode::topic_deletion_disabled, core::Errc::not_permitted, false,
     "the broker does not allow topics to be deleted"},
    {ErrorCode::unsupported_version, core::Errc::unsupported, false,
     "the broker does not speak this version of the request"},
});

const Meaning* find_meaning(ErrorCode code) {
  const auto found = std::ranges::find(kMeanings, code, &Meaning::code);
  return found == kMeanings.end() ? nullptr : found;
}

}  // namespace

bool is_retriable(ErrorCode code) {
  const Meaning* meaning = find_meaning(code);
  return meaning != nullptr && meaning->retriable;
}

CallFailure failure_of(ErrorCode code, std::string_view what, std::string_view detail) {
  CallFailure failure;
  failure.code = code;
  const Meaning* meaning = find_meaning(code);
  failure.retriable = meaning != nullptr && meaning->retriable;
  failure.error.code = meaning != nullptr ? meaning->errc : core::Errc::io_error;
  const std::string_view sentence = meaning != nullptr ? meaning->sentence : "the broker refused";
  failure.error.message = fmt::format("{}: {} ({})", what, sentence, to_string(code));
  if (!detail.empty()) failure.error.message += fmt::format("; the broker says: {}", detail);
  return failure;
}

CallFailure failure_of(core::Error error) {
  CallFailure failure;
  switch (error.code) {
    case core::Errc::refused:
    case core::Errc::unreachable:
    case core::Errc::reset:
    case core::Errc::timed_out: failure.retriable = true; break;
    case core::Errc::cancelled:
    case core::Errc::closed:
    case core::Errc::not_found:
    case core::Errc::already_exists:
    case core::Errc::not_permitted:
    case core::Errc::busy:
    case core::Errc::no_space:
    case core::Errc::out_of_memory:
    case core::Errc::too_large:
    case core::Errc::invalid_argument:
    case core::Errc::corruption:
    case core::Errc::newer_format:
    case core::Errc::unsupported:
    case core::Errc::io_error: break;
  }
  failure.error = std::move(error);
  return failure;
}

}  // namespace sentinel::net::kafka
