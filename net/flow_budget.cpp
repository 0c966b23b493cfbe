#include "net/flow_budget.h"

#include "core/scope.h"

namespace sentinel::net {

namespace {
// Someone waits for memory so long before anyone is dropped: messages that move give it back
// sooner.
constexpr core::Duration kPatience = std::chrono::seconds(1);
// What is under way for longer counts as stuck, when memory is short. A grant shrinks with the
// memory that is left, so that ordinary clients are done by then.
constexpr core::Duration kPassageMax = std::chrono::seconds(5);
}  // namespace

FlowBudget::Passage::Passage(FlowBudget& budget, Peer& peer)
    : since_(budget.shard_.now()), peer_(peer) {
  budget.passages_.push_back(*this);
}

core::Task<bool> FlowBudget::acquire(std::uint64_t units, core::Deadline deadline,
                                     core::CancelToken token) {
  core::TaskScope watch(shard_);
  watch.spawn(drop_the_slow(watch.token()));
  const bool granted = co_await units_.acquire(units, deadline, token);
  co_await watch.close();
  co_return granted;
}

core::Task<void> FlowBudget::drop_the_slow(core::CancelToken token) {
  for (;;) {
    const core::Wake wake = co_await core::sleep_for(shard_, kPatience, token);
    if (wake == core::Wake::cancelled) co_return;
    while (!passages_.empty() && shard_.now() - passages_.front().since_ > kPassageMax)
      passages_.pop_front().peer_.too_slow();
  }
}

}  // namespace sentinel::net
