#include <fmt/ranges.h>

#include <memory>
#include <string>
#include <vector>

#include "core/assert.h"
#include "core/scope.h"
#include "test/support/ring_conformance.h"
#include "test/support/ring_operations.h"

namespace sentinel::test {

using core::Deadline;
using core::OpCode;
using core::Operation;
using core::Shard;
using core::Task;

namespace {

std::string_view yes(bool value) { return value ? "yes" : "no"; }

Task<void> append_at(Shard& shard, Deadline deadline, int number, std::vector<int>* order) {
  co_await core::sleep_until(shard, deadline);
  order->push_back(number);
}

struct Noted : Operation {
  bool done = false;
};

Task<void> timer_script(Shard& shard, Transcript& log) {
  Noted nop;
  nop.completed = [](Operation& operation) { static_cast<Noted&>(operation).done = true; };
  shard.ring().submit(nop);
  const bool in_submit = nop.done;
  while (!nop.done) co_await core::yield(shard);
  log.note("a nop completes at the next poll, not in submit", yes(!in_submit));

  core::TaskScope scope(shard);
  std::vector<int> order;
  const auto in_ms = [&](int count) { return shard.deadline_in(std::chrono::milliseconds(count)); };
  scope.spawn(append_at(shard, in_ms(12), 3, &order));
  scope.spawn(append_at(shard, in_ms(4), 1, &order));
  scope.spawn(append_at(shard, in_ms(8), 2, &order));
  co_await scope.join();
  log.note("timers fire in the order of their times", fmt::format("{}", fmt::join(order, ",")));
  order.clear();
  const Deadline same = in_ms(2);
  for (int i = 1; i <= 3; ++i) scope.spawn(append_at(shard, same, i, &order));
  co_await scope.join();
  log.note("timers of one time fire in the order of their starts",
           fmt::format("{}", fmt::join(order, ",")));
  const core::TimePoint before = shard.now();
  co_await core::sleep_for(shard, std::chrono::milliseconds(3));
  log.note("sleep is not shorter than asked",
           yes(shard.now() - before >= std::chrono::milliseconds(3)));
  log.note("wall time does not stand at zero",
           yes(shard.ring().wall_now().time_since_epoch().count() > 0));
}

/// Two rings with a shard each, driven together.
struct Duo {
  explicit Duo(const RingFactory& from)
      : factory(from),
        first_ring(from.make()),
        second_ring(from.make()),
        first(0, *first_ring, 1),
        second(1, *second_ring, 2) {
    Shard::connect({&first, &second});
  }

  void run(core::TaskScope& a, core::TaskScope& b) {
    Shard* const shards[] = {&first, &second};
    drive_until(factory, shards, [&] { return a.active() == 0 && b.active() == 0; });
  }

  const RingFactory& factory;
  std::unique_ptr<core::Ring> first_ring;
  std::unique_ptr<core::Ring> second_ring;
  Shard first;
  Shard second;
};

Task<void> make_pair(Shard& shard, SocketPair* pair) { *pair = co_await connect_pair(shard); }

Task<void> say(Shard& shard, core::Handle socket, std::string text) {
  co_await core::yield(shard);
  co_await send_text(shard, socket, std::move(text));
}

Task<void> hear(Shard& shard, core::Handle socket, std::string* text) {
  co_await receive_text(shard, socket, 16, text);
}

Task<void> hang_up(Shard& shard, core::Handle socket) { co_await close_handle(shard, socket); }

}  // namespace

std::string run_timer_script(const RingFactory& factory) {
  Transcript transcript;
  run_on_ring(factory, &timer_script, transcript);
  return transcript.text();
}

std::string run_handover_script(const RingFactory& factory) {
  Duo duo(factory);
  Transcript log;
  core::TaskScope first(duo.first);
  core::TaskScope second(duo.second);
  SocketPair pair;
  std::string text;
  first.spawn(make_pair(duo.first, &pair));
  duo.run(first, second);
  first.spawn(say(duo.first, pair.near, "ping"));
  first.spawn(hear(duo.first, pair.far, &text));
  duo.run(first, second);
  log.note("echo on the first ring", std::string_view(text));

  duo.first_ring->detach(pair.far);
  duo.second_ring->attach(pair.far);
  first.spawn(say(duo.first, pair.near, "pong"));
  duo.run(first, second);
  second.spawn(hear(duo.second, pair.far, &text));
  duo.run(first, second);
  log.note("echo on the second ring", std::string_view(text));
  second.spawn(hear(duo.second, pair.far, &text));
  first.spawn(say(duo.first, pair.near, "more"));
  duo.run(first, second);
  log.note("receive pending on the second ring", std::string_view(text));
  first.spawn(hang_up(duo.first, pair.near));
  second.spawn(hang_up(duo.second, pair.far));
  duo.run(first, second);
  return log.text();
}

}  // namespace sentinel::test
