#pragma once
/// A shard: one ring, one run queue, one timer queue, one mailbox. Everything above is written as
/// coroutines of one shard, whose data no other thread touches.
///
/// A shard does not own its thread. turn() runs one round of the loop, so that a pinned thread
/// drives one shard (core/runtime.h) and the simulator drives many in one thread.

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/assert.h"
#include "core/clock.h"
#include "core/mailbox.h"
#include "core/random.h"
#include "core/ring.h"

namespace sentinel::core {

class Semaphore;
class TaskScope;

/// What a shard does about a broken environment (a failed sync). In production it ends the process;
/// the simulator ends one node. Work on the shard must stop where it stands: nothing may be
/// acknowledged after it.
class FailureHandler {
 public:
  virtual void on_failure(ExitCode code, std::string_view message) = 0;

 protected:
  ~FailureHandler() = default;
};

class Shard {
 public:
  using Id = std::uint32_t;

  /// `ring` outlives the shard.
  Shard(Id id, Ring& ring, std::uint64_t seed);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  [[nodiscard]] Id id() const { return id_; }
  [[nodiscard]] Ring& ring() { return ring_; }
  [[nodiscard]] TimePoint now() const { return ring_.now(); }
  [[nodiscard]] Deadline deadline_in(Duration duration) const { return Deadline(now() + duration); }
  [[nodiscard]] Random& random() { return random_; }
  [[nodiscard]] TimerQueue& timers() { return timers_; }

  /// Appends a coroutine to the run queue. Wakers never resume in place, so that the waker's
  /// function stays atomic.
  void make_ready(std::coroutine_handle<> waiter) { ready_.push_back(waiter); }

  enum class Sleep : std::uint8_t { never, allowed };
  /// One round: deliver messages, run what is ready, fire timers, exchange with the ring. Returns
  /// whether anything ran.
  bool turn(Sleep sleep);
  /// Whether a turn without new events would run something.
  [[nodiscard]] bool has_work() const;

  /// Makes `shards` able to send to each other. Before any of them turns; `shards[i]` has id i.
  static void connect(const std::vector<Shard*>& shards);
  /// Sends a message, which lives until it is delivered, to another shard. Messages from one shard
  /// to another arrive in order.
  void send(Shard& to, Message& message);
  [[nodiscard]] Mailbox& mailbox() { return mailbox_; }
  /// Bounds the calls in flight from here to `to`.
  [[nodiscard]] Semaphore& call_credits(const Shard& to) { return *call_credits_.at(to.id()); }
  /// The tasks that run for callers on other shards.
  [[nodiscard]] TaskScope& visitors() { return *visitors_; }

  void set_failure_handler(FailureHandler* handler) { failure_handler_ = handler; }
  /// Reports a broken environment. Returns only under the simulator, where the node is gone: the
  /// caller must then never complete.
  void fail(ExitCode code, std::string_view message);

  /// Tells the shard that what runs on it is dropped in mid-work, as a crash does: scopes then
  /// destroy their tasks instead of requiring that they have ended. Simulator only.
  void abandon();
  [[nodiscard]] bool abandoned() const { return abandoned_; }

 private:
  bool run_ready();
  bool deliver_completions();

  const Id id_;
  Ring& ring_;
  Random random_;
  TimerQueue timers_;
  Mailbox mailbox_;
  FailureHandler* failure_handler_ = nullptr;
  bool abandoned_ = false;

  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> running_;
  CompletionList finished_;
  std::unique_ptr<TaskScope> visitors_;
  std::vector<std::unique_ptr<Semaphore>> call_credits_;
};

}  // namespace sentinel::core
