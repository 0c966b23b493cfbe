#pragma once
/// Time as the runtime sees it: a monotonic clock for waiting and a wall clock for record
/// timestamps. Both are read through the Ring.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sentinel::core {

using Duration = std::chrono::nanoseconds;

/// The monotonic clock of a Ring. Its epoch means nothing.
struct Monotonic {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Monotonic>;
  static constexpr bool is_steady = true;
};
using TimePoint = Monotonic::time_point;

/// Milliseconds since 1970, as Kafka timestamps count.
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;

/// The moment at which a wait gives up. Nested calls pass it on, so that they share it.
class Deadline {
 public:
  constexpr Deadline() = default;  // Never.
  constexpr explicit Deadline(TimePoint at) : at_(at) {}
  static constexpr Deadline never() { return {}; }

  [[nodiscard]] constexpr TimePoint at() const { return at_; }
  [[nodiscard]] constexpr bool is_never() const { return at_ == TimePoint::max(); }
  [[nodiscard]] constexpr bool passed(TimePoint now) const { return now >= at_; }
  friend constexpr Deadline earlier(Deadline a, Deadline b) { return a.at_ < b.at_ ? a : b; }

 private:
  TimePoint at_ = TimePoint::max();
};

/// One pending timeout. Lives in the frame of whoever waits; a queue refers to it until it fires or
/// is removed.
class TimerNode {
 public:
  TimerNode() = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  [[nodiscard]] bool queued() const { return position_ != kNotQueued; }
  [[nodiscard]] TimePoint when() const { return when_; }

 protected:
  ~TimerNode() = default;
  using Fire = void (*)(TimerNode&);
  Fire fire_ = nullptr;

 private:
  friend class TimerQueue;
  static constexpr std::size_t kNotQueued = SIZE_MAX;
  TimePoint when_;
  std::uint64_t order_ = 0;
  std::size_t position_ = kNotQueued;
};

/// The timers of one shard: a binary heap over intrusive nodes. Timers of equal time fire in the
/// order in which they were added.
class TimerQueue {
 public:
  void add(TimerNode& timer, TimePoint when);
  void remove(TimerNode& timer);
  /// Fires all timers due at `now`; returns whether there were any.
  bool fire_due(TimePoint now);
  /// TimePoint::max() when empty.
  [[nodiscard]] TimePoint next() const {
    return heap_.empty() ? TimePoint::max() : heap_.front()->when_;
  }

 private:
  [[nodiscard]] static bool before(const TimerNode& a, const TimerNode& b);
  void place(TimerNode* timer, std::size_t position);
  void sift_up(std::size_t position);
  void sift_down(std::size_t position);

  std::vector<TimerNode*> heap_;
  std::uint64_t added_ = 0;
};

}  // namespace sentinel::core
