#include "test/support/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <unordered_map>

#include "test/support/topic_history.h"

namespace sentinel::test {

namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kFindingsMax = 5;  // Of a kind: the first ones tell the story.

/// A value and all that is known of it.
struct Record {
  const SendOp* send = nullptr;
  std::int32_t partition = 0;
  std::int64_t offset = -1;
  bool polled = false;
  bool polled_at_end = false;
};

struct Partition {
  std::map<std::int64_t, Value> log;
  std::int64_t deleted_below = 0;
  std::int64_t final_end = -1;
};

class Checker {
 public:
  explicit Checker(const ClientHistory& history) : history_(history) {}

  Verdict run() {
    for (const HistoryOp& op : history_) {
      if (const auto* send = std::get_if<SendOp>(&op)) note_send(*send);
      if (const auto* gone = std::get_if<DeleteOp>(&op)) {
        std::int64_t& below = partitions_[gone->partition].deleted_below;
        below = std::max(below, gone->offset);
      }
      if (const auto* end = std::get_if<FinalEndOp>(&op))
        partitions_[end->partition].final_end = end->offset;
    }
    for (const HistoryOp& op : history_) {
      if (const auto* poll = std::get_if<PollOp>(&op)) note_poll(*poll);
    }
    check_readers();
    check_contents();
    check_send_order();
    check_real_time();
    check_ends();
    check_starts();
    check_topics();
    return std::move(verdict_);
  }

 private:
  template <typename... Args>
  void find(Violation violation, fmt::format_string<Args...> format, Args&&... args) {
    const auto same = std::ranges::count(verdict_.findings, violation, &Finding::violation);
    if (static_cast<std::size_t>(same) >= kFindingsMax) return;
    verdict_.findings.push_back({violation, fmt::format(format, std::forward<Args>(args)...)});
  }

  void note_send(const SendOp& send) {
    ++verdict_.sends;
    for (std::size_t i = 0; i < send.values.size(); ++i) {
      Record& record = records_[send.values[i]];
      record.send = &send;
      record.partition = send.partition;
      if (send.result == Result::ok) ++verdict_.acknowledged;
      if (send.result == Result::unknown) ++verdict_.unknown;
      if (send.result == Result::ok && send.offset >= 0)
        place(send.values[i], send.partition, send.offset + static_cast<std::int64_t>(i));
    }
  }

  /// Rules 2 and 3: one value an offset, and one offset a value.
  void place(Value value, std::int32_t partition, std::int64_t offset) {
    const auto [at, is_new] = partitions_[partition].log.emplace(offset, value);
    if (!is_new && at->second != value)
      find(Violation::inconsistent_offset, "partition {} offset {} is value {} and value {}",
           partition, offset, at->second, value);
    Record& record = records_[value];
    if (record.offset >= 0 && (record.offset != offset || record.partition != partition))
      find(Violation::duplicate, "value {} stands at {}/{} and at {}/{}", value, record.partition,
           record.offset, partition, offset);
    record.partition = partition;
    record.offset = offset;
  }

  void note_poll(const PollOp& poll) {
    for (const Seen& seen : poll.records) {
      ++verdict_.polled;
      const auto known = records_.find(seen.value);
      if (known == records_.end()) {
        find(Violation::unwritten, "value {} at {}/{} was sent by nobody", seen.value,
             seen.partition, seen.offset);
        continue;
      }
      const SendOp& send = *known->second.send;
      if (send.result == Result::fail)
        find(Violation::unwritten, "value {} at {}/{} was answered as failed", seen.value,
             seen.partition, seen.offset);
      place(seen.value, seen.partition, seen.offset);
      known->second.polled = true;
      known->second.polled_at_end |= poll.final;
    }
  }

  /// Rule 6: whoever reads on gets each record that is there, once, in order.
  void check_readers() {
    std::map<std::pair<std::uint32_t, std::int32_t>, std::int64_t> next;
    for (const HistoryOp& op : history_) {
      if (const auto* assign = std::get_if<AssignOp>(&op)) {
        for (const Seen& at : assign->positions) next[{assign->process, at.partition}] = at.offset;
      }
      const auto* poll = std::get_if<PollOp>(&op);
      if (poll == nullptr) continue;
      for (const Seen& seen : poll->records) {
        const auto [at, is_first] = next.try_emplace({poll->process, seen.partition}, seen.offset);
        if (seen.offset < at->second)
          find(Violation::went_back, "process {} read {}/{} after having come to {}", poll->process,
               seen.partition, seen.offset, at->second);
        check_nothing_between(*poll, seen, at->second);
        at->second = seen.offset + 1;
      }
    }
  }

  void check_nothing_between(const PollOp& poll, const Seen& seen, std::int64_t from) {
    if (seen.offset <= from) return;
    const Partition& partition = partitions_[seen.partition];
    const auto passed = partition.log.lower_bound(std::max(from, partition.deleted_below));
    if (passed != partition.log.end() && passed->first < seen.offset)
      find(Violation::skipped, "process {} came from {}/{} to {} and passed value {} at {}",
           poll.process, seen.partition, from, seen.offset, passed->second, passed->first);
  }

  /// Rule 5, in the end: all that was acknowledged, and all that anybody has seen, and no gaps.
  void check_contents() {
    for (const auto& [number, partition] : partitions_) {
      if (partition.final_end < 0) continue;
      std::int64_t next = partition.deleted_below;
      for (auto at = partition.log.lower_bound(next); at != partition.log.end(); ++at) {
        if (at->first >= partition.final_end) break;
        if (at->first > next)
          find(Violation::gap, "partition {} has nothing at {} to {}", number, next, at->first - 1);
        next = at->first + 1;
      }
      if (next < partition.final_end)
        find(Violation::gap, "partition {} has nothing at {} to {}", number, next,
             partition.final_end - 1);
    }
    for (const SendOp* send : sends()) {
      for (const Value value : send->values) check_kept(value, records_.at(value));
    }
  }

  void check_kept(Value value, const Record& record) {
    const Partition& partition = partitions_[record.partition];
    if (partition.final_end < 0 || record.polled_at_end) return;
    const bool promised = record.send->result == Result::ok && !record.send->weak;
    if (!promised && !record.polled) return;
    // An answer without an offset says only that it is somewhere.
    const bool may_be_deleted =
        record.offset < 0 ? partition.deleted_below > 0 : record.offset < partition.deleted_below;
    if (may_be_deleted) return;
    find(Violation::lost, "value {}, {} at {}/{}, is not there at the end (which is {})", value,
         record.polled ? "seen" : "acknowledged", record.partition, record.offset,
         partition.final_end);
  }

  [[nodiscard]] std::vector<const SendOp*> sends() const {
    std::vector<const SendOp*> all;
    for (const HistoryOp& op : history_) {
      if (const auto* send = std::get_if<SendOp>(&op)) all.push_back(send);
    }
    return all;
  }

  /// Where a send ended up, also one that was never answered; -1 when nowhere.
  std::int64_t offset_of(const SendOp& send) {
    return send.values.empty() ? -1 : records_.at(send.values.front()).offset;
  }

  /// Rule 7.
  void check_send_order() {
    std::map<std::pair<std::uint32_t, std::int32_t>, std::vector<const SendOp*>> by_producer;
    for (const SendOp* send : sends()) {
      if (!send->weak && !send->values.empty())
        by_producer[{send->process, send->partition}].push_back(send);
    }
    for (auto& [key, sent] : by_producer) {
      // At the same moment: values are counted as they are sent.
      std::ranges::sort(sent, {}, [](const SendOp* send) {
        return std::tuple(send->time.invoke, send->values.front());
      });
      std::int64_t last = -1;
      for (const SendOp* send : sent) {
        const std::int64_t offset = offset_of(*send);
        if (offset < 0) continue;
        if (offset <= last)
          find(Violation::send_order, "process {} sent value {} at {}/{} after one at {}",
               key.first, send->values.front(), key.second, offset, last);
        last = offset;
      }
    }
  }

  /// Rule 8: from the highest offset down, nothing may have been completed before a lower one was
  /// sent.
  void check_real_time() {
    std::map<std::int32_t, std::vector<std::pair<std::int64_t, const SendOp*>>> placed;
    for (const SendOp* send : sends()) {
      const std::int64_t offset = offset_of(*send);
      if (offset >= 0) placed[send->partition].emplace_back(offset, send);
    }
    for (auto& [partition, sent] : placed) {
      std::ranges::sort(sent, std::greater(), [](const auto& each) { return each.first; });
      std::int64_t first_complete = kNever;
      for (const auto& [offset, send] : sent) {
        if (first_complete < send->time.invoke)
          find(Violation::real_time,
               "value {} at {}/{} was sent after a higher offset was answered",
               send->values.front(), partition, offset);
        if (send->result == Result::ok && !send->weak)
          first_complete = std::min(first_complete, send->time.complete);
      }
    }
  }

  /// An end is behind all that was acknowledged, read or told before it was asked for.
  void check_ends() {
    struct Fact {
      std::int64_t at;
      std::int64_t end;
    };
    std::map<std::int32_t, std::vector<Fact>> facts;
    std::map<std::int32_t, std::vector<const EndOp*>> asked;
    for (const HistoryOp& op : history_) {
      if (const auto* end = std::get_if<EndOp>(&op)) {
        asked[end->partition].push_back(end);
        facts[end->partition].push_back({end->time.complete, end->offset});
      } else if (const auto* send = std::get_if<SendOp>(&op)) {
        const bool known = send->result == Result::ok && send->offset >= 0 && !send->weak;
        if (known)
          facts[send->partition].push_back(
              {send->time.complete, send->offset + static_cast<std::int64_t>(send->values.size())});
      } else if (const auto* poll = std::get_if<PollOp>(&op)) {
        for (const Seen& seen : poll->records)
          facts[seen.partition].push_back({poll->time.complete, seen.offset + 1});
      }
    }
    for (auto& [partition, ends] : asked) {
      std::vector<Fact>& known = facts[partition];
      std::ranges::sort(known, {}, &Fact::at);
      std::ranges::sort(ends, {}, [](const EndOp* end) { return end->time.invoke; });
      std::int64_t least = 0;
      auto fact = known.begin();
      for (const EndOp* end : ends) {
        for (; fact != known.end() && fact->at < end->time.invoke; ++fact)
          least = std::max(least, fact->end);
        if (end->offset < least)
          find(Violation::stale_end, "process {} was told that partition {} ends at {}, after {}",
               end->process, partition, end->offset, least);
      }
    }
  }

  /// A start is not before what was given up, or told, before it was asked for; nor behind all that
  /// was to be given up by the time of the answer.
  void check_starts() {
    struct Fact {
      std::int64_t at;
      std::int64_t start;
    };
    std::map<std::int32_t, std::vector<Fact>> least;
    std::map<std::int32_t, std::vector<Fact>> most;
    std::map<std::int32_t, std::vector<const StartOp*>> asked;
    for (const HistoryOp& op : history_) {
      if (const auto* gone = std::get_if<DeleteOp>(&op)) {
        most[gone->partition].push_back({gone->time.invoke, gone->offset});
        least[gone->partition].push_back({gone->time.complete, gone->offset});
      } else if (const auto* start = std::get_if<StartOp>(&op)) {
        asked[start->partition].push_back(start);
        least[start->partition].push_back({start->time.complete, start->offset});
      }
    }
    const auto highest = [](const std::vector<Fact>& facts, std::int64_t before) {
      std::int64_t high = 0;
      for (const Fact& fact : facts) {
        if (fact.at < before) high = std::max(high, fact.start);
      }
      return high;
    };
    for (const auto& [partition, starts] : asked) {
      for (const StartOp* start : starts) {
        const std::int64_t from = highest(least[partition], start->time.invoke);
        const std::int64_t to = highest(most[partition], start->time.complete);
        if (start->offset < from || start->offset > to)
          find(Violation::wrong_start,
               "process {} was told that partition {} begins at {}, which must be {} to {}",
               start->process, partition, start->offset, from, to);
      }
    }
  }

  /// Rule 13.
  void check_topics() {
    std::map<std::string, std::vector<TopicOp>> by_name;
    for (const HistoryOp& op : history_) {
      if (const auto* topic = std::get_if<TopicOp>(&op)) by_name[topic->topic].push_back(*topic);
    }
    for (const auto& [name, requests] : by_name) {
      if (can_be_explained(requests)) continue;
      std::string told;
      for (const TopicOp& request : requests) {
        told += fmt::format("; {} {} to {}: {}", request.creates ? "make" : "delete",
                            request.time.invoke, request.time.complete,
                            request.result == Result::ok     ? "done"
                            : request.result == Result::fail ? "refused"
                                                             : "no answer");
      }
      find(Violation::topic_order, "topic {}{}", name, told);
    }
  }

  const ClientHistory& history_;
  std::unordered_map<Value, Record> records_;
  std::map<std::int32_t, Partition> partitions_;
  Verdict verdict_;
};

}  // namespace

std::string_view to_string(Violation violation) {
  switch (violation) {
    case Violation::inconsistent_offset: return "inconsistent offset";
    case Violation::duplicate: return "duplicate";
    case Violation::unwritten: return "never written";
    case Violation::lost: return "lost";
    case Violation::skipped: return "skipped";
    case Violation::went_back: return "went back";
    case Violation::send_order: return "out of order";
    case Violation::real_time: return "against real time";
    case Violation::stale_end: return "stale end";
    case Violation::wrong_start: return "wrong start";
    case Violation::gap: return "gap";
    case Violation::topic_order: return "topics";
  }
  return "unknown";
}

std::string Verdict::summary() const {
  std::string text = fmt::format("{} sends, {} values acknowledged, {} unanswered, {} read: {}",
                                 sends, acknowledged, unknown, polled,
                                 good() ? "nothing lost, doubled, reordered or misread" : "WRONG");
  for (const Finding& finding : findings)
    text += fmt::format("\n  {}: {}", to_string(finding.violation), finding.what);
  return text;
}

Verdict check_history(const ClientHistory& history) { return Checker(history).run(); }

}  // namespace sentinel::test
