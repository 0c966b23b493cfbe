#pragma once
/// Waiting inside one shard: sleep, Signal, Semaphore and a bounded Queue. No atomics: all parties
/// run on the same shard.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "core/cancel.h"
#include "core/clock.h"
#include "core/intrusive_list.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::core {

struct WaitTag;

/// How a wait ended.
enum class Wake : std::uint8_t { signalled, timed_out, cancelled };

/// One suspended coroutine, ended by whichever comes first: a wake-up, its deadline, or a
/// cancellation. Awaited in the statement that makes it.
class [[nodiscard]] Wait : public ListHook<WaitTag>, public TimerNode, public CancelHook {
 public:
  using List = IntrusiveList<Wait, WaitTag>;

  /// `list` may be null: then only the deadline or the token ends the wait.
  Wait(Shard& shard, List* list, Deadline deadline, CancelToken token);
  ~Wait() { shard_.timers().remove(*this); }

  bool await_ready();
  void await_suspend(std::coroutine_handle<> waiter);
  Wake await_resume() { return wake_; }

  void end(Wake wake);

 private:
  Shard& shard_;
  List* list_;
  Deadline deadline_;
  CancelToken token_;
  std::coroutine_handle<> waiter_;
  Wake wake_ = Wake::signalled;
};

inline Wait sleep_until(Shard& shard, Deadline deadline, CancelToken token = {}) {
  return Wait(shard, nullptr, deadline, token);
}
inline Wait sleep_for(Shard& shard, Duration duration, CancelToken token = {}) {
  return Wait(shard, nullptr, shard.deadline_in(duration), token);
}
/// Lets everything else that is ready run first: for loops over inputs of users' sizes.
Wait yield(Shard& shard);

/// A condition variable: wait() suspends until the next notify. Check the condition in a loop
/// around it.
class Signal {
 public:
  explicit Signal(Shard& shard) : shard_(shard) {}
  Wait wait(Deadline deadline = {}, CancelToken token = {}) {
    return Wait(shard_, &waiting_, deadline, token);
  }
  void notify_all() {
    while (!waiting_.empty()) waiting_.front().end(Wake::signalled);
  }
  void notify_one() {
    if (!waiting_.empty()) waiting_.front().end(Wake::signalled);
  }
  [[nodiscard]] bool has_waiters() const { return !waiting_.empty(); }

 private:
  Shard& shard_;
  Wait::List waiting_;
};

/// A counted budget. Waiters are served in order of arrival; a large request is not overtaken by
/// small ones.
class Semaphore {
  struct Request;

 public:
  Semaphore(Shard& shard, std::uint64_t units) : shard_(shard), available_(units), total_(units) {}

  /// Takes `units`, at most the total. False when the deadline passed or the token was cancelled;
  /// then nothing was taken.
  Task<bool> acquire(std::uint64_t units, Deadline deadline = {}, CancelToken token = {});
  bool try_acquire(std::uint64_t units);
  /// Takes `units` at once, even if they are not there: for what turned out larger than was
  /// acquired. What is missing is a debt that all waiters wait for.
  void overdraw(std::uint64_t units);
  void release(std::uint64_t units);
  [[nodiscard]] std::uint64_t available() const {
    return available_ > debt_ ? available_ - debt_ : 0;
  }
  [[nodiscard]] std::uint64_t total() const { return total_; }

 private:
  void grant();

  Shard& shard_;
  std::uint64_t available_;
  std::uint64_t debt_ = 0;  // Counts against what is available, now or later.
  const std::uint64_t total_;
  Wait::List waiting_;
};

/// A bounded first-in-first-out queue.
template <typename T>
class Queue {
 public:
  Queue(Shard& shard, std::size_t capacity)
      : capacity_(capacity), not_empty_(shard), not_full_(shard) {}

  /// Waits for room. False when cancelled, timed out or closed; then `value` is dropped.
  Task<bool> push(T value, Deadline deadline = {}, CancelToken token = {}) {
    while (items_.size() >= capacity_ && !closed_) {
      const Wake wake = co_await not_full_.wait(deadline, token);
      if (wake != Wake::signalled) co_return false;
    }
    co_return try_push(std::move(value));
  }
  bool try_push(T value) {
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(value));
    not_empty_.notify_one();
    return true;
  }
  /// Waits for an item. Nothing when cancelled, timed out, or closed and empty.
  Task<std::optional<T>> pop(Deadline deadline = {}, CancelToken token = {}) {
    while (items_.empty() && !closed_) {
      const Wake wake = co_await not_empty_.wait(deadline, token);
      if (wake != Wake::signalled) co_return std::nullopt;
    }
    co_return try_pop();
  }
  std::optional<T> try_pop() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    not_full_.notify_one();
    return item;
  }
  /// Refuses new items; what is queued can still be taken.
  void close() {
    closed_ = true;
    not_empty_.notify_all();
    not_full_.notify_all();
  }
  [[nodiscard]] std::size_t size() const { return items_.size(); }
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  const std::size_t capacity_;
  bool closed_ = false;
  std::deque<T> items_;
  Signal not_empty_;
  Signal not_full_;
};

}  // namespace sentinel::core
