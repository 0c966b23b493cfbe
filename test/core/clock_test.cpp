#include "core/clock.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace sentinel {

using core::TimePoint;
using core::TimerNode;
using core::TimerQueue;

namespace {

struct Timer : TimerNode {
  Timer(int number, std::vector<int>* log) : number_(number), log_(log) {
    fire_ = [](TimerNode& node) {
      auto& timer = static_cast<Timer&>(node);
      timer.log_->push_back(timer.number_);
    };
  }
  int number_;
  std::vector<int>* log_;
};

TimePoint at(int tick) { return TimePoint(std::chrono::microseconds(tick)); }

/// What the queue should do, the slow way: entries sorted by time, then by the order of adding.
class Model {
 public:
  void add(int number, int tick) {
    const auto behind =
        std::ranges::find_if(entries_, [&](const Entry& e) { return e.tick > tick; });
    entries_.insert(behind, {tick, number});
  }
  void remove(int number) {
    std::erase_if(entries_, [&](const Entry& e) { return e.number == number; });
  }
  std::vector<int> due(int tick) {
    std::vector<int> fired;
    while (!entries_.empty() && entries_.front().tick <= tick) {
      fired.push_back(entries_.front().number);
      entries_.erase(entries_.begin());
    }
    return fired;
  }
  [[nodiscard]] TimePoint next() const {
    return entries_.empty() ? TimePoint::max() : at(entries_.front().tick);
  }

 private:
  struct Entry {
    int tick;
    int number;
  };
  std::vector<Entry> entries_;
};

}  // namespace

TEST_CASE("timers of one time fire in the order in which they were added") {
  std::vector<int> log;
  TimerQueue queue;
  Timer first(1, &log);
  Timer second(2, &log);
  Timer third(3, &log);
  queue.add(second, at(5));
  queue.add(first, at(5));
  queue.add(third, at(5));
  CHECK(queue.fire_due(at(5)));
  CHECK(log == std::vector<int>{2, 1, 3});
  CHECK(!queue.fire_due(at(100)));
}

TEST_CASE("a removed timer does not fire and can be added again") {
  std::vector<int> log;
  TimerQueue queue;
  Timer timer(1, &log);
  queue.add(timer, at(5));
  queue.remove(timer);
  queue.remove(timer);
  CHECK(!timer.queued());
  CHECK(queue.next() == TimePoint::max());
  queue.add(timer, at(7));
  CHECK(queue.next() == at(7));
  CHECK(!queue.fire_due(at(6)));
  CHECK(queue.fire_due(at(7)));
  CHECK(log == std::vector<int>{1});
}

TEST_CASE("the timer queue does what a sorted list does, under random operations") {
  for (const std::uint32_t seed : {1U, 2U, 3U, 4U}) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&](int bound) {
      return static_cast<int>(random() % static_cast<unsigned>(bound));
    };
    std::vector<int> fired;
    std::vector<std::unique_ptr<Timer>> timers;
    for (int i = 0; i < 60; ++i) timers.push_back(std::make_unique<Timer>(i, &fired));
    TimerQueue queue;
    Model model;
    int now = 0;
    for (int step = 0; step < 20'000; ++step) {
      Timer& timer = *timers[static_cast<std::size_t>(below(60))];
      if (below(10) == 0) {
        now += below(20);
        fired.clear();
        queue.fire_due(at(now));
        REQUIRE(fired == model.due(now));
      } else if (timer.queued()) {
        queue.remove(timer);
        model.remove(timer.number_);
      } else {
        const int tick = now + below(30);
        queue.add(timer, at(tick));
        model.add(timer.number_, tick);
      }
      REQUIRE(queue.next() == model.next());
    }
  }
}

TEST_CASE("the earlier of two deadlines is the one that counts") {
  using core::Deadline;
  CHECK(earlier(Deadline(at(1)), Deadline(at(2))).at() == at(1));
  CHECK(earlier(Deadline(at(3)), Deadline::never()).at() == at(3));
  CHECK(Deadline::never().is_never());
  CHECK(!Deadline::never().passed(at(1'000'000)));
  CHECK(Deadline(at(2)).passed(at(2)));
  CHECK(!Deadline(at(2)).passed(at(1)));
}

}  // namespace sentinel
