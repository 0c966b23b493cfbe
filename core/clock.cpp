#include "core/clock.h"

#include <utility>

#include "core/assert.h"

namespace sentinel::core {

void TimerQueue::add(TimerNode& timer, TimePoint when) {
  SENTINEL_ASSERT(!timer.queued());
  timer.when_ = when;
  timer.order_ = added_++;
  heap_.push_back(&timer);
  timer.position_ = heap_.size() - 1;
  sift_up(timer.position_);
}

void TimerQueue::remove(TimerNode& timer) {
  if (!timer.queued()) return;
  const std::size_t position = timer.position_;
  timer.position_ = TimerNode::kNotQueued;
  TimerNode* last = heap_.back();
  heap_.pop_back();
  if (last == &timer) return;
  place(last, position);
  sift_up(position);
  sift_down(last->position_);
}

bool TimerQueue::fire_due(TimePoint now) {
  bool fired = false;
  while (!heap_.empty() && heap_.front()->when_ <= now) {
    TimerNode& timer = *heap_.front();
    remove(timer);
    timer.fire_(timer);
    fired = true;
  }
  return fired;
}

bool TimerQueue::before(const TimerNode& a, const TimerNode& b) {
  return a.when_ != b.when_ ? a.when_ < b.when_ : a.order_ < b.order_;
}

void TimerQueue::place(TimerNode* timer, std::size_t position) {
  heap_[position] = timer;
  timer->position_ = position;
}

void TimerQueue::sift_up(std::size_t position) {
  TimerNode* timer = heap_[position];
  while (position > 0) {
    const std::size_t parent = (position - 1) / 2;
    if (!before(*timer, *heap_[parent])) break;
    place(heap_[parent], position);
    position = parent;
  }
  place(timer, position);
}

void TimerQueue::sift_down(std::size_t position) {
  TimerNode* timer = heap_[position];
  for (;;) {
    std::size_t child = 2 * position + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(*heap_[child + 1], *heap_[child])) ++child;
    if (!before(*heap_[child], *timer)) break;
    place(heap_[child], position);
    position = child;
  }
  place(timer, position);
}

}  // namespace sentinel::core
