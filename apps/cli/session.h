#pragma once
/// What a command works with: its shards and the connected client.

#include <memory>
#include <string_view>

#include "apps/cli/options.h"
#include "core/assert.h"
#include "core/result.h"
#include "core/shard.h"
#include "core/task.h"
#include "net/kafka/client.h"

namespace sentinel::apps {

struct Session {
  core::Shard& shard;
  core::Shard& blocking;  ///< For reads and writes of terminals and pipes.
  std::unique_ptr<net::kafka::Client> client;
  core::Duration timeout;

  [[nodiscard]] core::Deadline deadline() const { return shard.deadline_in(timeout); }
};

/// Prints one sentence and returns the exit code for a failure.
core::ExitCode report(const core::Error& error);

core::Task<core::ExitCode> produce(Session* session, const ProduceOptions* options);
core::Task<core::ExitCode> consume(Session* session, const ConsumeOptions* options);
core::Task<core::ExitCode> topics(Session* session, const TopicsOptions* options);
core::Task<core::ExitCode> cluster(Session* session, const ClusterOptions* options);
/// Needs no broker.
core::Task<core::ExitCode> verify(core::Shard& shard, const VerifyOptions* options);
core::Task<core::ExitCode> dump(core::Shard& shard, const DumpOptions* options);

}  // namespace sentinel::apps
