#include "core/sync.h"

#include <algorithm>

namespace sentinel::core {

Wait::Wait(Shard& shard, List* list, Deadline deadline, CancelToken token)
    : shard_(shard), list_(list), deadline_(deadline), token_(token) {
  fire_ = [](TimerNode& timer) { static_cast<Wait&>(timer).end(Wake::timed_out); };
  on_cancel_ = [](CancelHook& hook) { static_cast<Wait&>(hook).end(Wake::cancelled); };
}

bool Wait::await_ready() {
  if (token_.cancelled()) {
    wake_ = Wake::cancelled;
    return true;
  }
  // A yield has a deadline in the past and must still go through the run queue.
  return false;
}

void Wait::await_suspend(std::coroutine_handle<> waiter) {
  waiter_ = waiter;
  if (deadline_.passed(shard_.now())) {
    wake_ = Wake::timed_out;
    shard_.make_ready(waiter_);
    return;
  }
  if (list_ != nullptr) list_->push_back(*this);
  if (!deadline_.is_never()) shard_.timers().add(*this, deadline_.at());
  token_.register_hook(*this);
}

void Wait::end(Wake wake) {
  wake_ = wake;
  ListHook<WaitTag>::unlink();
  CancelHook::unlink();
  shard_.timers().remove(*this);
  shard_.make_ready(waiter_);
}

Wait yield(Shard& shard) { return Wait(shard, nullptr, Deadline(TimePoint::min()), {}); }

/// A wait that knows how much it waits for, so that release() can hand the units over itself.
struct Semaphore::Request : Wait {
  Request(Shard& shard, List* list, Deadline deadline, CancelToken token, std::uint64_t wanted)
      : Wait(shard, list, deadline, token), units(wanted) {}
  std::uint64_t units;
};

Task<bool> Semaphore::acquire(std::uint64_t units, Deadline deadline, CancelToken token) {
  SENTINEL_ASSERT(units <= total_, "{} of {} units asked", units, total_);
  if (try_acquire(units)) co_return true;
  const Wake wake = co_await Request(shard_, &waiting_, deadline, token, units);
  if (wake == Wake::signalled) co_return true;
  // The one behind may need less than this one did.
  grant();
  co_return false;
}

bool Semaphore::try_acquire(std::uint64_t units) {
  if (!waiting_.empty() || available() < units) return false;
  available_ -= units;
  return true;
}

void Semaphore::overdraw(std::uint64_t units) { debt_ += units; }

void Semaphore::release(std::uint64_t units) {
  const std::uint64_t repaid = std::min(units, debt_);
  debt_ -= repaid;
  available_ += units - repaid;
  SENTINEL_ASSERT(available_ <= total_);
  grant();
}

void Semaphore::grant() {
  while (!waiting_.empty()) {
    auto& request = static_cast<Request&>(waiting_.front());
    if (request.units > available()) return;
    available_ -= request.units;
    request.end(Wake::signalled);
  }
}

}  // namespace sentinel::core
