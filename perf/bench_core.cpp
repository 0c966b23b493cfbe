/// Google Benchmark programs of core: checksums, tasks, calls between shards, timers.

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "core/call.h"
#include "core/crc32c.h"
#include "core/runtime.h"
#include "core/scope.h"
#include "core/sync.h"
#include "core/task.h"

namespace sentinel {
namespace {

using core::Shard;
using core::Task;

void crc32c_bytes(benchmark::State& state) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{0x5a});
  for (auto each : state) {
    benchmark::DoNotOptimize(core::crc32c(bytes));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(crc32c_bytes)->Arg(64)->Arg(1024)->Arg(64 << 10)->Arg(1 << 20);

/// Runs one coroutine body on a shard of this thread for the whole benchmark.
void on_shard(benchmark::State& state, Task<int> (*body)(Shard&, benchmark::State*)) {
  const auto code = core::run_on_this_thread(core::IoKind::automatic, 1, body, &state);
  if (!code) state.SkipWithError("no ring");
}

Task<int> answer(int value) { co_return value; }

void task_await(benchmark::State& state) {
  on_shard(state, [](Shard&, benchmark::State* bench) -> Task<int> {
    int sum = 0;
    while (bench->KeepRunning()) sum += co_await answer(1);
    benchmark::DoNotOptimize(sum);
    co_return 0;
  });
}
BENCHMARK(task_await);

Task<void> nothing() { co_return; }

void scope_spawn(benchmark::State& state) {
  on_shard(state, [](Shard& shard, benchmark::State* bench) -> Task<int> {
    core::TaskScope scope(shard);
    while (bench->KeepRunning()) scope.spawn(nothing());
    co_await scope.join();
    co_return 0;
  });
}
BENCHMARK(scope_spawn);

void run_queue_round(benchmark::State& state) {
  on_shard(state, [](Shard& shard, benchmark::State* bench) -> Task<int> {
    while (bench->KeepRunning()) co_await core::yield(shard);
    co_return 0;
  });
}
BENCHMARK(run_queue_round);

Task<void> wait_long(Shard* shard, core::CancelToken token) {
  co_await core::sleep_for(*shard, std::chrono::hours(1), token);
}

/// Starting and cancelling a timer among a thousand others.
void timer_start_and_cancel(benchmark::State& state) {
  on_shard(state, [](Shard& shard, benchmark::State* bench) -> Task<int> {
    core::TaskScope others(shard);
    for (int i = 0; i < 1000; ++i) others.spawn(wait_long(&shard, others.token()));
    while (bench->KeepRunning()) {
      core::TaskScope one(shard);
      one.spawn(wait_long(&shard, one.token()));
      co_await one.close();
    }
    co_await others.close();
    co_return 0;
  });
}
BENCHMARK(timer_start_and_cancel);

Task<int> echo(int value) { co_return value; }

Task<int> ping(Shard& here, Shard* there, benchmark::State* bench) {
  int sum = 0;
  while (bench->KeepRunning()) sum += co_await core::call(here, *there, &echo, 1);
  benchmark::DoNotOptimize(sum);
  co_return 0;
}

/// A call to another shard and its answer, one at a time: both sides sleep in between.
void mailbox_round_trip(benchmark::State& state) {
  auto runtime =
      core::Runtime::start({.shards = 2, .io = core::IoKind::automatic, .seed = 1, .pin = true});
  if (!runtime) return state.SkipWithError("no ring");
  (*runtime)->run_on(0, &ping, &(*runtime)->shard(1), &state);
  (*runtime)->stop();
}
BENCHMARK(mailbox_round_trip)->UseRealTime();

Task<void> worker(Shard* here, Shard* there, std::int64_t* left) {
  while (*left > 0) {
    --*left;
    benchmark::DoNotOptimize(co_await core::call(*here, *there, &echo, 1));
  }
}

Task<int> flood(Shard& here, Shard* there, benchmark::State* bench) {
  while (bench->KeepRunningBatch(10'000)) {
    std::int64_t left = 10'000;
    core::TaskScope scope(here);
    for (int i = 0; i < 64; ++i) scope.spawn(worker(&here, there, &left));
    co_await scope.join();
  }
  co_return 0;
}

/// The same with 64 calls on their way.
void mailbox_throughput(benchmark::State& state) {
  auto runtime =
      core::Runtime::start({.shards = 2, .io = core::IoKind::automatic, .seed = 1, .pin = true});
  if (!runtime) return state.SkipWithError("no ring");
  (*runtime)->run_on(0, &flood, &(*runtime)->shard(1), &state);
  (*runtime)->stop();
}
BENCHMARK(mailbox_throughput)->UseRealTime();

}  // namespace
}  // namespace sentinel

BENCHMARK_MAIN();
