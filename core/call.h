#pragma once
/// call(): runs a coroutine function on another shard and brings its result back.
///
///   auto result = co_await call(here, there, &append_on_home, broker_there, std::move(batch));
///
/// The function takes its arguments by value; pointers among them are to objects of the target
/// shard. Calls from one shard to another start in the order in which they were made. The caller
/// waits for the answer even when it is cancelled: what it asked for runs elsewhere and refers to
/// this frame.

#include <coroutine>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "core/mailbox.h"
#include "core/scope.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::core {

/// Request and answer of one call; lives in the caller's frame.
template <typename R, typename... Args>
class [[nodiscard]] Call : public Message {
 public:
  using Function = Task<R> (*)(Args...);

  Call(Shard& from, Shard& to, Function function, Args... args)
      : from_(from), to_(to), function_(function), args_(std::move(args)...) {}

  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    deliver_ = [](Message& message) {
      auto& call = static_cast<Call&>(message);
      call.to_.visitors().spawn(run(&call));
    };
    from_.send(to_, *this);
  }
  R await_resume() { return std::move(*result_); }

 private:
  static Task<void> run(Call* call) {
    call->result_.emplace(co_await std::apply(call->function_, std::move(call->args_)));
    call->deliver_ = [](Message& message) {
      auto& answered = static_cast<Call&>(message);
      answered.from_.make_ready(answered.waiter_);
    };
    call->to_.send(call->from_, *call);
  }

  Shard& from_;
  Shard& to_;
  Function function_;
  std::tuple<Args...> args_;
  std::optional<R> result_;
  std::coroutine_handle<> waiter_;
};

/// Runs `function(args...)` on shard `to`, or right here when that is `from`.
template <typename R, typename... Params, typename... Args>
Task<R> call(Shard& from, Shard& to, Task<R> (*function)(Params...), Args... args) {
  static_assert((!std::is_reference_v<Params> && ...), "what crosses shards is passed by value");
  if (&from == &to) co_return co_await function(std::move(args)...);
  co_await from.call_credits(to).acquire(1);
  auto result = co_await Call<R, Params...>(from, to, function, std::move(args)...);
  from.call_credits(to).release(1);
  co_return result;
}

}  // namespace sentinel::core
