// The checker of histories: each kind of wrong history is found, and right ones pass.

#include "test/support/history.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <sstream>

namespace sentinel::test {

namespace {

SendOp sent(std::uint32_t process, std::int64_t at, std::vector<Value> values,
            std::int64_t offset) {
  return {.process = process,
          .time = {at, at + 5},
          .result = Result::ok,
          .partition = 0,
          .values = std::move(values),
          .offset = offset,
          .weak = false};
}
PollOp polled(std::uint32_t process, std::int64_t at, std::vector<Seen> records,
              bool final = false) {
  return {.process = process, .time = {at, at + 1}, .records = std::move(records), .final = final};
}

/// Two producers, a reader that follows, and all of it read again in the end.
ClientHistory good() {
  SendOp unanswered = sent(2, 30, {4}, -1);
  unanswered.result = Result::unknown;
  return {AssignOp{7, {{0, 0, 0}}},
          sent(1, 10, {1, 2}, 0),
          sent(2, 20, {3}, 2),
          polled(7, 21, {{0, 0, 1}, {0, 1, 2}}),
          EndOp{8, {26, 27}, 0, 3},
          unanswered,
          polled(7, 28, {{0, 2, 3}}),
          sent(1, 50, {5}, 4),
          polled(9, 90, {{0, 0, 1}, {0, 1, 2}, {0, 2, 3}, {0, 3, 4}, {0, 4, 5}}, true),
          FinalEndOp{0, 5}};
}

bool finds(const ClientHistory& history, Violation violation) {
  const Verdict verdict = check_history(history);
  INFO(verdict.summary());
  return std::ranges::any_of(
      verdict.findings, [&](const Finding& finding) { return finding.violation == violation; });
}

template <typename T>
T& part(ClientHistory& history, std::size_t at) {
  return std::get<T>(history[at]);
}

}  // namespace

TEST_CASE("a history of a correct log passes") {
  const Verdict verdict = check_history(good());
  CHECK_MESSAGE(verdict.good(), verdict.summary());
  CHECK(verdict.acknowledged == 4);
  CHECK(verdict.unknown == 1);
}

TEST_CASE("each kind of wrong history is found") {
  ClientHistory history = good();
  SUBCASE("two values at one offset") {
    part<PollOp>(history, 6).records.front().value = 5;
    CHECK(finds(history, Violation::inconsistent_offset));
  }
  SUBCASE("one value at two offsets") {
    part<PollOp>(history, 8).records.push_back({0, 5, 4});
    CHECK(finds(history, Violation::duplicate));
  }
  SUBCASE("a value that nobody sent") {
    part<PollOp>(history, 8).records.push_back({0, 5, 99});
    CHECK(finds(history, Violation::unwritten));
  }
  SUBCASE("a value whose send failed") {
    part<SendOp>(history, 5).result = Result::fail;
    CHECK(finds(history, Violation::unwritten));
  }
  SUBCASE("acknowledged, and not there in the end") {
    part<PollOp>(history, 8).records.pop_back();
    CHECK(finds(history, Violation::lost));
  }
  SUBCASE("acknowledged behind the end") {
    part<PollOp>(history, 8).records.pop_back();
    part<FinalEndOp>(history, 9).offset = 4;
    CHECK(finds(history, Violation::lost));
  }
  SUBCASE("seen once, and not there in the end") {
    part<SendOp>(history, 2).result = Result::unknown;
    auto& records = part<PollOp>(history, 8).records;
    records.erase(records.begin() + 2);
    CHECK(finds(history, Violation::lost));
  }
  SUBCASE("a reader that passes a record by") {
    auto& records = part<PollOp>(history, 3).records;
    records.erase(records.begin());
    CHECK(finds(history, Violation::skipped));
  }
  SUBCASE("a reader that gets a record again") {
    part<PollOp>(history, 6).records.insert(part<PollOp>(history, 6).records.begin(), {0, 1, 2});
    CHECK(finds(history, Violation::went_back));
  }
  SUBCASE("a producer's records in another order") {
    std::swap(part<SendOp>(history, 1).time, part<SendOp>(history, 7).time);
    CHECK(finds(history, Violation::send_order));
  }
  SUBCASE("sent after an answer, and before it in the log") {
    part<SendOp>(history, 2).time = {60, 70};
    CHECK(finds(history, Violation::real_time));
  }
  SUBCASE("an end that is older than an answer") {
    part<EndOp>(history, 4).offset = 2;
    CHECK(finds(history, Violation::stale_end));
  }
  SUBCASE("a start that was not asked for, and one that went back") {
    history.emplace_back(StartOp{8, {60, 61}, 0, 2});
    CHECK(finds(history, Violation::wrong_start));
    history.insert(history.begin(), DeleteOp{{55, 58}, 0, 2});
    CHECK_FALSE(finds(history, Violation::wrong_start));
    history.emplace_back(StartOp{8, {62, 63}, 0, 1});
    CHECK(finds(history, Violation::wrong_start));
  }
  SUBCASE("an offset without a record") {
    part<FinalEndOp>(history, 9).offset = 6;
    CHECK(finds(history, Violation::gap));
  }
}

TEST_CASE("what is said of topics must be explained by some order of the requests") {
  const auto op = [](bool creates, Result result, std::int64_t invoke, std::int64_t complete) {
    return TopicOp{.process = 1,
                   .time = {invoke, complete},
                   .result = result,
                   .topic = "t",
                   .creates = creates};
  };
  constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
  const auto good = [](std::vector<TopicOp> requests) {
    ClientHistory history;
    for (TopicOp& each : requests) history.emplace_back(std::move(each));
    return !finds(history, Violation::topic_order);
  };
  const auto ok = Result::ok;
  const auto refused = Result::fail;
  CHECK(good({op(true, ok, 1, 2), op(true, refused, 3, 4), op(false, ok, 5, 6),
              op(false, refused, 7, 8), op(true, ok, 9, 10)}));
  // At the same time: in either order.
  CHECK(good({op(true, ok, 1, 9), op(false, ok, 2, 8)}));
  CHECK(good({op(false, refused, 1, 9), op(true, ok, 2, 8)}));
  CHECK_FALSE(good({op(true, ok, 1, 9), op(true, ok, 2, 8)}));
  // One behind the other.
  CHECK_FALSE(good({op(true, ok, 1, 2), op(false, refused, 3, 4)}));
  CHECK_FALSE(good({op(true, refused, 1, 2)}));
  CHECK_FALSE(good({op(true, ok, 1, 2), op(false, ok, 3, 4), op(true, refused, 5, 6)}));
  // What was not answered may be done late, and only once.
  const TopicOp unanswered = op(true, Result::unknown, 1, kNever);
  CHECK(good({unanswered, op(false, refused, 3, 4), op(true, refused, 5, 6)}));
  CHECK(good({unanswered, op(true, ok, 3, 4), op(false, ok, 5, 6), op(true, refused, 7, 8)}));
  CHECK_FALSE(good({unanswered, op(false, ok, 3, 4), op(false, ok, 5, 6)}));
  CHECK_FALSE(good({op(true, refused, 1, 2), op(true, Result::unknown, 3, kNever)}));
}

TEST_CASE("what was sent with less than acks=all, or was deleted, may be gone") {
  ClientHistory history = good();
  part<PollOp>(history, 8).records.pop_back();
  part<FinalEndOp>(history, 9).offset = 4;
  part<SendOp>(history, 7).weak = true;
  CHECK(check_history(history).good());

  history = good();
  auto& records = part<PollOp>(history, 8).records;
  records.erase(records.begin(), records.begin() + 2);
  CHECK(finds(history, Violation::lost));
  history.emplace_back(DeleteOp{{80, 81}, 0, 2});
  CHECK(check_history(history).good());
}

TEST_CASE("a history is read as it was written") {
  ClientHistory history = good();
  history.emplace_back(DeleteOp{{80, 81}, 0, 2});
  history.emplace_back(StartOp{8, {82, 83}, 0, 2});
  history.emplace_back(TopicOp{8, {84, 85}, Result::fail, "made", true});
  part<SendOp>(history, 7).weak = true;
  std::stringstream text;
  write_history(text, history);
  const auto again = read_history(text);
  REQUIRE(again.has_value());
  std::stringstream second;
  write_history(second, *again);
  CHECK(text.str() == second.str());
  for (const char* wrong : {"{}", "{\"op\":\"send\"}", "no", "{\"op\":\"end\",\"process\":-1}"}) {
    std::stringstream in(wrong);
    CHECK_FALSE(read_history(in).has_value());
  }
}

}  // namespace sentinel::test
