#include "core/scope.h"

#include <exception>

namespace sentinel::core {

/// The wrapper that makes a task run on its own. Its frame frees itself when the task has ended.
struct TaskScope::Root {
  struct promise_type : ListHook<ScopeTag> {
    promise_type(TaskScope& scope, Task<void>&) { scope.roots_.push_back(*this); }
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }
    Root get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
};

TaskScope::Root TaskScope::run(TaskScope& scope, Task<void> task) {
  co_await std::move(task);
  if (--scope.active_ == 0) scope.ended_.notify_all();
}

TaskScope::~TaskScope() {
  if (!shard_.abandoned()) {
    SENTINEL_ASSERT(active_ == 0, "a scope is closed before it is destroyed; {} tasks still run",
                    active_);
    return;
  }
  while (!roots_.empty()) {
    auto& promise = static_cast<Root::promise_type&>(roots_.front());
    std::coroutine_handle<Root::promise_type>::from_promise(promise).destroy();
  }
}

void TaskScope::spawn(Task<void> task) {
  ++active_;
  run(*this, std::move(task));
}

Task<void> TaskScope::close() {
  cancel();
  co_await join();
}

Task<void> TaskScope::join() {
  while (active_ > 0) co_await ended_.wait();
}

}  // namespace sentinel::core
