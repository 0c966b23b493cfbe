#include "core/runtime.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <csignal>

#include "core/asio_ring.h"
#include "core/assert.h"
#include "core/uring.h"

namespace sentinel::core {

std::string_view to_string(IoKind kind) {
  switch (kind) {
    case IoKind::automatic: return "auto";
    case IoKind::uring: return "uring";
    case IoKind::asio: return "asio";
  }
  return "unknown";
}

std::optional<IoKind> parse_io_kind(std::string_view text) {
  for (const IoKind kind : {IoKind::automatic, IoKind::uring, IoKind::asio}) {
    if (text == to_string(kind)) return kind;
  }
  return std::nullopt;
}

Result<MadeRing> make_ring(IoKind kind) {
  MadeRing made;
  if (kind != IoKind::asio) {
    auto uring = UringRing::create();
    if (uring) {
      made.ring = std::move(*uring);
      return made;
    }
    if (kind == IoKind::uring) return std::unexpected(std::move(uring).error());
    made.fallback_reason = std::move(uring.error().message);
  }
  SENTINEL_TRY(asio, AsioRing::create());
  made.ring = std::move(asio);
  return made;
}

namespace {

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

/// New threads start with every signal blocked while one of these lives.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    // A fault of the thread itself must still end the process with its own signal.
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP})
      sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

/// A function of a thread that is no shard, on its way to one.
struct Posted : Message {
  explicit Posted(std::function<void()> function) : work(std::move(function)) {
    deliver_ = [](Message& message) {
      const std::unique_ptr<Posted> posted(static_cast<Posted*>(&message));
      posted->work();
    };
  }
  std::function<void()> work;
};

}  // namespace

Result<std::unique_ptr<Runtime>> Runtime::start(RuntimeOptions options) {
  SENTINEL_ASSERT(options.shards > 0);
  ignore_broken_pipes();
  if (options.io != IoKind::asio) {
    std::unique_ptr<Runtime> runtime(new Runtime(options));
    Status launched = runtime->launch(IoKind::uring);
    if (launched) return runtime;
    if (options.io == IoKind::uring) return std::unexpected(std::move(launched).error());
    // A few rings may be made before the limit of locked memory stops the next: all shards change
    // over.
    options.io = IoKind::asio;
    SENTINEL_TRY(fallback, start(options));
    fallback->fallback_reason_ = std::move(launched.error().message);
    return std::move(fallback);
  }
  std::unique_ptr<Runtime> runtime(new Runtime(options));
  SENTINEL_CHECK(runtime->launch(IoKind::asio));
  return runtime;
}

Status Runtime::launch(IoKind kind) {
  io_ = kind;
  const SignalsBlocked blocked;
  for (std::uint32_t i = 0; i < options_.shards; ++i) {
    seats_.push_back(std::make_unique<Seat>());
    seats_.back()->index = i;
  }
  for (auto& seat : seats_) {
    seat->thread = std::thread([this, &seat = *seat, kind] { thread_main(seat, kind); });
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return seated_ == count(); });
  for (const auto& seat : seats_) {
    if (seat->refusal.empty()) continue;
    const std::string refusal = seat->refusal;
    phase_ = Phase::ended;
    changed_.notify_all();
    lock.unlock();
    join();
    return fail(Errc::unsupported, refusal);
  }
  std::vector<Shard*> shards;
  for (const auto& seat : seats_) shards.push_back(seat->shard.get());
  Shard::connect(shards);
  all_seated_ = true;
  phase_ = Phase::running;
  changed_.notify_all();
  return {};
}

void Runtime::thread_main(Seat& seat, IoKind kind) {
  const bool runs = take_seat(seat, kind);
  while (runs && !seat.stopping) seat.shard->turn(Shard::Sleep::allowed);
  // Answers that are on their way may end tasks here.
  while (runs && seat.shard->has_work()) seat.shard->turn(Shard::Sleep::never);
  wait_for_all_to_leave();
  seat.shard.reset();
  seat.ring.reset();
}

/// Makes the seat's ring and shard and waits for the others. False when one of them had to decline.
bool Runtime::take_seat(Seat& seat, IoKind kind) {
  pthread_setname_np(pthread_self(), fmt::format("shard-{}", seat.index).c_str());
  auto made = make_ring(kind);
  if (made) {
    seat.ring = std::move(made->ring);
    // Odd steps keep the seeds apart; 0x9e37... is 2^64 divided by the golden ratio.
    const std::uint64_t seed = options_.seed + (seat.index + 1) * 0x9e3779b97f4a7c15U;
    seat.shard = std::make_unique<Shard>(seat.index, *seat.ring, seed);
    // After the ring is made, so that its helper threads stay free to run on any CPU.
    pin(seat);
  } else {
    seat.refusal = std::move(made.error().message);
  }
  std::unique_lock lock(mutex_);
  ++seated_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return phase_ != Phase::starting; });
  // Not the phase: a short-lived runtime may have ended before this thread was woken.
  return all_seated_;
}

void Runtime::pin(const Seat& seat) const {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (!options_.pin || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  if (options_.shards > static_cast<std::uint32_t>(CPU_COUNT(&allowed))) return;
  std::uint32_t usable_before = 0;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    if (usable_before++ != seat.index) continue;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(cpu, &own);
    // A refusal costs some speed and nothing else.
    (void)sched_setaffinity(0, sizeof own, &own);
    return;
  }
}

void Runtime::post(std::uint32_t shard, std::function<void()> work) {
  Seat& seat = *seats_.at(shard);
  SENTINEL_ASSERT(seat.shard != nullptr, "the runtime has stopped");
  // Deletes itself when it has been delivered.
  auto posted = std::make_unique<Posted>(std::move(work));
  seat.shard->mailbox().inject(*posted.release());
  seat.ring->notify();
}

/// A ring may be woken by another shard until that one has left its loop, and by stop() until it
/// has rung everywhere.
void Runtime::wait_for_all_to_leave() {
  std::unique_lock lock(mutex_);
  ++left_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return left_ == count() && phase_ != Phase::running; });
}

void Runtime::stop() {
  if (phase_ != Phase::running) return;
  for (auto& seat : seats_) {
    post(seat->index, [&seat = *seat] { seat.stopping = true; });
  }
  {
    const std::lock_guard lock(mutex_);
    phase_ = Phase::ended;
    changed_.notify_all();
  }
  join();
}

void Runtime::join() {
  for (auto& seat : seats_) {
    if (seat->thread.joinable()) seat->thread.join();
  }
}

Runtime::~Runtime() { stop(); }

Result<std::unique_ptr<SingleShard>> SingleShard::make(IoKind io, std::uint64_t seed) {
  ignore_broken_pipes();
  SENTINEL_TRY(made, make_ring(io));
  return std::unique_ptr<SingleShard>(new SingleShard(std::move(made.ring), seed));
}

SingleShard::SingleShard(std::unique_ptr<Ring> ring, std::uint64_t seed)
    : ring_(std::move(ring)), shard_(0, *ring_, seed) {
  Shard::connect({&shard_});
}

int SingleShard::run(Task<int> task) {
  auto errand = std::make_shared<Errand<int>>();
  TaskScope scope(shard_);
  scope.spawn(run_errand<int>(std::move(task), errand));
  while (scope.active() > 0) shard_.turn(Shard::Sleep::allowed);
  return errand->wait();
}

}  // namespace sentinel::core
