#include "apps/cli/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <limits>
#include <sstream>
#include <string_view>

#include "apps/cli/help.h"

namespace sentinel::apps {

namespace {

namespace po = boost::program_options;

using Strings = std::vector<std::string>;

std::unexpected<core::Error> usage(std::string_view what, std::string_view command) {
  return core::fail(core::Errc::invalid_argument,
                    fmt::format("{}; see sentinel-cli {}--help", what,
                                command.empty() ? "" : fmt::format("{} ", command)));
}

/// Declared options of one command with what the user gave.
class Arguments {
 public:
  /// `connects`: the command talks to a broker, and takes the flags for that.
  explicit Arguments(std::string_view command, bool connects = true)
      : command_(command), connects_(connects), options_("Flags") {
    if (connects_) add("broker", "HOST:PORT", "broker to connect to (default localhost:9092)");
  }

  void add(const char* name, std::string_view value_name, const char* text) {
    options_.add_options()(name, po::value<Strings>()->value_name(std::string(value_name)), text);
  }
  void add_switch(const char* name, const char* text) { options_.add_options()(name, text); }
  /// Words without a dash that the command takes.
  void take_words(int most) { words_max_ = most; }

  core::Result<bool> parse(const Strings& arguments);

  [[nodiscard]] bool has(const char* name) const { return values_.contains(name); }
  /// The last one wins where only one can hold.
  [[nodiscard]] std::optional<std::string> text(const char* name) const {
    if (!has(name)) return std::nullopt;
    return values_[name].as<Strings>().back();
  }
  [[nodiscard]] Strings texts(const char* name) const {
    return has(name) ? values_[name].as<Strings>() : Strings{};
  }
  [[nodiscard]] Strings words() const { return texts("word"); }

  template <typename T>
  core::Result<std::optional<T>> number(const char* name, T least, T most) const;
  core::Result<std::vector<std::pair<std::string, std::string>>> pairs(const char* name) const;

  [[nodiscard]] std::string help() const {
    std::ostringstream text;
    text << options_;
    return text.str();
  }
  [[nodiscard]] std::unexpected<core::Error> refuse(std::string_view what) const {
    return usage(what, command_);
  }

 private:
  [[nodiscard]] std::string explain(const po::error& error) const;

  const std::string command_;
  const bool connects_;
  po::options_description options_;
  po::variables_map values_;
  int words_max_ = 0;
};

/// False when the user asked for help.
core::Result<bool> Arguments::parse(const Strings& arguments) {
  add("io", "KIND", "auto, uring (io_uring) or asio (epoll and threads)");
  if (connects_)
    add("timeout", "SECONDS", "how long to wait for the broker, with all repetitions (default 30)");
  add_switch("help", "print this text");
  po::options_description all;
  all.add(options_);
  all.add_options()("word", po::value<Strings>());
  po::positional_options_description positional;
  positional.add("word", words_max_);
  try {
    const int style =
        (po::command_line_style::unix_style | po::command_line_style::allow_long_disguise) &
        ~po::command_line_style::allow_guessing;
    po::command_line_parser parser(arguments);
    po::store(parser.options(all).positional(positional).style(style).run(), values_);
    po::notify(values_);
  } catch (const po::error& error) {
    return refuse(explain(error));
  }
  return !has("help");
}

/// Boost's sentences, in the words of this program.
std::string Arguments::explain(const po::error& error) const {
  if (const auto* unknown = dynamic_cast<const po::unknown_option*>(&error)) {
    return fmt::format("unknown flag '{}'", unknown->get_option_name());
  }
  if (dynamic_cast<const po::too_many_positional_options_error*>(&error) != nullptr) {
    return words_max_ == 0 ? "every argument needs a flag in front of it; quote values with spaces"
                           : "too many arguments";
  }
  if (const auto* with_name = dynamic_cast<const po::error_with_option_name*>(&error)) {
    return fmt::format("flag '{}' can't be used like that, it may lack its value",
                       with_name->get_option_name());
  }
  return error.what();
}

template <typename T>
core::Result<std::optional<T>> Arguments::number(const char* name, T least, T most) const {
  const auto given = text(name);
  if (!given) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), value);
  if (error != std::errc() || end != given->data() + given->size() || value < least ||
      value > most) {
    return refuse(
        fmt::format("--{} '{}' is no whole number from {} to {}", name, *given, least, most));
  }
  return static_cast<T>(value);
}

core::Result<std::vector<std::pair<std::string, std::string>>> Arguments::pairs(
    const char* name) const {
  std::vector<std::pair<std::string, std::string>> parsed;
  for (const std::string& each : texts(name)) {
    const std::size_t equals = each.find('=');
    if (equals == std::string::npos || equals == 0)
      return refuse(fmt::format("--{} '{}' is not of the form name=value", name, each));
    parsed.emplace_back(each.substr(0, equals), each.substr(equals + 1));
  }
  return parsed;
}

core::Result<core::IoKind> io_of(const Arguments& arguments) {
  const auto io = arguments.text("io");
  if (!io) return core::IoKind::automatic;
  const auto kind = core::parse_io_kind(*io);
  if (!kind) return arguments.refuse(fmt::format("--io '{}' is none of auto, uring, asio", *io));
  return *kind;
}

core::Result<ConnectionOptions> connection_of(const Arguments& arguments) {
  ConnectionOptions connection;
  if (const auto broker = arguments.text("broker")) {
    auto parsed = net::HostPort::parse(*broker, connection.broker.port);
    if (!parsed) return arguments.refuse(fmt::format("--broker: {}", parsed.error().message));
    connection.broker = std::move(*parsed);
  }
  SENTINEL_TRY(io, io_of(arguments));
  connection.io = io;
  SENTINEL_TRY(timeout, arguments.number<std::int32_t>("timeout", 1, 86'400));
  if (timeout) connection.timeout = std::chrono::seconds(*timeout);
  return connection;
}

core::Result<Output> output_of(const Arguments& arguments, bool with_value) {
  const auto given = arguments.text("output");
  if (!given || *given == "text") return Output::text;
  if (*given == "json") return Output::json;
  if (*given == "value" && with_value) return Output::value;
  return arguments.refuse(
      fmt::format("--output '{}' is none of text, json{}", *given, with_value ? ", value" : ""));
}

core::Result<std::string> topic_of(const Arguments& arguments) {
  const auto topic = arguments.text("topic");
  if (!topic || topic->empty()) return arguments.refuse("--topic is missing");
  return *topic;
}

/// What a shell can't type easily: \t, \n, \0, \\.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      plain += text[i];
      continue;
    }
    switch (text[++i]) {
      case 't': plain += '\t'; break;
      case 'n': plain += '\n'; break;
      case '0': plain += '\0'; break;
      case '\\': plain += '\\'; break;
      default: plain += {'\\', text[i]}; break;
    }
  }
  return plain;
}

core::Result<std::optional<std::string>> separator_of(const Arguments& arguments) {
  const auto given = arguments.text("key-separator");
  if (!given) return std::nullopt;
  std::string plain = unescape(*given);
  if (plain.empty()) return arguments.refuse("--key-separator is empty");
  return plain;
}

core::Result<std::optional<std::int32_t>> partition_of(const Arguments& arguments) {
  return arguments.number<std::int32_t>("partition", 0, std::numeric_limits<std::int32_t>::max());
}

// produce

core::Status check_sources(const Arguments& arguments, const ProduceOptions& options) {
  const int sources = static_cast<int>(options.message.has_value()) +
                      static_cast<int>(options.null_value) +
                      static_cast<int>(options.file.has_value());
  if (sources > 1) return arguments.refuse("--message, --null-value and --file exclude each other");
  const bool lines = !options.message && !options.null_value;
  if (lines && arguments.has("count"))
    return arguments.refuse("--count needs --message or --null-value");
  if (lines && options.key && options.key_separator)
    return arguments.refuse("--key and --key-separator exclude each other");
  if (!lines && options.key_separator)
    return arguments.refuse("--key-separator is for lines; use --key with --message");
  return {};
}

core::Result<Command> parse_produce(const Strings& given) {
  Arguments arguments("produce");
  arguments.add("topic", "NAME", "topic to write to; the broker may create it");
  arguments.add("partition", "N",
                "partition; default: by the key's hash as all Kafka clients do, or spread");
  arguments.add("message", "TEXT",
                "value of the record; without it each line of the input is a record");
  arguments.add("count", "N", "send the message N times, with -0, -1, ... behind it");
  arguments.add("file", "FILE", "read lines from a file instead of standard input");
  arguments.add("key", "TEXT", "key of the records");
  arguments.add("key-separator", "TEXT", "split each line into key and value there (\\t: tab)");
  arguments.add_switch("null-value",
                       "send records without a value (a tombstone on a compacted topic)");
  arguments.add("null-marker", "TEXT", "lines whose value is TEXT become records without a value");
  arguments.add("header", "NAME=VALUE", "header of the records; may be given again");
  arguments.add("compression", "CODEC", "none, gzip, snappy, lz4 or zstd (default none)");
  arguments.add("output,o", "FORM", "text or json");
  SENTINEL_TRY(go, arguments.parse(given));
  if (!go) return PrintAndExit{fmt::format("{}{}", kProduceHelp, arguments.help())};
  ProduceOptions options;
  SENTINEL_TRY(connection, connection_of(arguments));
  options.connection = std::move(connection);
  SENTINEL_TRY(topic, topic_of(arguments));
  options.topic = std::move(topic);
  SENTINEL_TRY(partition, partition_of(arguments));
  options.partition = partition;
  options.message = arguments.text("message");
  options.file = arguments.text("file");
  options.null_value = arguments.has("null-value");
  SENTINEL_TRY(
      count, arguments.number<std::int64_t>("count", 1, std::numeric_limits<std::int64_t>::max()));
  options.count = count.value_or(1);
  options.key = arguments.text("key");
  SENTINEL_TRY(separator, separator_of(arguments));
  options.key_separator = std::move(separator);
  options.null_marker = arguments.text("null-marker");
  SENTINEL_TRY(headers, arguments.pairs("header"));
  options.headers = std::move(headers);
  if (const auto name = arguments.text("compression")) {
    const auto codec = consensus::parse_codec(*name);
    if (!codec)
      return arguments.refuse(
          fmt::format("--compression '{}' is none of none, gzip, snappy, lz4, zstd", *name));
    options.compression = *codec;
  }
  SENTINEL_TRY(output, output_of(arguments, false));
  options.output = output;
  SENTINEL_CHECK(check_sources(arguments, options));
  return options;
}

// consume

core::Result<Command> parse_consume(const Strings& given) {
  Arguments arguments("consume");
  arguments.add("topic", "NAME", "topic to read");
  arguments.add("partition", "N", "partition; default: all, and each line says which");
  arguments.add_switch("from-beginning",
                       "start with the oldest record; the default unless --follow is given");
  arguments.add("offset", "N", "start with this offset");
  arguments.add_switch(
      "follow", "go on with new records until Ctrl-C; starts at the end unless told otherwise");
  arguments.add("max-messages", "N", "stop after N records");
  arguments.add("output,o", "FORM",
                "text, json (an object a line) or value (only the values, a line each)");
  arguments.add("key-separator", "TEXT",
                "with -o value: print the key and TEXT in front of the value");
  arguments.add("null-marker", "TEXT",
                "with -o value: printed for a record without a value, or without a key");
  SENTINEL_TRY(go, arguments.parse(given));
  if (!go) return PrintAndExit{fmt::format("{}{}", kConsumeHelp, arguments.help())};
  ConsumeOptions options;
  SENTINEL_TRY(connection, connection_of(arguments));
  options.connection = std::move(connection);
  SENTINEL_TRY(topic, topic_of(arguments));
  options.topic = std::move(topic);
  SENTINEL_TRY(partition, partition_of(arguments));
  options.partition = partition;
  options.from_beginning = arguments.has("from-beginning");
  SENTINEL_TRY(offset, arguments.number<std::int64_t>("offset", 0,
                                                      std::numeric_limits<std::int64_t>::max()));
  options.offset = offset;
  if (options.from_beginning && options.offset)
    return arguments.refuse("--from-beginning and --offset exclude each other");
  options.follow = arguments.has("follow");
  SENTINEL_TRY(most, arguments.number<std::int64_t>("max-messages", 0,
                                                    std::numeric_limits<std::int64_t>::max()));
  options.messages_max = most;
  SENTINEL_TRY(separator, separator_of(arguments));
  options.key_separator = std::move(separator);
  options.null_marker = arguments.text("null-marker").value_or("");
  SENTINEL_TRY(output, output_of(arguments, true));
  options.output = output;
  return options;
}

// topics

core::Result<TopicsOptions::Action> action_of(const Arguments& arguments, const Strings& words) {
  using Action = TopicsOptions::Action;
  const std::string_view word = words.empty() ? std::string_view() : words.front();
  if (word == "list") return Action::list;
  if (word == "describe") return Action::describe;
  if (word == "create") return Action::create;
  if (word == "grow") return Action::grow;
  if (word == "delete") return Action::remove;
  if (word.empty())
    return arguments.refuse("topics needs one of list, describe, create, grow, delete");
  return arguments.refuse(
      fmt::format("'{}' is none of list, describe, create, grow, delete", word));
}

core::Result<Command> parse_topics(const Strings& given) {
  Arguments arguments("topics");
  arguments.add("topic", "NAME", "the topic; may also stand behind the action without a flag");
  arguments.add("partitions", "N",
                "create: number of partitions (default: the broker's); grow: how many there are to "
                "be");
  arguments.add("replication-factor", "N",
                "create: copies of each partition (default: the broker's)");
  arguments.add("config", "NAME=VALUE", "create: setting of the topic; may be given again");
  arguments.add("output,o", "FORM", "text or json");
  arguments.take_words(2);
  SENTINEL_TRY(go, arguments.parse(given));
  if (!go) return PrintAndExit{fmt::format("{}{}", kTopicsHelp, arguments.help())};
  TopicsOptions options;
  SENTINEL_TRY(connection, connection_of(arguments));
  options.connection = std::move(connection);
  const Strings words = arguments.words();
  SENTINEL_TRY(action, action_of(arguments, words));
  options.action = action;
  if (words.size() > 1 && arguments.has("topic"))
    return arguments.refuse("the topic is given twice");
  options.topic = words.size() > 1 ? words[1] : arguments.text("topic").value_or("");
  const bool needs_topic = action != TopicsOptions::Action::list;
  if (needs_topic && options.topic.empty())
    return arguments.refuse("the name of the topic is missing");
  if (!needs_topic && !options.topic.empty())
    return arguments.refuse("list takes no topic; use describe");
  SENTINEL_TRY(partitions, arguments.number<std::int32_t>(
                               "partitions", 1, std::numeric_limits<std::int32_t>::max()));
  options.partitions = partitions.value_or(-1);
  if (action == TopicsOptions::Action::grow && !partitions)
    return arguments.refuse("grow needs --partitions N, how many there are to be");
  SENTINEL_TRY(factor, arguments.number<std::int16_t>("replication-factor", 1,
                                                      std::numeric_limits<std::int16_t>::max()));
  options.replication_factor = factor.value_or(-1);
  SENTINEL_TRY(configs, arguments.pairs("config"));
  options.configs = std::move(configs);
  SENTINEL_TRY(output, output_of(arguments, false));
  options.output = output;
  return options;
}

// cluster

core::Result<std::int32_t> node_of(const Arguments& arguments, const std::string& text) {
  std::int32_t node = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), node);
  if (error != std::errc() || end != text.data() + text.size() || node < 1)
    return arguments.refuse(fmt::format("'{}' is no id of a node", text));
  return node;
}

core::Result<Command> parse_cluster(const Strings& given) {
  Arguments arguments("cluster");
  arguments.add("output,o", "FORM", "text or json");
  arguments.take_words(2);
  SENTINEL_TRY(go, arguments.parse(given));
  if (!go) return PrintAndExit{fmt::format("{}{}", kClusterHelp, arguments.help())};
  ClusterOptions options;
  SENTINEL_TRY(connection, connection_of(arguments));
  options.connection = std::move(connection);
  const Strings words = arguments.words();
  using Action = ClusterOptions::Action;
  static constexpr std::pair<std::string_view, Action> kActions[] = {{"status", Action::status},
                                                                     {"add", Action::add},
                                                                     {"drain", Action::drain},
                                                                     {"remove", Action::remove}};
  if (words.empty()) return arguments.refuse("cluster needs one of status, add, drain, remove");
  const auto* const action = std::ranges::find(kActions, std::string_view(words.front()),
                                               &std::pair<std::string_view, Action>::first);
  if (action == std::end(kActions))
    return arguments.refuse(
        fmt::format("'{}' is none of status, add, drain, remove", words.front()));
  options.action = action->second;
  const bool needs_node = options.action != Action::status;
  if (needs_node != (words.size() > 1))
    return arguments.refuse(needs_node ? fmt::format("{} needs the id of a node", words.front())
                                       : std::string("status takes no node"));
  if (needs_node) {
    SENTINEL_TRY(node, node_of(arguments, words[1]));
    options.node = node;
  }
  SENTINEL_TRY(output, output_of(arguments, false));
  options.output = output;
  return options;
}

// verify

core::Result<Command> parse_verify(const Strings& given) {
  Arguments arguments("verify", false);
  arguments.add("data", "DIR", "data directory to check; no server may run on it");
  arguments.add("output,o", "FORM", "text or json");
  SENTINEL_TRY(go, arguments.parse(given));
  if (!go) return PrintAndExit{fmt::format("{}{}", kVerifyHelp, arguments.help())};
  VerifyOptions options;
  options.data = arguments.text("data").value_or("");
  if (options.data.empty()) return arguments.refuse("--data is missing");
  SENTINEL_TRY(io, io_of(arguments));
  options.io = io;
  SENTINEL_TRY(output, output_of(arguments, false));
  options.output = output;
  return options;
}

// dump

core::Result<Command> parse_dump(const Strings& given) {
  Arguments arguments("dump", false);
  arguments.take_words(-1);  // Any number.
  SENTINEL_TRY(go, arguments.parse(given));
  if (!go) return PrintAndExit{fmt::format("{}{}", kDumpHelp, arguments.help())};
  DumpOptions options;
  options.files = arguments.words();
  if (options.files.empty()) return arguments.refuse("dump needs the name of a file");
  SENTINEL_TRY(io, io_of(arguments));
  options.io = io;
  return options;
}

bool is_flag(std::string_view word, std::string_view name) {
  return word.starts_with('-') && word.substr(word.starts_with("--") ? 2 : 1) == name;
}

}  // namespace

core::Result<Command> parse_command(int argc, const char* const* argv) {
  Strings arguments;
  for (int i = 1; i < argc; ++i) arguments.emplace_back(argv[i]);
  if (arguments.empty())
    return usage("a command is missing: produce, consume, topics, cluster, verify or dump", "");
  const std::string command = arguments.front();
  const Strings rest(arguments.begin() + 1, arguments.end());
  if (command == "produce") return parse_produce(rest);
  if (command == "consume") return parse_consume(rest);
  if (command == "topics") return parse_topics(rest);
  if (command == "cluster") return parse_cluster(rest);
  if (command == "verify") return parse_verify(rest);
  if (command == "dump") return parse_dump(rest);
  if (is_flag(command, "version")) return PrintAndExit{"sentinel-cli " SENTINEL_VERSION "\n"};
  if (is_flag(command, "help") || command == "help") {
    if (command == "help" && rest.size() == 1 && !rest.front().starts_with('-')) {
      const std::string help = "--help";
      const char* again[] = {argv[0], rest.front().c_str(), help.c_str()};
      return parse_command(3, again);
    }
    return PrintAndExit{std::string(kHelp)};
  }
  if (command.starts_with('-'))
    return usage(fmt::format("unknown flag '{}' in front of the command", command), "");
  return usage(
      fmt::format(
          "'{}' is no command; there are produce, consume, topics, cluster, verify and dump",
          command),
      "");
}

}  // namespace sentinel::apps
