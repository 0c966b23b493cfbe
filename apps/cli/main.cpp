/// sentinel-cli: write to, read from and look after a broker, and check its data.

#include <fmt/format.h>

#include <cstdio>
#include <random>
#include <string_view>

#include "apps/cli/options.h"
#include "apps/cli/session.h"
#include "core/runtime.h"

namespace sentinel::apps {

namespace {
constexpr std::string_view kIsItRunning =
    "; is the broker running there? --broker HOST:PORT names another";
}  // namespace

core::ExitCode report(const core::Error& error) {
  const bool gone = error.code == core::Errc::refused || error.code == core::Errc::unreachable;
  fmt::print(stderr, "sentinel-cli: {}{}\n",
             error.message.empty() ? core::to_string(error.code) : error.message,
             gone ? kIsItRunning : "");
  return gone ? core::ExitCode::cannot_connect : core::ExitCode::failed;
}

namespace {

/// Connects. Says why on standard error when that fails.
core::Task<std::unique_ptr<Session>> open_session(core::Shard& shard, core::Shard& blocking,
                                                  ConnectionOptions options) {
  net::kafka::ClientOptions client_options;
  client_options.bootstrap = options.broker;
  client_options.client_id = "sentinel-cli";
  client_options.connect_timeout =
      std::min<core::Duration>(client_options.connect_timeout, options.timeout);
  client_options.request_timeout = options.timeout;
  auto client = co_await net::kafka::Client::open(shard, std::move(client_options));
  if (!client) {
    fmt::print(stderr, "sentinel-cli: {}{}\n", client.error().message, kIsItRunning);
    co_return nullptr;
  }
  co_return std::unique_ptr<Session>(
      new Session{shard, blocking, std::move(*client), options.timeout});
}

core::Task<core::ExitCode> dispatch(Session* session, const ProduceOptions* options) {
  return produce(session, options);
}
core::Task<core::ExitCode> dispatch(Session* session, const ConsumeOptions* options) {
  return consume(session, options);
}
core::Task<core::ExitCode> dispatch(Session* session, const TopicsOptions* options) {
  return topics(session, options);
}
core::Task<core::ExitCode> dispatch(Session* session, const ClusterOptions* options) {
  return cluster(session, options);
}

template <typename Options>
core::Task<core::ExitCode> program(core::Shard& shard, core::Shard* blocking,
                                   const Options* options) {
  auto session = co_await open_session(shard, *blocking, options->connection);
  if (session == nullptr) co_return core::ExitCode::cannot_connect;
  const core::ExitCode code = co_await dispatch(session.get(), options);
  co_await session->client->close();
  co_return code;
}

template <typename Options>
core::ExitCode run(const Options& options) {
  std::random_device entropy;
  const std::uint64_t seed = (std::uint64_t{entropy()} << 32) | entropy();
  // One shard for the client, one that may wait for pipes and terminals.
  auto runtime =
      core::Runtime::start({.shards = 2, .io = options.connection.io, .seed = seed, .pin = false});
  if (!runtime) {
    report(runtime.error());
    return core::ExitCode::no_io_backend;
  }
  core::Shard* blocking = &(*runtime)->shard(1);
  const core::ExitCode code = (*runtime)->run_on(0, &program<Options>, blocking, &options);
  (*runtime)->stop();
  return code;
}

/// A command that needs no broker.
template <auto program, typename Options>
core::ExitCode run_offline(const Options& options) {
  auto runtime = core::Runtime::start({.shards = 1, .io = options.io, .seed = 1, .pin = false});
  if (!runtime) {
    report(runtime.error());
    return core::ExitCode::no_io_backend;
  }
  const core::ExitCode code = (*runtime)->run_on(0, program, &options);
  (*runtime)->stop();
  return code;
}

core::ExitCode run(const VerifyOptions& options) { return run_offline<&verify>(options); }
core::ExitCode run(const DumpOptions& options) { return run_offline<&dump>(options); }

core::ExitCode run(const PrintAndExit& print) {
  std::fputs(print.text.c_str(), stdout);
  return core::ExitCode::ok;
}

}  // namespace
}  // namespace sentinel::apps

int main(int argc, char** argv) {
  using namespace sentinel;  // NOLINT(google-build-using-namespace)
  auto command = apps::parse_command(argc, argv);
  if (!command) {
    apps::report(command.error());
    return static_cast<int>(core::ExitCode::usage);
  }
  const core::ExitCode code =
      std::visit([](const auto& options) { return apps::run(options); }, *command);
  return static_cast<int>(code);
}
