#pragma once
/// The server's flags and configuration file, parsed once.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "consensus/metadata.h"
#include "core/log.h"
#include "core/result.h"
#include "core/runtime.h"
#include "net/rpc/peer_link.h"
#include "net/socket.h"

namespace sentinel::apps {

struct ServerConfig {
  std::uint16_t port = 9092;
  std::string data_directory = "./data";
  std::optional<std::int32_t> node_id;
  std::vector<net::rpc::PeerAddress> peers;  ///< This node among them.
  std::uint32_t shards = 1;
  core::IoKind io = core::IoKind::automatic;
  std::optional<net::HostPort> advertise;
  bool auto_create_topics = true;
  std::int32_t default_partitions = 1;
  std::uint64_t memory_bytes = 0;
  core::LogLevel log_level = core::LogLevel::info;
};

/// Text to print instead of starting: --help, --version.
struct PrintAndExit {
  std::string text;
};

/// Errors are one sentence for the user.
core::Result<std::variant<ServerConfig, PrintAndExit>> parse_server_config(int argc,
                                                                           const char* const* argv);

}  // namespace sentinel::apps
