#include "core/scope.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/io.h"
#include "test/support/manual_ring.h"

namespace sentinel {

using core::Shard;
using core::Task;
using core::TaskScope;
using core::Wake;

namespace {

struct Fixture {
  test::ManualRing ring;
  Shard shard{0, ring, 1};
  std::vector<std::string> log;

  void settle() {
    while (shard.turn(Shard::Sleep::never)) {
    }
  }
};

Task<void> until_cancelled(TaskScope* scope, std::string name, std::vector<std::string>* log) {
  log->push_back(name + " runs");
  core::Signal never(scope->shard());
  const Wake wake = co_await never.wait({}, scope->token());
  // Some of the clean-up waits too.
  co_await core::yield(scope->shard());
  log->push_back(name + (wake == Wake::cancelled ? " cancelled" : " woken"));
}

Task<void> until_signalled(core::Signal* signal) { co_await signal->wait(); }

Task<void> close_it(TaskScope* scope, std::vector<std::string>* log) {
  co_await scope->close();
  log->emplace_back("closed");
}

Task<void> join_it(TaskScope* scope, std::vector<std::string>* log) {
  co_await scope->join();
  log->emplace_back("joined");
}

Task<void> spawn_more(TaskScope* scope, core::Signal* signal, int levels) {
  co_await signal->wait();
  if (levels > 0) scope->spawn(spawn_more(scope, signal, levels - 1));
}

Task<void> hold_and_wait(core::Signal* signal, std::shared_ptr<int> held) {
  co_await signal->wait();
  (void)held;
}

Task<void> hold_in_operation(Shard& shard, std::shared_ptr<int> held) {
  core::Io io(shard, core::OpCode::nop);
  co_await io;
  (void)held;
}

using Log = std::vector<std::string>;

}  // namespace

TEST_CASE_FIXTURE(Fixture, "spawn runs a task up to its first wait") {
  TaskScope scope(shard);
  scope.spawn(until_cancelled(&scope, "a", &log));
  CHECK(log == Log{"a runs"});
  CHECK(scope.active() == 1);
  scope.cancel();
  settle();
  CHECK(scope.active() == 0);
}

TEST_CASE_FIXTURE(Fixture, "close cancels all tasks and waits until the last has ended") {
  TaskScope scope(shard);
  TaskScope owner(shard);
  for (const char* name : {"a", "b"}) scope.spawn(until_cancelled(&scope, name, &log));
  owner.spawn(close_it(&scope, &log));
  CHECK(scope.cancelled());
  CHECK(log == Log{"a runs", "b runs"});
  settle();
  CHECK(log == Log{"a runs", "b runs", "a cancelled", "b cancelled", "closed"});
  CHECK(scope.active() == 0);
}

TEST_CASE_FIXTURE(Fixture, "join waits for tasks without asking them to end") {
  TaskScope scope(shard);
  TaskScope owner(shard);
  core::Signal signal(shard);
  scope.spawn(until_signalled(&signal));
  owner.spawn(join_it(&scope, &log));
  settle();
  CHECK(log.empty());
  CHECK(!scope.cancelled());
  signal.notify_all();
  settle();
  CHECK(log == Log{"joined"});
}

TEST_CASE_FIXTURE(Fixture, "closing a scope without tasks does not wait") {
  TaskScope scope(shard);
  TaskScope owner(shard);
  owner.spawn(close_it(&scope, &log));
  CHECK(log == Log{"closed"});
}

TEST_CASE_FIXTURE(Fixture, "join also waits for tasks that tasks have spawned") {
  TaskScope scope(shard);
  TaskScope owner(shard);
  core::Signal signal(shard);
  scope.spawn(spawn_more(&scope, &signal, 2));
  owner.spawn(join_it(&scope, &log));
  for (int i = 0; i < 3; ++i) {
    CHECK(log.empty());
    signal.notify_all();
    settle();
  }
  CHECK(log == Log{"joined"});
}

TEST_CASE("an abandoned shard drops its tasks where they wait, with all they hold") {
  auto held = std::make_shared<int>(1);
  {
    test::ManualRing ring;
    Shard shard(0, ring, 1);
    core::Signal signal(shard);
    TaskScope scope(shard);
    scope.spawn(hold_and_wait(&signal, held));
    scope.spawn(hold_in_operation(shard, held));
    CHECK(held.use_count() == 3);
    shard.abandon();
  }
  CHECK(held.use_count() == 1);
}

}  // namespace sentinel
