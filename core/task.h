#pragma once
/// Task<T>: a lazy coroutine that is awaited exactly once.
///
/// The child is started inside the parent's await_suspend, which returns false when the child
/// finished without suspending: as fast as a symmetric transfer, and a loop over finished children
/// does not grow the stack in any build. A task resumes only on the shard that created it. Nothing
/// throws; an exception that reaches a task ends the process.

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/assert.h"
#include "core/frame_allocator.h"

namespace sentinel::core {

template <typename T>
class Task;

/// What the promises of all tasks share: the waiting parent and the frame's memory.
class TaskPromiseBase {
 public:
  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

  std::suspend_always initial_suspend() noexcept { return {}; }
  [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> finished) noexcept {
      return finished.promise().parent_;
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }

  void set_parent(std::coroutine_handle<> parent) { parent_ = parent; }

 private:
  // While the child runs inline nobody is to be resumed: the parent is still executing.
  std::coroutine_handle<> parent_ = std::noop_coroutine();
};

template <typename T>
class TaskPromise : public TaskPromiseBase {
 public:
  Task<T> get_return_object();
  template <typename U>
    requires std::is_constructible_v<T, U&&>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T take() {
    SENTINEL_ASSERT(value_.has_value());
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
};

template <>
class TaskPromise<void> : public TaskPromiseBase {
 public:
  Task<void> get_return_object();
  void return_void() {}
  void take() {}
};

template <typename T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = TaskPromise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  struct Awaiter {
    Handle child;
    bool await_ready() noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> parent) noexcept {
      child.resume();
      if (child.done()) return false;
      child.promise().set_parent(parent);
      return true;
    }
    T await_resume() { return child.promise().take(); }
  };
  Awaiter operator co_await() && {
    SENTINEL_ASSERT(handle_ && !handle_.done(), "a task is awaited once");
    return Awaiter{handle_};
  }

 private:
  Handle handle_;
};

template <typename T>
Task<T> TaskPromise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}
inline Task<void> TaskPromise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

}  // namespace sentinel::core
