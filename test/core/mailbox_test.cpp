#include "core/mailbox.h"

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/call.h"
#include "core/runtime.h"

namespace sentinel {

using core::IoKind;
using core::Runtime;
using core::Shard;
using core::Task;

namespace {

/// What one shard has received from the other. Touched by its shard only.
struct Inbox {
  std::int64_t next = 0;
  std::int64_t out_of_order = 0;
  std::int64_t on_wrong_thread = 0;
  std::thread::id home;
};

Task<std::int64_t> receive_number(Inbox* inbox, std::int64_t number) {
  if (number != inbox->next++) ++inbox->out_of_order;
  if (std::this_thread::get_id() != inbox->home) ++inbox->on_wrong_thread;
  co_return number * 2;
}

struct Side {
  Shard* here = nullptr;
  Shard* there = nullptr;
  Inbox* inbox_there = nullptr;
  std::int64_t calls = 0;
};

Task<void> one_call(Side side, std::int64_t number, core::Semaphore* window, std::int64_t* right) {
  const std::int64_t answer =
      co_await core::call(*side.here, *side.there, &receive_number, side.inbox_there, number);
  if (answer == number * 2) ++*right;
  window->release(1);
}

/// Keeps up to 300 calls in flight; returns how many answers were right.
Task<std::int64_t> call_often(Shard& shard, Side side) {
  core::Semaphore window(shard, 300);
  core::TaskScope scope(shard);
  std::int64_t right = 0;
  for (std::int64_t i = 0; i < side.calls; ++i) {
    co_await window.acquire(1);
    scope.spawn(one_call(side, i, &window, &right));
  }
  co_await scope.join();
  co_return right;
}

/// One call at a time: both shards sleep between them.
Task<std::int64_t> call_slowly(Shard& shard, Side side) {
  std::int64_t right = 0;
  for (std::int64_t i = 0; i < side.calls; ++i) {
    const std::int64_t answer =
        co_await core::call(shard, *side.there, &receive_number, side.inbox_there, i);
    if (answer == i * 2) ++right;
  }
  co_return right;
}

Task<void> settle_in(Shard& shard, Inbox* inbox) {
  inbox->home = std::this_thread::get_id();
  co_await core::yield(shard);
}

std::vector<std::unique_ptr<Runtime>> runtimes_with_two_shards() {
  std::vector<std::unique_ptr<Runtime>> runtimes;
  for (const IoKind io : {IoKind::uring, IoKind::asio}) {
    auto runtime = Runtime::start({.shards = 2, .io = io, .seed = 1, .pin = true});
    if (!runtime && io == IoKind::uring) {
      MESSAGE("io_uring is refused here: only asio is tested");
      continue;
    }
    REQUIRE(runtime.has_value());
    runtimes.push_back(std::move(*runtime));
  }
  return runtimes;
}

void exchange_calls(Runtime& runtime, std::int64_t calls,
                    Task<std::int64_t> (*caller)(Shard&, Side)) {
  std::array<Inbox, 2> inboxes;
  std::array<std::int64_t, 2> right{};
  for (std::uint32_t i = 0; i < 2; ++i) runtime.run_on(i, &settle_in, &inboxes[i]);
  const auto side = [&](std::uint32_t i) {
    return Side{&runtime.shard(i), &runtime.shard(1 - i), &inboxes[1 - i], calls};
  };
  std::thread second([&] { right[1] = runtime.run_on(1, caller, side(1)); });
  right[0] = runtime.run_on(0, caller, side(0));
  second.join();
  runtime.stop();
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(right[i] == calls);
    CHECK(inboxes[i].next == calls);
    CHECK(inboxes[i].out_of_order == 0);
    CHECK(inboxes[i].on_wrong_thread == 0);
  }
}

}  // namespace

TEST_CASE("a hundred thousand calls each way all arrive, answered and in order") {
  for (const auto& runtime : runtimes_with_two_shards()) {
    CAPTURE(to_string(runtime->io()));
    exchange_calls(*runtime, 100'000, &call_often);
  }
}

TEST_CASE("a message wakes a shard that sleeps") {
  for (const auto& runtime : runtimes_with_two_shards()) {
    CAPTURE(to_string(runtime->io()));
    exchange_calls(*runtime, 500, &call_slowly);
  }
}

TEST_CASE("calls beyond the credits of a lane wait instead of overflowing it") {
  for (const auto& runtime : runtimes_with_two_shards()) {
    Inbox inbox;
    runtime->run_on(1, &settle_in, &inbox);
    const Side side{&runtime->shard(0), &runtime->shard(1), &inbox,
                    3 * core::MailboxLane::kCapacity};
    const auto all_at_once = [](Shard& shard, Side to) -> Task<std::int64_t> {
      core::Semaphore window(shard, static_cast<std::uint64_t>(to.calls));
      co_await window.acquire(static_cast<std::uint64_t>(to.calls));
      core::TaskScope scope(shard);
      std::int64_t right = 0;
      for (std::int64_t i = 0; i < to.calls; ++i) scope.spawn(one_call(to, i, &window, &right));
      co_await scope.join();
      co_return right;
    };
    CHECK(runtime->run_on(0, all_at_once, side) == side.calls);
    runtime->stop();
    CHECK(inbox.out_of_order == 0);
  }
}

TEST_CASE("a call to the own shard runs in place") {
  for (const auto& runtime : runtimes_with_two_shards()) {
    Inbox inbox;
    runtime->run_on(0, &settle_in, &inbox);
    const Side side{&runtime->shard(0), &runtime->shard(0), &inbox, 10};
    CHECK(runtime->run_on(0, &call_slowly, side) == 10);
    CHECK(inbox.on_wrong_thread == 0);
  }
}

}  // namespace sentinel
