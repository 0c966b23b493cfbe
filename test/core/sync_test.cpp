#include "core/sync.h"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "core/scope.h"
#include "test/support/manual_ring.h"

namespace sentinel {

using core::CancelSource;
using core::CancelToken;
using core::Deadline;
using core::Queue;
using core::Semaphore;
using core::Shard;
using core::Signal;
using core::Task;
using core::TaskScope;
using core::Wake;
using std::chrono::milliseconds;

namespace {

/// A shard whose time stands still unless the test moves it.
struct Fixture {
  test::ManualRing ring;
  Shard shard{0, ring, 1};
  TaskScope scope{shard};
  std::vector<std::string> log;

  /// Runs what can run without the passing of time.
  void settle() {
    while (shard.turn(Shard::Sleep::never)) {
    }
  }
  void advance(core::Duration by) {
    ring.advance(by);
    settle();
  }
  /// Runs to the end, moving time from timer to timer.
  void finish() {
    while (scope.active() > 0) shard.turn(Shard::Sleep::allowed);
  }
};

std::string name_of(Wake wake) {
  switch (wake) {
    case Wake::signalled: return "signalled";
    case Wake::timed_out: return "timed out";
    case Wake::cancelled: return "cancelled";
  }
  return "?";
}

Task<void> wait_on(Signal* signal, Deadline deadline, CancelToken token, std::string name,
                   std::vector<std::string>* log) {
  const Wake wake = co_await signal->wait(deadline, token);
  log->push_back(name + " " + name_of(wake));
}

Task<void> take(Semaphore* semaphore, std::uint64_t units, Deadline deadline, CancelToken token,
                std::string name, std::vector<std::string>* log) {
  const bool taken = co_await semaphore->acquire(units, deadline, token);
  log->push_back(name + (taken ? " took" : " gave up"));
}

Task<void> push_number(Queue<int>* queue, int value, std::vector<std::string>* log) {
  const bool pushed = co_await queue->push(value);
  log->push_back((pushed ? "pushed " : "refused ") + std::to_string(value));
}

Task<void> pop_number(Queue<int>* queue, Deadline deadline, CancelToken token,
                      std::vector<std::string>* log) {
  const std::optional<int> value = co_await queue->pop(deadline, token);
  log->push_back(value ? "popped " + std::to_string(*value) : "popped nothing");
}

Task<void> nap(Shard& shard, core::Duration duration, std::string name,
               std::vector<std::string>* log) {
  const Wake wake = co_await core::sleep_for(shard, duration);
  log->push_back(name + " " + name_of(wake));
}

Task<void> step_twice(Shard& shard, std::string name, std::vector<std::string>* log) {
  log->push_back(name + "1");
  co_await core::yield(shard);
  log->push_back(name + "2");
}

using Log = std::vector<std::string>;

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a signal wakes all its waiters in the order in which they came") {
  Signal signal(shard);
  for (const char* name : {"a", "b", "c"}) scope.spawn(wait_on(&signal, {}, {}, name, &log));
  CHECK(signal.has_waiters());
  settle();
  CHECK(log.empty());
  signal.notify_all();
  CHECK(log.empty());  // Wakers never resume in place.
  settle();
  CHECK(log == Log{"a signalled", "b signalled", "c signalled"});
  CHECK(!signal.has_waiters());
}

TEST_CASE_FIXTURE(Fixture, "notify_one wakes the longest waiter only") {
  Signal signal(shard);
  for (const char* name : {"a", "b"}) scope.spawn(wait_on(&signal, {}, {}, name, &log));
  signal.notify_one();
  settle();
  CHECK(log == Log{"a signalled"});
  signal.notify_one();
  signal.notify_one();
  settle();
  CHECK(log == Log{"a signalled", "b signalled"});
}

TEST_CASE_FIXTURE(Fixture, "a wait ends at its deadline") {
  Signal signal(shard);
  scope.spawn(wait_on(&signal, shard.deadline_in(milliseconds(10)), {}, "a", &log));
  advance(milliseconds(9));
  CHECK(log.empty());
  advance(milliseconds(1));
  CHECK(log == Log{"a timed out"});
  signal.notify_all();
  settle();
  CHECK(log.size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "a cancelled token ends a wait, also one that has not begun") {
  Signal signal(shard);
  CancelSource source;
  scope.spawn(wait_on(&signal, {}, CancelToken(source), "a", &log));
  settle();
  source.cancel();
  settle();
  CHECK(log == Log{"a cancelled"});
  scope.spawn(wait_on(&signal, {}, CancelToken(source), "b", &log));
  settle();
  CHECK(log == Log{"a cancelled", "b cancelled"});
}

TEST_CASE_FIXTURE(Fixture, "a wait that was signalled is not cancelled any more") {
  Signal signal(shard);
  CancelSource source;
  scope.spawn(wait_on(&signal, shard.deadline_in(milliseconds(1)), CancelToken(source), "a", &log));
  signal.notify_all();
  source.cancel();
  advance(milliseconds(5));
  CHECK(log == Log{"a signalled"});
}

TEST_CASE_FIXTURE(Fixture, "sleepers wake in the order of their deadlines") {
  scope.spawn(nap(shard, milliseconds(30), "long", &log));
  scope.spawn(nap(shard, milliseconds(10), "short", &log));
  scope.spawn(nap(shard, milliseconds(20), "middle", &log));
  finish();
  CHECK(log == Log{"short timed out", "middle timed out", "long timed out"});
}

TEST_CASE_FIXTURE(Fixture, "yield lets what is ready run first") {
  scope.spawn(step_twice(shard, "a", &log));
  scope.spawn(step_twice(shard, "b", &log));
  settle();
  CHECK(log == Log{"a1", "b1", "a2", "b2"});
}

TEST_CASE_FIXTURE(Fixture, "small requests do not overtake a large one at a semaphore") {
  Semaphore semaphore(shard, 10);
  CHECK(semaphore.try_acquire(8));
  scope.spawn(take(&semaphore, 5, {}, {}, "large", &log));
  scope.spawn(take(&semaphore, 1, {}, {}, "small", &log));
  CHECK(!semaphore.try_acquire(1));
  semaphore.release(2);
  settle();
  CHECK(log.empty());
  semaphore.release(1);
  settle();
  CHECK(log == Log{"large took"});
  semaphore.release(5);
  settle();
  CHECK(log == Log{"large took", "small took"});
  CHECK(semaphore.available() == 4);
}

TEST_CASE_FIXTURE(Fixture, "a request that gives up lets those behind it through") {
  Semaphore semaphore(shard, 4);
  CHECK(semaphore.try_acquire(2));
  scope.spawn(take(&semaphore, 4, shard.deadline_in(milliseconds(3)), {}, "large", &log));
  scope.spawn(take(&semaphore, 2, {}, {}, "small", &log));
  advance(milliseconds(2));
  CHECK(log.empty());
  advance(milliseconds(1));
  CHECK(log == Log{"large gave up", "small took"});
  CHECK(semaphore.available() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a cancelled request takes nothing from a semaphore") {
  Semaphore semaphore(shard, 1);
  CancelSource source;
  CHECK(semaphore.try_acquire(1));
  scope.spawn(take(&semaphore, 1, {}, CancelToken(source), "a", &log));
  source.cancel();
  settle();
  CHECK(log == Log{"a gave up"});
  semaphore.release(1);
  CHECK(semaphore.available() == 1);
}

TEST_CASE_FIXTURE(Fixture, "a semaphore's debt is repaid before anyone is granted units") {
  Semaphore semaphore(shard, 10);
  CHECK(semaphore.try_acquire(8));
  semaphore.overdraw(5);
  CHECK(semaphore.available() == 0);
  CHECK(!semaphore.try_acquire(1));
  scope.spawn(take(&semaphore, 1, {}, {}, "a", &log));
  semaphore.release(3);
  settle();
  CHECK(log.empty());
  semaphore.release(1);
  settle();
  CHECK(log == Log{"a took"});
  semaphore.release(10);
  CHECK(semaphore.available() == 10);
}

TEST_CASE_FIXTURE(Fixture, "a full queue makes its pushers wait and keeps the order") {
  Queue<int> queue(shard, 2);
  for (int i = 1; i <= 4; ++i) scope.spawn(push_number(&queue, i, &log));
  settle();
  CHECK(log == Log{"pushed 1", "pushed 2"});
  CHECK(!queue.try_push(9));
  CHECK(queue.try_pop() == 1);
  settle();
  CHECK(queue.try_pop() == 2);
  settle();
  CHECK(queue.try_pop() == 3);
  CHECK(queue.try_pop() == 4);
  CHECK(!queue.try_pop());
  CHECK(log == Log{"pushed 1", "pushed 2", "pushed 3", "pushed 4"});
}

TEST_CASE_FIXTURE(
    Fixture, "an empty queue makes its popper wait until an item, a deadline or a cancellation") {
  Queue<int> queue(shard, 2);
  CancelSource source;
  scope.spawn(pop_number(&queue, {}, {}, &log));
  CHECK(queue.try_push(5));
  settle();
  CHECK(log == Log{"popped 5"});
  scope.spawn(pop_number(&queue, shard.deadline_in(milliseconds(1)), {}, &log));
  advance(milliseconds(1));
  CHECK(log == Log{"popped 5", "popped nothing"});
  scope.spawn(pop_number(&queue, {}, CancelToken(source), &log));
  source.cancel();
  settle();
  CHECK(log.size() == 3);
  CHECK(log.back() == "popped nothing");
}

TEST_CASE_FIXTURE(Fixture, "a closed queue refuses new items and gives out the old ones") {
  Queue<int> queue(shard, 1);
  CHECK(queue.try_push(1));
  scope.spawn(push_number(&queue, 2, &log));
  queue.close();
  settle();
  CHECK(log == Log{"refused 2"});
  CHECK(!queue.try_push(3));
  scope.spawn(pop_number(&queue, {}, {}, &log));
  scope.spawn(pop_number(&queue, {}, {}, &log));
  settle();
  CHECK(log == Log{"refused 2", "popped 1", "popped nothing"});
}

}  // namespace sentinel
