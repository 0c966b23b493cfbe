#include "apps/server/config.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "apps/server/machine_memory.h"

namespace sentinel::apps {

namespace {

namespace po = boost::program_options;

constexpr std::string_view kIntroduction =
    R"(Sentinel: a durable message log that Kafka clients use.

A write is acknowledged once it is on disk. Two flags are all it needs:

  sentinel-server --port 9092 --data ./data

Three make a cluster, in which a write is on the disks of two before it is acknowledged. All get the
same --peers; each listens for the others at its own address in it:

  sentinel-server --port 9092 --data ./data --node-id 1 --peers 1@a:9192,2@b:9192,3@c:9192

Every long flag works with one dash as well (-port 9092).
)";

constexpr std::string_view kAfterword = R"(
A configuration file has one "name = value" a line, with the names of the flags:

  port = 9092
  data = /var/lib/sentinel

Flags on the command line win over the file. SIGTERM and SIGINT stop the server cleanly.

Exit codes: 0 stopped, 2 wrong flag, 10 port in use, 11 data directory in use, 12 data directory
not usable, 13 data written by a later release, 14 data damaged, 15 disk full, 16 read or write
failed, 17 no I/O interface, 18 refused by the other nodes of the cluster.
)";

std::uint32_t available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::uint32_t>(CPU_COUNT(&set));
}

constexpr std::int64_t kShardsMax = 256;
// The rest is the system's, which keeps in it what is read of tables.
constexpr std::uint64_t kMemoryShare = 4;
constexpr std::uint64_t kMemoryDefaultMin = std::uint64_t{512} << 20;

std::uint64_t default_memory() {
  return std::max(machine_memory() / kMemoryShare, kMemoryDefaultMin);
}

/// "512MiB", "2GiB", "2G" or a plain number of bytes.
std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  constexpr std::string_view kUnits = "KMGT";
  if (unit.empty()) return number;
  const std::size_t power = kUnits.find(unit.front());
  unit.remove_prefix(1);
  const bool known = power != std::string_view::npos && (unit.empty() || unit == "iB");
  const std::size_t shift = 10 * (power + 1);
  if (!known || number > (UINT64_MAX >> shift)) return std::nullopt;
  return number << shift;
}

struct Raw {
  std::int64_t port = 9092;
  std::string data;
  std::int64_t node_id = 0;
  std::string peers;
  std::int64_t shards = 0;
  std::string io;
  std::string advertise;
  bool auto_create_topics = true;
  std::int32_t default_partitions = 1;
  std::string memory;
  std::string log_level;
  std::string config;
};

po::options_description describe(Raw& raw) {
  po::options_description settings("Flags");
  auto add = settings.add_options();
  add("port", po::value(&raw.port)->default_value(9092)->value_name("PORT"),
      "port to listen on; 0 picks a free one and prints it");
  add("data", po::value(&raw.data)->default_value("./data")->value_name("DIR"),
      "directory for everything stored; made if missing");
  add("node-id", po::value(&raw.node_id)->value_name("N"),
      "number of this server in its cluster, from 1");
  add("peers", po::value(&raw.peers)->value_name("N@HOST:PORT,..."),
      "the servers of the cluster, with the addresses at which they reach each other");
  add("shards",
      po::value(&raw.shards)->default_value(std::int64_t{available_cpus()})->value_name("N"),
      "threads, each with its own share of the partitions");
  add("io", po::value(&raw.io)->default_value("auto")->value_name("KIND"),
      "auto, uring (io_uring) or asio (epoll and threads)");
  add("advertise", po::value(&raw.advertise)->value_name("HOST[:PORT]"),
      "address that clients are told; default: the one they connected to");
  add("auto-create-topics",
      po::value(&raw.auto_create_topics)->default_value(true, "true")->value_name("BOOL"),
      "create a topic when a client that allows it first names it");
  add("default-partitions", po::value(&raw.default_partitions)->default_value(1)->value_name("N"),
      "partitions of a topic that does not say");
  add("memory",
      po::value(&raw.memory)
          ->default_value(fmt::format("{}MiB", default_memory() >> 20))
          ->value_name("SIZE"),
      "what the server may use, as 512MiB or 4GiB; default: a quarter of the machine's memory. "
      "At the ceiling producers wait");
  add("log-level", po::value(&raw.log_level)->default_value("info")->value_name("LEVEL"),
      "debug, info, warn, error or off");
  return settings;
}

core::Error usage_error(std::string_view what) {
  return core::Error{core::Errc::invalid_argument,
                     fmt::format("{}; see sentinel-server --help", what)};
}

core::Result<net::rpc::PeerAddress> parse_peer(std::string_view text) {
  const auto malformed = [&] {
    return std::unexpected(
        usage_error(fmt::format("--peers: '{}' is no N@HOST:PORT, as 1@localhost:9192", text)));
  };
  const std::size_t at = text.find('@');
  net::rpc::PeerAddress peer;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + std::min(at, text.size()), peer.node_id);
  if (at == std::string_view::npos || error != std::errc() || end != text.data() + at ||
      peer.node_id < 1)
    return malformed();
  auto address = net::HostPort::parse(text.substr(at + 1), 0);
  if (!address) return malformed();
  peer.address = std::move(*address);
  return peer;
}

/// --node-id and --peers, which belong together.
core::Status check_cluster(const Raw& raw, ServerConfig& config) {
  if (raw.node_id < 0 || raw.node_id > INT32_MAX)
    return std::unexpected(
        usage_error(fmt::format("--node-id {} is not between 1 and {}", raw.node_id, INT32_MAX)));
  if (raw.node_id > 0) config.node_id = static_cast<std::int32_t>(raw.node_id);
  if (raw.peers.empty()) return {};
  std::string_view left = raw.peers;
  while (!left.empty()) {
    const std::size_t comma = std::min(left.find(','), left.size());
    SENTINEL_TRY(peer, parse_peer(left.substr(0, comma)));
    for (const net::rpc::PeerAddress& other : config.peers) {
      if (other.node_id == peer.node_id)
        return std::unexpected(
            usage_error(fmt::format("--peers names node {} twice", peer.node_id)));
    }
    config.peers.push_back(std::move(peer));
    left.remove_prefix(std::min(comma + 1, left.size()));
  }
  if (!config.node_id.has_value())
    return std::unexpected(usage_error("--peers needs --node-id: which of them is this server?"));
  const bool has_self = std::ranges::find(config.peers, *config.node_id,
                                          &net::rpc::PeerAddress::node_id) != config.peers.end();
  if (!has_self) {
    return std::unexpected(usage_error(
        fmt::format("--peers lacks node {}, which is this server: add {}@HOST:PORT, the address at "
                    "which the others reach it",
                    *config.node_id, *config.node_id)));
  }
  return {};
}

core::Result<ServerConfig> check(const Raw& raw) {
  ServerConfig config;
  SENTINEL_CHECK(check_cluster(raw, config));
  if (raw.port < 0 || raw.port > 65535) {
    return std::unexpected(
        usage_error(fmt::format("--port {} is not between 0 and 65535", raw.port)));
  }
  config.port = static_cast<std::uint16_t>(raw.port);
  if (raw.data.empty()) return std::unexpected(usage_error("--data is empty"));
  config.data_directory = raw.data;
  if (raw.shards < 1 || raw.shards > kShardsMax) {
    return std::unexpected(
        usage_error(fmt::format("--shards {} is not between 1 and {}", raw.shards, kShardsMax)));
  }
  config.shards = static_cast<std::uint32_t>(raw.shards);
  const auto io = core::parse_io_kind(raw.io);
  if (!io)
    return std::unexpected(
        usage_error(fmt::format("--io '{}' is none of auto, uring, asio", raw.io)));
  config.io = *io;
  if (!raw.advertise.empty()) {
    // Without a port of its own it takes the one that the server listens on.
    auto advertise = net::HostPort::parse(raw.advertise, 0);
    if (!advertise)
      return std::unexpected(
          usage_error(fmt::format("--advertise: {}", advertise.error().message)));
    config.advertise = std::move(*advertise);
  }
  config.auto_create_topics = raw.auto_create_topics;
  if (raw.default_partitions < 1 || raw.default_partitions > consensus::kPartitionsPerTopicMax) {
    return std::unexpected(
        usage_error(fmt::format("--default-partitions {} is not between 1 and {}",
                                raw.default_partitions, consensus::kPartitionsPerTopicMax)));
  }
  config.default_partitions = raw.default_partitions;
  const auto memory = parse_size(raw.memory);
  if (!memory) {
    return std::unexpected(
        usage_error(fmt::format("--memory '{}' is no size; 512MiB and 4GiB are", raw.memory)));
  }
  config.memory_bytes = *memory;
  const auto level = core::parse_log_level(raw.log_level);
  if (!level)
    return std::unexpected(usage_error(fmt::format("--log-level: {}", level.error().message)));
  config.log_level = *level;
  return config;
}

/// Boost's sentences end in option names of its own spelling; this says it in ours.
std::string explain(const po::error& error) {
  if (const auto* unknown = dynamic_cast<const po::unknown_option*>(&error)) {
    return fmt::format("unknown flag '{}'", unknown->get_option_name());
  }
  return error.what();
}

}  // namespace

core::Result<std::variant<ServerConfig, PrintAndExit>> parse_server_config(
    int argc, const char* const* argv) {
  Raw raw;
  const po::options_description settings = describe(raw);
  po::options_description all;
  all.add(settings);
  all.add_options()("config", po::value(&raw.config)->value_name("FILE"),
                    "read settings from a file")("version", "print the version")("help",
                                                                                 "print this text");
  try {
    po::variables_map values;
    const int style =
        (po::command_line_style::unix_style | po::command_line_style::allow_long_disguise) &
        ~po::command_line_style::allow_guessing;
    // Boost would say that there is a stray word, but not which.
    po::options_description with_strays;
    with_strays.add(all).add_options()("stray", po::value<std::vector<std::string>>());
    po::positional_options_description strays;
    strays.add("stray", -1);
    po::store(po::command_line_parser(argc, argv)
                  .options(with_strays)
                  .positional(strays)
                  .style(style)
                  .run(),
              values);
    if (values.contains("stray")) {
      const auto& first = values["stray"].as<std::vector<std::string>>().front();
      return std::unexpected(usage_error(fmt::format("'{}' is no flag", first)));
    }
    if (values.contains("help")) {
      std::ostringstream text;
      text << kIntroduction << '\n' << all << kAfterword;
      return PrintAndExit{text.str()};
    }
    if (values.contains("version")) return PrintAndExit{"sentinel-server " SENTINEL_VERSION "\n"};
    if (values.contains("config")) {
      const auto path = values["config"].as<std::string>();
      std::ifstream file(path);
      // A directory can be opened, and reads as an empty file.
      if (!file || std::filesystem::is_directory(path))
        return std::unexpected(usage_error(fmt::format("--config: cannot read {}", path)));
      po::store(po::parse_config_file(file, settings), values);
    }
    po::notify(values);
  } catch (const po::error& error) {
    return std::unexpected(usage_error(explain(error)));
  }
  SENTINEL_TRY(config, check(raw));
  return config;
}

}  // namespace sentinel::apps
