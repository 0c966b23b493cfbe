#pragma once
/// The cluster's metadata: topics and their partitions, as replicated state.
///
/// The controller (group 0) proposes commands; applying them, in log order, is the only way the
/// image changes, so every replica has the same one. The image is immutable once published: shards
/// hold shared_ptr<const MetadataImage> and swap it whole.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "consensus/types.h"
#include "core/codec.h"
#include "core/result.h"
#include "core/uuid.h"

namespace sentinel::consensus {

inline constexpr GroupId kControllerGroup{0};
inline constexpr std::int32_t kPartitionsPerTopicMax = 10'000;
inline constexpr std::size_t kPartitionsMax = 200'000;
inline constexpr std::size_t kTopicNameBytesMax = 249;

struct ConfigEntry {
  std::string name;
  std::string value;
  static void fields(auto& self, auto& visit) {
    visit(self.name);
    visit(self.value);
  }
};

struct Topic {
  std::string name;
  core::Uuid id;
  GroupId first_group;  ///< Partition p is group first_group + p. Groups are never used twice.
  std::int32_t partition_count = 0;
  std::vector<ConfigEntry> configs;

  /// Whether it has a partition of this number, as a client gave it.
  [[nodiscard]] bool has(std::int32_t partition) const {
    return partition >= 0 && partition < partition_count;
  }
  [[nodiscard]] GroupId group(PartitionIndex partition) const {
    return first_group + static_cast<std::uint64_t>(partition.value());
  }
  static void fields(auto& self, auto& visit) {
    visit(self.name);
    visit(self.id.bytes);
    visit(self.first_group);
    visit(self.partition_count);
    visit(self.configs);
  }
};

struct CreateTopicCommand {
  Topic topic;  ///< first_group is given when the command is applied.
  static void fields(auto& self, auto& visit) { visit(self.topic); }
};
struct DeleteTopicCommand {
  core::Uuid id;
  static void fields(auto& self, auto& visit) { visit(self.id.bytes); }
};
struct ReserveProducerIdsCommand {
  std::uint32_t count = 0;
  static void fields(auto& self, auto& visit) { visit(self.count); }
};

/// First byte of a command's payload.
enum class CommandType : std::uint8_t {
  create_topic = 1,
  delete_topic = 2,
  reserve_producer_ids = 3
};

class MetadataImage {
 public:
  [[nodiscard]] const Topic* find(std::string_view name) const;
  [[nodiscard]] const Topic* find(const core::Uuid& id) const;
  [[nodiscard]] const std::map<std::string, Topic, std::less<>>& topics() const { return topics_; }
  /// Whether some topic has this group.
  [[nodiscard]] bool has_group(GroupId group) const;
  /// Ranges [first, behind the last) of groups whose topics have been deleted.
  [[nodiscard]] std::vector<std::pair<GroupId, GroupId>> deleted_groups() const;
  [[nodiscard]] std::size_t partition_count() const { return partition_count_; }
  [[nodiscard]] ProducerId next_producer_id() const { return next_producer_id_; }
  /// Counts applied commands.
  [[nodiscard]] std::uint64_t version() const { return version_; }

  /// Applies one committed command. A command that no longer fits (the topic exists, or is gone)
  /// changes nothing: who proposed it looks at the outcome. Errc::corruption for bytes that are no
  /// command: the state must not go on from there.
  core::Status apply(core::ByteSpan command);

  [[nodiscard]] core::Bytes encode() const;
  static core::Result<MetadataImage> decode(core::ByteSpan bytes);

 private:
  void create(Topic topic);
  void insert(Topic topic);
  void remove(const core::Uuid& id);

  std::map<std::string, Topic, std::less<>> topics_;
  std::map<core::Uuid, std::string> names_;
  std::map<GroupId, GroupId> group_ranges_;  // First group of a topic to the one behind its last.
  std::size_t partition_count_ = 0;
  GroupId next_group_{1};
  ProducerId next_producer_id_{0};
  std::uint64_t version_ = 0;
};

template <core::Described Command>
core::Bytes encode_command(CommandType type, const Command& command) {
  core::ByteWriter out;
  out.u8(static_cast<std::uint8_t>(type));
  core::encode_fields(out, command);
  return out.to_bytes();
}

/// Whether Kafka allows the name: 1 to 249 of [a-zA-Z0-9._-], not "." or "..".
bool is_legal_topic_name(std::string_view name);

}  // namespace sentinel::consensus
