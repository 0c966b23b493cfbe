#pragma once
/// The threads of a program: one pinned thread a shard, each with its ring, or one shard on the
/// calling thread. The composition root of core; nothing below apps needs it.

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/result.h"
#include "core/ring.h"
#include "core/scope.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::core {

/// What stands behind the Ring seam. automatic: io_uring, or Asio where the system refuses
/// io_uring.
enum class IoKind : std::uint8_t { automatic, uring, asio };
/// "auto", "uring", "asio".
std::string_view to_string(IoKind kind);
std::optional<IoKind> parse_io_kind(std::string_view text);

struct MadeRing {
  std::unique_ptr<Ring> ring;
  std::string fallback_reason;  ///< Why io_uring was refused; empty unless `automatic` fell back.
};
/// Makes a ring for the calling thread.
Result<MadeRing> make_ring(IoKind kind);

struct RuntimeOptions {
  std::uint32_t shards = 1;
  IoKind io = IoKind::automatic;
  std::uint64_t seed = 0;  ///< Of the shards' random numbers; each shard derives its own.
  bool pin = true;         ///< One CPU a shard, when there are enough of them.
};

class Runtime {
 public:
  /// Starts the threads; all shards turn and can reach each other when it returns. Ignores SIGPIPE
  /// for the process and blocks all other signals in the shard threads, so that main can sigwait().
  static Result<std::unique_ptr<Runtime>> start(RuntimeOptions options);
  /// Calls stop().
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(seats_.size()); }
  [[nodiscard]] Shard& shard(std::uint32_t index) { return *seats_.at(index)->shard; }
  /// The kind in use; never automatic.
  [[nodiscard]] IoKind io() const { return io_; }
  /// Why io_uring is not used although it was wanted; empty when it is.
  [[nodiscard]] const std::string& fallback_reason() const { return fallback_reason_; }

  /// Runs `work` on a shard. From threads that are no shard.
  void post(std::uint32_t shard, std::function<void()> work);

  /// Runs `program(shard, args...)`, a coroutine function or a lambda without captures, on a shard
  /// and blocks the calling thread, which is no shard, until it has finished. Returns its result.
  template <typename Program, typename... Args>
  auto run_on(std::uint32_t shard, Program program, Args... args);

  /// Ends the loops and joins the threads. Whatever runs on the shards has been closed before: a
  /// task that still runs is a bug and asserts. Idempotent.
  void stop();

 private:
  /// One thread and what lives on it.
  struct Seat {
    std::uint32_t index = 0;
    std::unique_ptr<Ring> ring;
    std::unique_ptr<Shard> shard;
    std::string refusal;
    bool stopping = false;  // Read and written on the seat's thread.
    std::thread thread;
  };
  enum class Phase : std::uint8_t { starting, running, ended };

  explicit Runtime(const RuntimeOptions& options) : options_(options) {}
  Status launch(IoKind kind);
  void thread_main(Seat& seat, IoKind kind);
  bool take_seat(Seat& seat, IoKind kind);
  void pin(const Seat& seat) const;
  void wait_for_all_to_leave();
  void join();

  const RuntimeOptions options_;
  IoKind io_ = IoKind::automatic;
  std::string fallback_reason_;
  std::vector<std::unique_ptr<Seat>> seats_;

  // Start and end of the threads; nothing here is touched while the shards run.
  std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::starting;
  bool all_seated_ = false;  // Every ring was made: the shards run.
  std::uint32_t seated_ = 0;
  std::uint32_t left_ = 0;
};

/// Runs a whole program on the calling thread: `program(shard, args...)` returns Task<int>, the
/// exit code. For programs with one shard: the CLI, the load generator. Fails when no ring can be
/// made.
template <typename Program, typename... Args>
Result<int> run_on_this_thread(IoKind io, std::uint64_t seed, Program program, Args... args);

template <typename T>
struct TaskResult;
template <typename T>
struct TaskResult<Task<T>> {
  using Type = T;
};

/// A program is a function or a callable without state: a lambda coroutine must not capture.
template <typename Program>
concept Stateless = std::is_empty_v<Program> || std::is_pointer_v<Program>;

/// One thread waits for the result of a task on another.
template <typename T>
class Errand {
 public:
  using Stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  void finish(Stored value) {
    const std::lock_guard lock(mutex_);
    value_.emplace(std::move(value));
    finished_.notify_all();
  }
  Stored wait() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return value_.has_value(); });
    return std::move(*value_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable finished_;
  std::optional<Stored> value_;
};

template <typename T>
Task<void> run_errand(Task<T> task, std::shared_ptr<Errand<T>> errand) {
  if constexpr (std::is_void_v<T>) {
    co_await std::move(task);
    errand->finish({});
  } else {
    T value = co_await std::move(task);
    errand->finish(std::move(value));
  }
}

template <typename Program, typename... Args>
auto Runtime::run_on(std::uint32_t shard, Program program, Args... args) {
  static_assert(Stateless<Program>,
                "a lambda coroutine captures nothing; pass values as arguments");
  using T = typename TaskResult<std::invoke_result_t<Program, Shard&, Args...>>::Type;
  auto errand = std::make_shared<Errand<T>>();
  // shared_ptr because std::function wants copies; the arguments may be movable only.
  auto packed = std::make_shared<std::tuple<Args...>>(std::move(args)...);
  Shard& target = this->shard(shard);
  post(shard, [&target, program, packed, errand] {
    // The frame is made here: a task lives and dies on one thread.
    auto task =
        std::apply([&](Args&... each) { return program(target, std::move(each)...); }, *packed);
    target.visitors().spawn(run_errand<T>(std::move(task), errand));
  });
  if constexpr (std::is_void_v<T>) {
    errand->wait();
  } else {
    return errand->wait();
  }
}

/// The loop of a program with one shard. Not a template: the part that does not depend on the
/// program.
class SingleShard {
 public:
  static Result<std::unique_ptr<SingleShard>> make(IoKind io, std::uint64_t seed);
  /// Starts the task and turns the shard until it has ended.
  int run(Task<int> task);
  [[nodiscard]] Shard& shard() { return shard_; }

 private:
  SingleShard(std::unique_ptr<Ring> ring, std::uint64_t seed);

  std::unique_ptr<Ring> ring_;
  Shard shard_;
};

template <typename Program, typename... Args>
Result<int> run_on_this_thread(IoKind io, std::uint64_t seed, Program program, Args... args) {
  static_assert(Stateless<Program>,
                "a lambda coroutine captures nothing; pass values as arguments");
  SENTINEL_TRY(single, SingleShard::make(io, seed));
  return single->run(program(single->shard(), std::move(args)...));
}

}  // namespace sentinel::core
