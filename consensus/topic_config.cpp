#include "consensus/topic_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

namespace sentinel::consensus {

namespace {

constexpr std::int64_t kRetentionMsDefault = std::int64_t{7} * 24 * 60 * 60 * 1000;
// As Kafka since 4.0.
constexpr std::int64_t kAheadMsDefault = std::int64_t{60} * 60 * 1000;
constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();

enum class ValueKind : std::uint8_t { number, share, boolean, words, text };

/// One setting. A number lies within [least, most]; `words` lists what else is allowed, separated
/// by blanks.
struct Setting {
  std::string_view name;
  ValueKind kind;
  std::int64_t least = 0;
  std::int64_t most = kAny;
  std::string_view words = {};
};

// Source: the topic-level settings in Kafka's documentation.
constexpr Setting kSettings[] = {
    {"cleanup.policy", ValueKind::words, 0, 0, "delete compact compact,delete delete,compact"},
    {"compression.type", ValueKind::words, 0, 0, "uncompressed zstd lz4 snappy gzip producer"},
    {"compression.gzip.level", ValueKind::number, -1, 9},
    {"compression.lz4.level", ValueKind::number, 1, 17},
    {"compression.zstd.level", ValueKind::number, -131072, 22},
    {"delete.retention.ms", ValueKind::number, 0},
    {"file.delete.delay.ms", ValueKind::number, 0},
    {"flush.messages", ValueKind::number, 1},
    {"flush.ms", ValueKind::number, 0},
    {"follower.replication.throttled.replicas", ValueKind::text},
    {"index.interval.bytes", ValueKind::number, 0},
    {"leader.replication.throttled.replicas", ValueKind::text},
    {"local.retention.bytes", ValueKind::number, -2},
    {"local.retention.ms", ValueKind::number, -2},
    {"max.compaction.lag.ms", ValueKind::number, 1},
    {"max.message.bytes", ValueKind::number, 0, kBatchBytesMax},
    {"message.downconversion.enable", ValueKind::boolean},
    {"message.format.version", ValueKind::text},
    {"message.timestamp.after.max.ms", ValueKind::number, 0},
    {"message.timestamp.before.max.ms", ValueKind::number, 0},
    {"message.timestamp.difference.max.ms", ValueKind::number, 0},
    {"message.timestamp.type", ValueKind::words, 0, 0, "CreateTime LogAppendTime"},
    {"min.cleanable.dirty.ratio", ValueKind::share},
    {"min.compaction.lag.ms", ValueKind::number, 0},
    {"min.insync.replicas", ValueKind::number, 1, std::numeric_limits<std::int32_t>::max()},
    {"preallocate", ValueKind::boolean},
    {"remote.storage.enable", ValueKind::boolean},
    {"retention.bytes", ValueKind::number, -1},
    {"retention.ms", ValueKind::number, -1},
    {"segment.bytes", ValueKind::number, 14, std::numeric_limits<std::int32_t>::max()},
    {"segment.index.bytes", ValueKind::number, 4},
    {"segment.jitter.ms", ValueKind::number, 0},
    {"segment.ms", ValueKind::number, 1},
    {"unclean.leader.election.enable", ValueKind::boolean},
};

std::optional<std::int64_t> parse_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_share(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_one_of(std::string_view words, std::string_view value) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == value) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

bool takes(const Setting& setting, std::string_view value) {
  switch (setting.kind) {
    case ValueKind::number: {
      const auto number = parse_number(value);
      return number.has_value() && *number >= setting.least && *number <= setting.most;
    }
    case ValueKind::share: {
      const auto share = parse_share(value);
      return share.has_value() && *share >= 0 && *share <= 1;
    }
    case ValueKind::boolean: return is_one_of("true false", value);
    case ValueKind::words: return is_one_of(setting.words, value);
    case ValueKind::text: return true;
  }
  return false;
}

const ConfigEntry* find_config(const Topic& topic, std::string_view name) {
  const auto found = std::ranges::find(topic.configs, name, &ConfigEntry::name);
  return found == topic.configs.end() ? nullptr : &*found;
}

/// Leaves `value` as it is when the topic has no such setting.
void read_number(const Topic& topic, std::string_view name, std::int64_t& value) {
  if (const ConfigEntry* entry = find_config(topic, name))
    value = parse_number(entry->value).value_or(value);
}

bool is_compacted(const Topic& topic) {
  const ConfigEntry* policy = find_config(topic, "cleanup.policy");
  return policy != nullptr && policy->value != "delete";
}

}  // namespace

bool may_delete(const Topic& topic) {
  const ConfigEntry* policy = find_config(topic, "cleanup.policy");
  return policy == nullptr || policy->value != "compact";
}

core::Status check_topic_config(std::string_view name, std::string_view value) {
  const auto* found = std::ranges::find(kSettings, name, &Setting::name);
  if (found == std::end(kSettings)) {
    return core::fail(core::Errc::invalid_argument, fmt::format("unknown topic config '{}'", name));
  }
  if (!takes(*found, value)) {
    return core::fail(core::Errc::invalid_argument,
                      fmt::format("'{}' is no valid value of topic config '{}'", value, name));
  }
  return {};
}

RetentionLimits retention_limits(const Topic& topic) {
  RetentionLimits limits{.ms = kRetentionMsDefault, .bytes = -1};
  if (!may_delete(topic)) return {};
  read_number(topic, "retention.ms", limits.ms);
  read_number(topic, "retention.bytes", limits.bytes);
  limits.compact = is_compacted(topic);
  return limits;
}

AppendOptions append_options(const Topic& topic, std::int16_t produce_version) {
  AppendOptions options;
  options.batch_bytes_max = kBatchBytesDefault;
  options.produce_version = produce_version;
  if (const ConfigEntry* entry = find_config(topic, "max.message.bytes")) {
    options.batch_bytes_max =
        static_cast<std::int32_t>(parse_number(entry->value).value_or(kBatchBytesDefault));
  }
  if (const ConfigEntry* entry = find_config(topic, "message.timestamp.type")) {
    options.log_append_time = entry->value == "LogAppendTime";
  }
  options.keys_required = is_compacted(topic);
  options.ahead_ms_max = kAheadMsDefault;
  if (const ConfigEntry* entry = find_config(topic, "message.timestamp.difference.max.ms")) {
    options.ahead_ms_max = options.behind_ms_max = parse_number(entry->value).value_or(kAny);
  }
  read_number(topic, "message.timestamp.after.max.ms", options.ahead_ms_max);
  read_number(topic, "message.timestamp.before.max.ms", options.behind_ms_max);
  return options;
}

CleaningRules cleaning_rules(const Topic& topic) {
  CleaningRules rules;
  rules.compact = is_compacted(topic);
  if (const ConfigEntry* entry = find_config(topic, "min.cleanable.dirty.ratio"))
    rules.dirty_share_min = parse_share(entry->value).value_or(rules.dirty_share_min);
  read_number(topic, "min.compaction.lag.ms", rules.lag_ms_min);
  read_number(topic, "max.compaction.lag.ms", rules.lag_ms_max);
  read_number(topic, "delete.retention.ms", rules.tombstone_ms);
  return rules;
}

}  // namespace sentinel::consensus
