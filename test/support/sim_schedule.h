#pragma once
/// The heart of the simulator: virtual time, the queue of events to come, the list of rings with
/// something to do, and the trace hash that proves that a seed repeats.
///
/// Events of one time are ordered by a seeded draw, so that each seed is another legal order of
/// what happens at once.

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/random.h"
#include "core/ring.h"

namespace sentinel::test {

class SimRing;

/// Something that events are addressed to. Told apart by an identifier that is never reused, so
/// that an event for a target that is gone is dropped.
class EventTarget {
 public:
  virtual void on_event(std::uint64_t tag) = 0;

 protected:
  ~EventTarget() = default;
};

/// One line of the trace. No addresses: they differ from run to run.
struct TraceEntry {
  std::uint32_t node = 0;
  std::uint32_t shard = 0;
  core::OpCode code = core::OpCode::nop;
  bool completion = false;
  std::int64_t handle = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::string_view path;
  std::int64_t result = 0;
};

class SimSchedule {
 public:
  explicit SimSchedule(std::uint64_t seed);

  [[nodiscard]] core::TimePoint now() const { return now_; }
  /// Time only moves forward.
  void advance_to(core::TimePoint time);

  std::uint32_t add_target(EventTarget& target);
  void remove_target(std::uint32_t id) { targets_.at(id) = nullptr; }
  void schedule(core::TimePoint at, std::uint32_t target, std::uint64_t tag);
  /// TimePoint::max() when nothing is to come.
  [[nodiscard]] core::TimePoint next_event() const {
    return events_.empty() ? core::TimePoint::max() : events_.front().at;
  }
  /// Delivers the first event if it is due; returns whether one was.
  bool deliver_due();

  /// Lists `ring` as having something to do. Idempotent.
  void make_runnable(SimRing& ring);
  void forget(SimRing& ring);
  [[nodiscard]] bool any_runnable() const { return !runnable_.empty(); }
  /// Takes one of the runnable rings off the list: any of them, or the longest waiting in FIFO
  /// mode.
  SimRing& take_runnable();
  /// First come first served, for reading a trace: a failure that stays is easier to follow.
  void set_fifo(bool fifo) { fifo_ = fifo; }

  void trace(const TraceEntry& entry);
  [[nodiscard]] std::uint64_t trace_hash() const { return trace_hash_; }
  [[nodiscard]] std::uint64_t events_delivered() const { return events_delivered_; }
  /// An independent stream of randomness for one concern.
  [[nodiscard]] core::Random stream(std::string_view concern) const { return root_.fork(concern); }

 private:
  struct Event {
    core::TimePoint at;
    std::uint64_t tie;
    std::uint64_t order;
    std::uint32_t target;
    std::uint64_t tag;
  };
  static bool later(const Event& a, const Event& b);
  void mix(std::uint64_t value);

  const core::Random root_;
  core::Random random_;
  bool fifo_ = false;
  const bool readable_;
  core::TimePoint now_{std::chrono::hours(1)};
  std::vector<Event> events_;  // A heap, the first event on top.
  std::uint64_t events_added_ = 0;
  std::uint64_t events_delivered_ = 0;
  std::vector<EventTarget*> targets_;
  std::vector<SimRing*> runnable_;
  std::uint64_t trace_hash_ = 0;
};

/// A duration drawn around `mean`, exponentially; rarely, and then up to 30 s, a stall.
struct LatencyModel {
  core::Duration least{};
  core::Duration mean{};
  double stall_probability = 0;
  core::Duration stall_max{};

  [[nodiscard]] core::Duration draw(core::Random& random) const;
};

}  // namespace sentinel::test
