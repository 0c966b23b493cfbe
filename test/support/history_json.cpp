/// Histories as text. Each line is an object with "op":
///
///   send       process, invoke, complete, result (ok, fail, unknown), partition, values, offset;
///              weak where acks were less than all
///   poll       process, invoke, complete, records [[partition, offset, value], ...]; final
///   assign     process, partitions [[partition, offset], ...]
///   end        process, invoke, complete, partition, offset: an answer of ListOffsets
///   start      the same, about where the partition begins
///   delete     invoke, complete, partition, offset: DeleteRecords was asked for
///   topic      process, invoke, complete, result, topic, creates: it was to be made, or deleted
///   final_end  partition, offset

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <istream>
#include <ostream>

#include "test/support/history.h"
#include "test/support/json.h"

namespace sentinel::test {

namespace {

/// Reads fields, and remembers that one was not there or no number.
class Fields {
 public:
  explicit Fields(const Json& object) : object_(object) {}

  template <typename T>
  T number(const std::string& name) {
    return parse<T>(object_.member(name));
  }
  template <typename T>
  T parse(std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) failed_ = true;
    return value;
  }
  const std::vector<Json>& elements(const std::string& name) {
    static const std::vector<Json> kNone;
    const auto found = object_.members.find(name);
    if (found == object_.members.end()) failed_ = true;
    return found == object_.members.end() ? kNone : found->second.elements;
  }
  Span span() { return {number<std::int64_t>("invoke"), number<std::int64_t>("complete")}; }
  bool flag(const std::string& name) { return object_.member(name) == "true"; }
  Result result() {
    const std::string_view text = object_.member("result");
    if (text == "ok") return Result::ok;
    if (text == "fail") return Result::fail;
    if (text != "unknown") failed_ = true;
    return Result::unknown;
  }
  std::vector<Seen> seen(const std::string& name, std::size_t width) {
    std::vector<Seen> all;
    for (const Json& each : elements(name)) {
      if (each.elements.size() != width) {
        failed_ = true;
        break;
      }
      Seen& one = all.emplace_back();
      one.partition = parse<std::int32_t>(each.elements[0].text);
      one.offset = parse<std::int64_t>(each.elements[1].text);
      if (width > 2) one.value = parse<Value>(each.elements[2].text);
    }
    return all;
  }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  const Json& object_;
  bool failed_ = false;
};

std::optional<HistoryOp> read_op(const Json& object) {
  Fields in(object);
  const std::string_view op = object.member("op");
  HistoryOp read;
  if (op == "send") {
    SendOp send{.process = in.number<std::uint32_t>("process"),
                .time = in.span(),
                .result = in.result(),
                .partition = in.number<std::int32_t>("partition"),
                .values = {},
                .offset = in.number<std::int64_t>("offset"),
                .weak = in.flag("weak")};
    for (const Json& value : in.elements("values"))
      send.values.push_back(in.parse<Value>(value.text));
    read = std::move(send);
  } else if (op == "poll") {
    read = PollOp{.process = in.number<std::uint32_t>("process"),
                  .time = in.span(),
                  .records = in.seen("records", 3),
                  .final = in.flag("final")};
  } else if (op == "assign") {
    read = AssignOp{in.number<std::uint32_t>("process"), in.seen("partitions", 2)};
  } else if (op == "end") {
    read = EndOp{in.number<std::uint32_t>("process"), in.span(),
                 in.number<std::int32_t>("partition"), in.number<std::int64_t>("offset")};
  } else if (op == "start") {
    read = StartOp{in.number<std::uint32_t>("process"), in.span(),
                   in.number<std::int32_t>("partition"), in.number<std::int64_t>("offset")};
  } else if (op == "delete") {
    read = DeleteOp{in.span(), in.number<std::int32_t>("partition"),
                    in.number<std::int64_t>("offset")};
  } else if (op == "topic") {
    read = TopicOp{.process = in.number<std::uint32_t>("process"),
                   .time = in.span(),
                   .result = in.result(),
                   .topic = std::string(object.member("topic")),
                   .creates = in.flag("creates")};
  } else if (op == "final_end") {
    read = FinalEndOp{in.number<std::int32_t>("partition"), in.number<std::int64_t>("offset")};
  } else {
    return std::nullopt;
  }
  if (in.failed()) return std::nullopt;
  return read;
}

std::string head(std::string_view op, std::uint32_t process, const Span& time) {
  return fmt::format(R"({{"op":"{}","process":{},"invoke":{},"complete":{})", op, process,
                     time.invoke, time.complete);
}

std::string_view text_of(Result result) {
  static constexpr std::string_view kResults[] = {"ok", "fail", "unknown"};
  return kResults[static_cast<std::size_t>(result)];
}

std::string text_of(const SendOp& op) {
  return fmt::format(R"({},"result":"{}","partition":{},"values":[{}],"offset":{}{}}})",
                     head("send", op.process, op.time), text_of(op.result), op.partition,
                     fmt::join(op.values, ","), op.offset, op.weak ? R"(,"weak":true)" : "");
}
std::string text_of(const PollOp& op) {
  std::string records;
  for (const Seen& seen : op.records)
    records += fmt::format("{}[{},{},{}]", records.empty() ? "" : ",", seen.partition, seen.offset,
                           seen.value);
  return fmt::format(R"({},"result":"ok","records":[{}]{}}})", head("poll", op.process, op.time),
                     records, op.final ? R"(,"final":true)" : "");
}
std::string text_of(const AssignOp& op) {
  std::string positions;
  for (const Seen& at : op.positions)
    positions += fmt::format("{}[{},{}]", positions.empty() ? "" : ",", at.partition, at.offset);
  return fmt::format(R"({},"partitions":[{}]}})", head("assign", op.process, {}), positions);
}
std::string text_of(const EndOp& op) {
  return fmt::format(R"({},"partition":{},"offset":{}}})", head("end", op.process, op.time),
                     op.partition, op.offset);
}
std::string text_of(const StartOp& op) {
  return fmt::format(R"({},"partition":{},"offset":{}}})", head("start", op.process, op.time),
                     op.partition, op.offset);
}
std::string text_of(const DeleteOp& op) {
  return fmt::format(R"({},"partition":{},"offset":{}}})", head("delete", 0, op.time), op.partition,
                     op.offset);
}
std::string text_of(const TopicOp& op) {
  return fmt::format(R"({},"result":"{}","topic":"{}","creates":{}}})",
                     head("topic", op.process, op.time), text_of(op.result), op.topic, op.creates);
}
std::string text_of(const FinalEndOp& op) {
  return fmt::format(R"({{"op":"final_end","partition":{},"offset":{}}})", op.partition, op.offset);
}

}  // namespace

core::Result<ClientHistory> read_history(std::istream& in) {
  ClientHistory history;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    const auto object = parse_json(line);
    auto op = object.has_value() ? read_op(*object) : std::nullopt;
    if (!op.has_value())
      return core::fail(core::Errc::corruption, fmt::format("line {} is no operation", number));
    history.push_back(std::move(*op));
  }
  return history;
}

void write_history(std::ostream& out, const ClientHistory& history) {
  for (const HistoryOp& op : history)
    out << std::visit([](const auto& each) { return text_of(each); }, op) << '\n';
}

}  // namespace sentinel::test
