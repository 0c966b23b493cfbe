#include "consensus/raft_message.h"

#include <algorithm>

#include "core/codec.h"

namespace sentinel::consensus {

namespace {

bool is_ascending(const std::vector<MemberId>& nodes) {
  return std::ranges::adjacent_find(nodes, std::ranges::greater_equal()) == nodes.end();
}

bool is_sound(const Configuration& configuration) {
  return !configuration.voters.empty() && is_ascending(configuration.voters) &&
         is_ascending(configuration.learners) &&
         std::ranges::none_of(configuration.learners,
                              [&](MemberId node) { return configuration.has_voter(node); });
}

bool follow_each_other(const LogPosition& previous, const std::vector<LogEntry>& entries,
                       Term term) {
  LogPosition before = previous;
  for (const LogEntry& entry : entries) {
    const LogPosition here = position_of(entry.key);
    if (here.index != before.index.next() || here.term < before.term || here.term > term)
      return false;
    if (changes_configuration(entry) && !decode_configuration(entry.payload)) return false;
    before = here;
  }
  return previous.term <= term;
}

}  // namespace

bool is_well_formed(const RaftMessage& message) {
  if (const auto* append = std::get_if<AppendRequest>(&message.body))
    return follow_each_other(append->previous, append->entries, message.term);
  if (const auto* install = std::get_if<SnapshotRequest>(&message.body)) {
    return install->snapshot.last.term <= message.term && is_sound(install->snapshot.configuration);
  }
  return true;
}

bool changes_configuration(const LogEntry& entry) {
  return entry.key.type == EntryType::internal && !entry.payload.empty();
}

core::Bytes encode_configuration(const Configuration& configuration) {
  return core::encode_fields(configuration);
}

core::Result<Configuration> decode_configuration(core::ByteSpan payload) {
  SENTINEL_TRY(configuration, core::decode_fields<Configuration>(payload));
  if (!is_sound(configuration))
    return core::fail(core::Errc::corruption, "malformed configuration of a group");
  return configuration;
}

}  // namespace sentinel::consensus
