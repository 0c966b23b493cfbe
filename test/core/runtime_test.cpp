#include "core/runtime.h"

#include <doctest/doctest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/io.h"
#include "core/sync.h"

namespace sentinel {

using core::IoKind;
using core::Runtime;
using core::RuntimeOptions;
using core::Shard;
using core::Task;

namespace {

Task<std::string> describe(Shard& shard, std::string prefix, int number) {
  co_await core::yield(shard);
  co_return prefix + std::to_string(number) + "@" + std::to_string(shard.id());
}

Task<std::unique_ptr<int>> increment(Shard&, std::unique_ptr<int> number) {
  ++*number;
  co_return number;
}

Task<int> sleep_and_count(Shard& shard, int count) {
  for (int i = 0; i < count; ++i) co_await core::sleep_for(shard, std::chrono::microseconds(200));
  co_return count;
}

Task<bool> terminate_is_blocked(Shard&) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  co_return sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGSEGV) == 0;
}

Task<std::uint64_t> spin_until(Shard& shard, std::atomic<bool>* flag) {
  std::uint64_t rounds = 0;
  while (!flag->load()) {
    ++rounds;
    co_await core::yield(shard);
  }
  co_return rounds;
}

/// Makes io_uring_setup fail with EPERM on this thread and those it starts, as containers do. False
/// where filters can't be installed.
bool refuse_io_uring() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{.len = std::size(code), .filter = code};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

struct RefusedStart {
  bool refused = false;
  std::string automatic_kind;
  std::string fallback_reason;
  std::string answer;
  std::string uring_error;
};

void start_where_refused(RefusedStart& seen) {
  seen.refused = refuse_io_uring();
  if (!seen.refused) return;
  auto runtime = Runtime::start({.shards = 2, .io = IoKind::automatic, .seed = 1, .pin = true});
  if (runtime) {
    seen.automatic_kind = to_string((*runtime)->io());
    seen.fallback_reason = (*runtime)->fallback_reason();
    seen.answer = (*runtime)->run_on(1, &describe, std::string("n"), 7);
  }
  const auto insisting = Runtime::start({.shards = 2, .io = IoKind::uring, .seed = 1, .pin = true});
  if (!insisting) seen.uring_error = insisting.error().message;
}

}  // namespace

TEST_CASE("where the system refuses io_uring, automatic falls back to asio and says why") {
  RefusedStart seen;
  std::thread([&] { start_where_refused(seen); }).join();
  if (!seen.refused) {
    MESSAGE("system call filters are not allowed here");
    return;
  }
  CHECK(seen.automatic_kind == "asio");
  CHECK(seen.answer == "n7@1");
  CHECK(seen.fallback_reason.contains("errno 1"));
  CHECK(seen.fallback_reason.contains("kernel.io_uring_disabled"));
  CHECK(seen.uring_error == seen.fallback_reason);
}

TEST_CASE("run_on runs a coroutine on its shard and returns its result") {
  auto runtime = Runtime::start({.shards = 3, .io = IoKind::automatic, .seed = 1, .pin = true});
  REQUIRE(runtime.has_value());
  CHECK((*runtime)->count() == 3);
  CHECK((*runtime)->io() != IoKind::automatic);
  for (std::uint32_t i = 0; i < 3; ++i) {
    CHECK((*runtime)->run_on(i, &describe, std::string("n"), 7) == "n7@" + std::to_string(i));
  }
  CHECK(*(*runtime)->run_on(1, &increment, std::make_unique<int>(1)) == 2);
}

TEST_CASE("posted work runs on the thread of its shard, in order") {
  auto runtime = Runtime::start({.shards = 2, .io = IoKind::asio, .seed = 1, .pin = false});
  REQUIRE(runtime.has_value());
  CHECK((*runtime)->io() == IoKind::asio);
  CHECK((*runtime)->fallback_reason().empty());
  std::vector<int> order;
  std::set<std::thread::id> threads;
  for (int i = 0; i < 100; ++i) {
    (*runtime)->post(1, [&, i] {
      order.push_back(i);
      threads.insert(std::this_thread::get_id());
    });
  }
  (*runtime)->stop();
  (*runtime)->stop();
  CHECK(order.size() == 100);
  CHECK(std::ranges::is_sorted(order));
  CHECK(threads.size() == 1);
  CHECK(!threads.contains(std::this_thread::get_id()));
}

TEST_CASE("shard threads leave signals to main") {
  auto runtime = Runtime::start({.shards = 1, .io = IoKind::automatic, .seed = 1, .pin = true});
  REQUIRE(runtime.has_value());
  CHECK((*runtime)->run_on(0, &terminate_is_blocked));
  sigset_t own;
  pthread_sigmask(SIG_SETMASK, nullptr, &own);
  CHECK(sigismember(&own, SIGTERM) == 0);
}

TEST_CASE("a shard that is never idle still takes posts") {
  for (const IoKind io : {IoKind::automatic, IoKind::asio}) {
    auto runtime = Runtime::start({.shards = 1, .io = io, .seed = 1, .pin = true});
    REQUIRE(runtime.has_value());
    std::atomic<bool> flag{false};
    std::uint64_t rounds = 0;
    std::thread waiting([&] { rounds = (*runtime)->run_on(0, &spin_until, &flag); });
    CHECK((*runtime)->run_on(0, &sleep_and_count, 20) == 20);
    flag.store(true);
    waiting.join();
    CHECK(rounds > 0);
  }
}

TEST_CASE("a program with one shard runs on the calling thread") {
  for (const IoKind io : {IoKind::automatic, IoKind::asio}) {
    const auto program = [](Shard& shard, std::thread::id caller, int code) -> Task<int> {
      co_await core::sleep_for(shard, std::chrono::milliseconds(1));
      co_return std::this_thread::get_id() == caller ? code : -1;
    };
    const auto code = core::run_on_this_thread(io, 1, program, std::this_thread::get_id(), 5);
    REQUIRE(code.has_value());
    CHECK(*code == 5);
  }
}

TEST_CASE("kinds of input and output are named as they are parsed") {
  for (const IoKind kind : {IoKind::automatic, IoKind::uring, IoKind::asio}) {
    CHECK(core::parse_io_kind(to_string(kind)) == kind);
  }
  CHECK(!core::parse_io_kind("epoll"));
}

}  // namespace sentinel
