#include "core/shard.h"

#include "core/scope.h"

namespace sentinel::core {

namespace {
// Completions are looked at again after this many rounds of ready coroutines, so that tasks that
// wake each other can't starve the ring.
constexpr int kRoundsPerTurn = 32;
}  // namespace

Shard::Shard(Id id, Ring& ring, std::uint64_t seed)
    : id_(id), ring_(ring), random_(seed), visitors_(std::make_unique<TaskScope>(*this)) {}

Shard::~Shard() = default;

void Shard::connect(const std::vector<Shard*>& shards) {
  for (Shard* shard : shards) {
    shard->mailbox_.open_lanes(shards.size());
    for (std::size_t i = 0; i < shards.size(); ++i) {
      shard->call_credits_.push_back(std::make_unique<Semaphore>(*shard, MailboxLane::kCallsMax));
    }
  }
}

void Shard::send(Shard& to, Message& message) {
  if (to.mailbox_.push(id_, message)) ring_.wake(to.ring_);
}

bool Shard::has_work() const { return !ready_.empty() || mailbox_.has_messages(); }

bool Shard::turn(Sleep sleep) {
  bool worked = mailbox_.deliver();
  worked |= run_ready();
  worked |= timers_.fire_due(now());
  TimePoint until = TimePoint::min();
  if (sleep == Sleep::allowed && !worked && ready_.empty() && mailbox_.prepare_sleep()) {
    until = timers_.next();
  }
  ring_.poll(finished_, until);
  mailbox_.awake();
  worked |= deliver_completions();
  return worked;
}

bool Shard::run_ready() {
  bool ran = false;
  for (int round = 0; round < kRoundsPerTurn && !ready_.empty(); ++round) {
    running_.swap(ready_);
    for (std::coroutine_handle<> waiter : running_) {
      waiter.resume();
      if (abandoned_) break;
    }
    running_.clear();
    ran = true;
  }
  return ran;
}

bool Shard::deliver_completions() {
  bool any = false;
  while (Operation* operation = finished_.pop()) {
    operation->completed(*operation);
    any = true;
  }
  return any;
}

void Shard::abandon() {
  abandoned_ = true;
  // Visitors use objects of this shard's program, which is destroyed next.
  visitors_.reset();
}

void Shard::fail(ExitCode code, std::string_view message) {
  if (failure_handler_ == nullptr) fatal(code, message);
  failure_handler_->on_failure(code, message);
}

}  // namespace sentinel::core
