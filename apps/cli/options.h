#pragma once
/// The command line of sentinel-cli, parsed once into what one command needs.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "consensus/compression.h"
#include "core/clock.h"
#include "core/result.h"
#include "core/runtime.h"
#include "net/socket.h"

namespace sentinel::apps {

struct ConnectionOptions {
  net::HostPort broker{.host = "localhost", .port = 9092};
  core::IoKind io = core::IoKind::automatic;
  core::Duration timeout = std::chrono::seconds(30);
};

enum class Output : std::uint8_t {
  text,   ///< For people.
  json,   ///< One object a line; bytes that are no UTF-8 as base64.
  value,  ///< The value's bytes and a newline.
};

struct ProduceOptions {
  ConnectionOptions connection;
  std::string topic;
  std::optional<std::int32_t> partition;
  /// Without a message the records are the lines of `file`, or of standard input.
  std::optional<std::string> message;
  std::optional<std::string> file;
  bool null_value = false;
  std::int64_t count = 1;
  std::optional<std::string> key;
  std::optional<std::string> key_separator;
  std::optional<std::string> null_marker;
  std::vector<std::pair<std::string, std::string>> headers;
  consensus::Codec compression = consensus::Codec::none;
  Output output = Output::text;
};

struct ConsumeOptions {
  ConnectionOptions connection;
  std::string topic;
  std::optional<std::int32_t> partition;
  bool from_beginning = false;
  std::optional<std::int64_t> offset;
  bool follow = false;
  std::optional<std::int64_t> messages_max;
  std::optional<std::string> key_separator;
  std::string null_marker;
  Output output = Output::text;
};

struct TopicsOptions {
  enum class Action : std::uint8_t { list, describe, create, grow, remove };
  ConnectionOptions connection;
  Action action = Action::list;
  std::string topic;
  std::int32_t partitions = -1;  ///< -1: the broker's default.
  std::int16_t replication_factor = -1;
  std::vector<std::pair<std::string, std::string>> configs;
  Output output = Output::text;
};

struct ClusterOptions {
  enum class Action : std::uint8_t { status, add, drain, remove };
  ConnectionOptions connection;
  Action action = Action::status;
  std::int32_t node = -1;  ///< Whom to add, drain or remove.
  Output output = Output::text;
};

struct VerifyOptions {
  std::string data;
  core::IoKind io = core::IoKind::automatic;
  Output output = Output::text;
};

struct DumpOptions {
  std::vector<std::string> files;
  core::IoKind io = core::IoKind::automatic;
};

/// Text to print instead of doing anything: --help, --version.
struct PrintAndExit {
  std::string text;
};

using Command = std::variant<PrintAndExit, ProduceOptions, ConsumeOptions, TopicsOptions,
                             ClusterOptions, VerifyOptions, DumpOptions>;

/// Errors are one sentence for the user.
core::Result<Command> parse_command(int argc, const char* const* argv);

}  // namespace sentinel::apps
