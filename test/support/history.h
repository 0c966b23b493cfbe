#pragma once
/// What clients saw of one topic, and the checker that says whether a correct log can have shown
/// it. The same for the simulator and for real processes.
///
/// Every record's value is unique in its history. The rules are those of the Jepsen workload for
/// Kafka that hold for a log whose topic loses nothing by itself: see check_history().

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/result.h"

namespace sentinel::test {

using Value = std::uint64_t;

enum class Result : std::uint8_t {
  ok,
  fail,     ///< Definitely not done.
  unknown,  ///< It may have been done, or may yet be.
};

/// Times are nanoseconds of one clock.
struct Span {
  std::int64_t invoke = 0;
  std::int64_t complete = 0;
};

struct SendOp {
  std::uint32_t process = 0;
  Span time;
  Result result = Result::unknown;
  std::int32_t partition = 0;
  std::vector<Value> values;  ///< One batch.
  std::int64_t offset = -1;   ///< Of the first value; -1 when the answer did not say.
  /// Sent with less than acks=all: an answer promises nothing.
  bool weak = false;
};

struct Seen {
  std::int32_t partition = 0;
  std::int64_t offset = 0;
  Value value = 0;
};
struct PollOp {
  std::uint32_t process = 0;
  Span time;
  std::vector<Seen> records;  ///< In the order in which they came.
  bool final = false;         ///< By those that read everything once all faults are over.
};

/// A process reads on from these offsets.
struct AssignOp {
  std::uint32_t process = 0;
  std::vector<Seen> positions;  ///< Without values.
};

/// An answer of ListOffsets.
struct EndOp {
  std::uint32_t process = 0;
  Span time;
  std::int32_t partition = 0;
  std::int64_t offset = 0;
};

/// An answer of ListOffsets about where a partition begins.
struct StartOp {
  std::uint32_t process = 0;
  Span time;
  std::int32_t partition = 0;
  std::int64_t offset = 0;
};

/// Records below an offset are given up from when this begins on; for sure once it has completed,
/// if it ever does.
struct DeleteOp {
  Span time;
  std::int32_t partition = 0;
  std::int64_t offset = 0;
};

/// A topic was to be made or deleted, in a single attempt.
struct TopicOp {
  std::uint32_t process = 0;
  Span time;
  Result result = Result::unknown;  ///< fail: it was there already, or was not there.
  std::string topic;
  bool creates = false;
};

/// Where final polls have ended.
struct FinalEndOp {
  std::int32_t partition = 0;
  std::int64_t offset = 0;
};

using HistoryOp =
    std::variant<SendOp, PollOp, AssignOp, EndOp, StartOp, DeleteOp, TopicOp, FinalEndOp>;
using ClientHistory = std::vector<HistoryOp>;

enum class Violation : std::uint8_t {
  inconsistent_offset,  ///< Two values at one offset.
  duplicate,            ///< One value at two offsets.
  unwritten,            ///< A value that nobody sent, or whose send definitely failed.
  lost,                 ///< Acknowledged or seen, and not there at the end.
  skipped,              ///< A reader passed a record by.
  went_back,            ///< A reader got an earlier record again.
  send_order,           ///< What a producer sent later came first.
  real_time,            ///< What was sent after an answer came before it.
  stale_end,            ///< An end below what was known before it was asked for.
  wrong_start,          ///< A start that went back, or lies behind what anybody gave up.
  gap,                  ///< An offset without a record.
  topic_order,          ///< Answers about a topic that no order of the requests explains.
};
std::string_view to_string(Violation violation);

struct Finding {
  Violation violation;
  std::string what;  ///< A sentence.
};

struct Verdict {
  std::vector<Finding> findings;  ///< At most a few of each kind.
  std::size_t sends = 0;
  std::size_t acknowledged = 0;  ///< Values.
  std::size_t unknown = 0;       ///< Values.
  std::size_t polled = 0;

  [[nodiscard]] bool good() const { return findings.empty(); }
  [[nodiscard]] std::string summary() const;
};

/// Linear in the history, but for sorting.
Verdict check_history(const ClientHistory& history);

/// One operation a line, as JSON; see history_json.cpp for the fields.
core::Result<ClientHistory> read_history(std::istream& in);
void write_history(std::ostream& out, const ClientHistory& history);

}  // namespace sentinel::test
