/// sentinel-server: flags in, a running broker out.

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <random>

#include "apps/server/config.h"
#include "core/log.h"
#include "core/runtime.h"
#include "net/kafka/node.h"

namespace sentinel::apps {
namespace {

using core::ExitCode;
using net::kafka::Node;
using net::kafka::NodeOptions;
using net::kafka::StartError;
using net::kafka::StartStep;

ExitCode exit_code_of(const StartError& error) {
  if (error.step == StartStep::network) {
    return error.error.code == core::Errc::busy ? ExitCode::port_in_use : ExitCode::failed;
  }
  // What belonging to a cluster means is written down: the disk may fail there too.
  const bool of_disk =
      error.error.code == core::Errc::io_error || error.error.code == core::Errc::no_space;
  if (error.step == StartStep::cluster && !of_disk) return ExitCode::not_in_cluster;
  switch (error.error.code) {
    case core::Errc::busy: return ExitCode::data_locked;
    case core::Errc::corruption: return ExitCode::data_corrupt;
    case core::Errc::newer_format: return ExitCode::data_newer_format;
    case core::Errc::no_space: return ExitCode::disk_full;
    case core::Errc::io_error: return ExitCode::io_failed;
    case core::Errc::out_of_memory: return ExitCode::usage;
    case core::Errc::refused: return ExitCode::not_in_cluster;
    case core::Errc::cancelled:
    case core::Errc::timed_out:
    case core::Errc::closed:
    case core::Errc::not_found:
    case core::Errc::already_exists:
    case core::Errc::not_permitted:
    case core::Errc::unreachable:
    case core::Errc::reset:
    case core::Errc::too_large:
    case core::Errc::invalid_argument:
    case core::Errc::unsupported: return ExitCode::data_unusable;
  }
  return ExitCode::failed;
}

std::string sentence_of(const StartError& error, const ServerConfig& config) {
  const std::string& what = error.error.message;
  switch (exit_code_of(error)) {
    case ExitCode::port_in_use:
      return fmt::format(
          "port {} is in use by another program; stop it, or choose another with --port (0 picks a "
          "free one)",
          config.port);
    case ExitCode::data_corrupt:
      return fmt::format(
          "{}; the file was left as it is: restore it from a copy, or give another --data", what);
    case ExitCode::disk_full: return fmt::format("{}; free some space and start again", what);
    case ExitCode::data_unusable:
      return fmt::format(
          "{}; make {} a directory that this user can write to, or give another --data", what,
          config.data_directory);
    case ExitCode::ok:
    case ExitCode::failed:
    case ExitCode::usage:
    case ExitCode::cannot_connect:
    case ExitCode::data_locked:
    case ExitCode::data_newer_format:
    case ExitCode::io_failed:
    case ExitCode::not_in_cluster:
    case ExitCode::no_io_backend: break;
  }
  return what;
}

/// Connections and files both need descriptors; the soft limit is only a default.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

core::Task<core::Result<std::unique_ptr<Node>, StartError>> open_node(
    core::Shard&, std::vector<core::Shard*> shards, NodeOptions options, core::Log* log) {
  co_return co_await Node::open(std::move(shards), std::move(options), log);
}

core::Task<void> close_node(core::Shard&, Node* node) { co_await node->close(); }

/// By which a node asks to be opened anew.
constexpr int kRestart = SIGUSR1;

int wait_for_signal(sigset_t signals) {
  sigaddset(&signals, kRestart);
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

using core::Runtime;

/// Opens a node and serves until it is to stop. Whether it is to be opened again.
bool serve_once(Runtime& runtime, const ServerConfig& config, const NodeOptions& options,
                const sigset_t& stop_signals, core::Log& log) {
  std::vector<core::Shard*> shards;
  for (std::uint32_t i = 0; i < runtime.count(); ++i) shards.push_back(&runtime.shard(i));
  // Waiting for other nodes may take long; ending it in the middle is like a crash, which is safe.
  if (!config.peers.empty()) pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  auto node = runtime.run_on(0, &open_node, std::move(shards), options, &log);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  if (!node && node.error().step == StartStep::again) return true;
  if (!node) core::fatal(exit_code_of(node.error()), sentence_of(node.error(), config));
  fmt::print("Sentinel server listening on port {}\n", (*node)->port());
  std::fflush(stdout);

  const bool again = wait_for_signal(stop_signals) == kRestart;
  log.write(core::LogLevel::info, "{}", again ? "opening the data directory anew" : "stopping");
  runtime.run_on(0, &close_node, node->get());
  // While the shards are there that it refers to.
  node->reset();
  return again;
}

int serve(const ServerConfig& config) {
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  sigset_t all_signals = stop_signals;
  sigaddset(&all_signals, kRestart);
  // Blocked before any thread starts, so that only the wait for them sees them.
  pthread_sigmask(SIG_BLOCK, &all_signals, nullptr);
  raise_descriptor_limit();
  fmt::print("Starting Sentinel server on port {} (data: {})\n", config.port,
             config.data_directory);
  std::fflush(stdout);

  core::Log log(config.log_level, core::Log::standard_error());
  std::random_device entropy;
  const std::uint64_t seed = (std::uint64_t{entropy()} << 32) | entropy();
  auto runtime =
      core::Runtime::start({.shards = config.shards, .io = config.io, .seed = seed, .pin = true});
  if (!runtime) {
    const bool insisted = config.io == core::IoKind::uring;
    core::fatal(ExitCode::no_io_backend,
                fmt::format("{}{}", runtime.error().message,
                            insisted ? "; --io auto and --io asio do without it" : ""));
  }
  if (!(*runtime)->fallback_reason().empty()) {
    log.write(core::LogLevel::info, "io_uring is not available ({}); using epoll and threads",
              (*runtime)->fallback_reason());
  }
  const NodeOptions options{.data_directory = config.data_directory,
                            .port = config.port,
                            .node_id = config.node_id,
                            .peers = config.peers,
                            .advertise = config.advertise,
                            .auto_create_topics = config.auto_create_topics,
                            .default_partitions = config.default_partitions,
                            .memory_bytes = config.memory_bytes,
                            .wal = {},
                            .raft = {},
                            .restart = [] { kill(getpid(), kRestart); }};
  while (serve_once(**runtime, config, options, stop_signals, log)) {
  }
  (*runtime)->stop();
  return static_cast<int>(ExitCode::ok);
}

}  // namespace
}  // namespace sentinel::apps

int main(int argc, char** argv) {
  using namespace sentinel;  // NOLINT(google-build-using-namespace)
  auto config = apps::parse_server_config(argc, argv);
  if (!config) core::fatal(core::ExitCode::usage, config.error().message);
  if (const auto* text = std::get_if<apps::PrintAndExit>(&*config)) {
    std::fputs(text->text.c_str(), stdout);
    return 0;
  }
  return apps::serve(std::get<apps::ServerConfig>(*config));
}
