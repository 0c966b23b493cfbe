/// The topics command: list, describe, create, grow, delete.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>

#include "apps/cli/format.h"
#include "apps/cli/session.h"

namespace sentinel::apps {

namespace {

using core::ExitCode;
using net::kafka::PartitionView;
using net::kafka::TopicView;

std::string quoted(std::string_view text) {
  std::string json;
  append_json_string(json, text);
  return json;
}

core::Task<ExitCode> list(Session* session, const TopicsOptions* options) {
  auto cluster = co_await session->client->cluster(session->deadline());
  if (!cluster) co_return report(cluster.error());
  if (options->output == Output::json) {
    for (const TopicView& topic : cluster->topics) {
      fmt::print("{{\"topic\":{},\"id\":{},\"partitions\":{},\"internal\":{}}}\n",
                 quoted(topic.name), quoted(topic.id), topic.partitions.size(), topic.internal);
    }
    co_return ExitCode::ok;
  }
  std::size_t width = 5;
  for (const TopicView& topic : cluster->topics) width = std::max(width, topic.name.size());
  fmt::print("{:<{}}  PARTITIONS\n", "TOPIC", width);
  for (const TopicView& topic : cluster->topics) {
    fmt::print("{:<{}}  {}{}\n", topic.name, width, topic.partitions.size(),
               topic.internal ? " (internal)" : "");
  }
  co_return ExitCode::ok;
}

struct OffsetRange {
  std::int64_t oldest = -1;
  std::int64_t end = -1;
};

core::Task<core::Result<OffsetRange>> offsets_of(Session* session, std::string topic,
                                                 std::int32_t partition) {
  net::kafka::Client& client = *session->client;
  SENTINEL_CO_TRY(oldest, co_await client.list_offset(topic, partition, net::kafka::kEarliestOffset,
                                                      session->deadline()));
  SENTINEL_CO_TRY(end, co_await client.list_offset(topic, partition, net::kafka::kLatestOffset,
                                                   session->deadline()));
  co_return OffsetRange{oldest.offset, end.offset};
}

core::Task<ExitCode> describe(Session* session, const TopicsOptions* options) {
  auto topic = co_await session->client->topic(options->topic, false, session->deadline());
  if (!topic) co_return report(topic.error());
  const bool json = options->output == Output::json;
  std::string text =
      json ? fmt::format("{{\"topic\":{},\"id\":{},\"partitions\":[", quoted(topic->name),
                         quoted(topic->id))
           : fmt::format("Topic {} (id {}, {} partition{})\n", topic->name,
                         topic->id.empty() ? "none" : topic->id, topic->partitions.size(),
                         topic->partitions.size() == 1 ? "" : "s");
  for (std::size_t i = 0; i < topic->partitions.size(); ++i) {
    const PartitionView partition = topic->partitions[i];
    auto offsets = co_await offsets_of(session, topic->name, partition.index);
    if (!offsets) co_return report(offsets.error());
    if (json) {
      text += fmt::format(
          "{}{{\"partition\":{},\"leader\":{},\"leader_epoch\":{},\"replicas\":[{}],\"in_sync\":[{}"
          "],\"oldest_offset\":{},"
          "\"end_offset\":{}}}",
          i == 0 ? "" : ",", partition.index, partition.leader, partition.leader_epoch,
          fmt::join(partition.replicas, ","), fmt::join(partition.in_sync, ","), offsets->oldest,
          offsets->end);
    } else {
      text += fmt::format(
          "partition {} | leader {} | replicas {} | in sync {} | offsets {} to {} | {} record(s)\n",
          partition.index, partition.leader, fmt::join(partition.replicas, ","),
          fmt::join(partition.in_sync, ","), offsets->oldest, offsets->end,
          offsets->end - offsets->oldest);
    }
  }
  fmt::print("{}{}", text, json ? "]}\n" : "");
  co_return ExitCode::ok;
}

/// A topic that has just been made. Other brokers of a cluster know it a moment later.
core::Task<core::Result<TopicView>> find_new(Session* session, std::string name) {
  const core::Deadline patience =
      earlier(session->deadline(), session->shard.deadline_in(std::chrono::seconds(5)));
  for (int attempt = 0;; ++attempt) {
    auto topic = co_await session->client->topic(name, false, session->deadline());
    if (topic || topic.error().code != core::Errc::not_found) co_return topic;
    const bool again = co_await session->client->pause(attempt, patience);
    if (!again) co_return topic;
  }
}

core::Task<ExitCode> create(Session* session, const TopicsOptions* options) {
  net::kafka::NewTopic wanted;
  wanted.name = options->topic;
  wanted.partitions = options->partitions;
  wanted.replication_factor = options->replication_factor;
  wanted.configs = options->configs;
  auto created = co_await session->client->create_topic(std::move(wanted), session->deadline());
  if (!created) co_return report(created.error());
  auto topic = co_await find_new(session, options->topic);
  if (!topic) co_return report(topic.error());
  const std::size_t partitions = topic->partitions.size();
  if (options->output == Output::json) {
    fmt::print("{{\"topic\":{},\"id\":{},\"partitions\":{}}}\n", quoted(topic->name),
               quoted(topic->id), partitions);
  } else {
    fmt::print("✓ Created topic {} ({} partition{})\n", topic->name, partitions,
               partitions == 1 ? "" : "s");
  }
  co_return ExitCode::ok;
}

core::Task<ExitCode> grow(Session* session, const TopicsOptions* options) {
  auto grown = co_await session->client->grow_topic(options->topic, options->partitions,
                                                    session->deadline());
  if (!grown) co_return report(grown.error());
  if (options->output == Output::json) {
    fmt::print("{{\"topic\":{},\"partitions\":{}}}\n", quoted(options->topic), options->partitions);
  } else {
    fmt::print("✓ Topic {} has {} partitions\n", options->topic, options->partitions);
  }
  co_return ExitCode::ok;
}

core::Task<ExitCode> remove(Session* session, const TopicsOptions* options) {
  auto deleted = co_await session->client->delete_topic(options->topic, session->deadline());
  if (!deleted) co_return report(deleted.error());
  if (options->output == Output::json) {
    fmt::print("{{\"topic\":{},\"deleted\":true}}\n", quoted(options->topic));
  } else {
    fmt::print("✓ Deleted topic {}\n", options->topic);
  }
  co_return ExitCode::ok;
}

}  // namespace

core::Task<ExitCode> topics(Session* session, const TopicsOptions* options) {
  switch (options->action) {
    case TopicsOptions::Action::list: return list(session, options);
    case TopicsOptions::Action::describe: return describe(session, options);
    case TopicsOptions::Action::create: return create(session, options);
    case TopicsOptions::Action::grow: return grow(session, options);
    case TopicsOptions::Action::remove: return remove(session, options);
  }
  return list(session, options);
}

}  // namespace sentinel::apps
