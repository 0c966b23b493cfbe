#include "core/task.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sentinel {

using core::Task;

namespace {

/// Suspends its awaiter until somebody calls resume().
class Gate {
 public:
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
  void await_resume() const {}
  void open() { std::exchange(waiter_, nullptr).resume(); }
  [[nodiscard]] bool has_waiter() const { return waiter_ != nullptr; }

 private:
  std::coroutine_handle<> waiter_;
};

/// Starts a task from a plain function and tells when it has ended.
struct Started {
  struct promise_type {
    Started get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
};

Started start(Task<void> task, bool* ended) {
  co_await std::move(task);
  *ended = true;
}

/// Counts how many of it live.
struct Counted {
  explicit Counted(int* count) : count_(count) { ++*count_; }
  Counted(const Counted& other) : count_(other.count_) { ++*count_; }
  Counted(Counted&& other) noexcept : count_(other.count_) { ++*count_; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*count_; }
  int* count_;
};

Task<int> number(int value) { co_return value; }

Task<void> sum_of_many(int count, std::int64_t* sum) {
  for (int i = 0; i < count; ++i) {
    const int value = co_await number(i & 1);
    *sum += value;
  }
}

Task<std::string> behind(Gate* gate, std::string text) {
  co_await *gate;
  co_return text + "!";
}

Task<void> middle(Gate* gate, std::string* into) {
  std::string text = co_await behind(gate, "through");
  *into = std::move(text);
}

Task<void> hold(Counted held, Gate* gate) {
  co_await *gate;
  (void)held;
}

Task<void> hold_deeper(Counted held, Gate* gate) { co_await hold(held, gate); }

Task<std::unique_ptr<int>> movable_only() { co_return std::make_unique<int>(7); }

Task<void> take_movable(int* into) {
  auto owned = co_await movable_only();
  *into = *owned;
}

Task<int> depth(int levels, Gate* gate) {
  if (levels == 0) {
    co_await *gate;
    co_return 0;
  }
  const int below = co_await depth(levels - 1, gate);
  co_return below + 1;
}

Task<void> measure_depth(int levels, Gate* gate, int* into) {
  *into = co_await depth(levels, gate);
}

}  // namespace

TEST_CASE("two million awaits of finished tasks do not grow the stack") {
  bool ended = false;
  std::int64_t sum = 0;
  start(sum_of_many(2'000'000, &sum), &ended);
  CHECK(ended);
  CHECK(sum == 1'000'000);
}

TEST_CASE("a task runs nothing before it is awaited") {
  int count = 0;
  Gate gate;
  {
    const Task<void> never = hold(Counted(&count), &gate);
    CHECK(count == 1);
    CHECK(!gate.has_waiter());
  }
  CHECK(count == 0);
}

TEST_CASE("a result passes through tasks that were suspended") {
  bool ended = false;
  Gate gate;
  std::string text;
  start(middle(&gate, &text), &ended);
  CHECK(!ended);
  CHECK(text.empty());
  gate.open();
  CHECK(ended);
  CHECK(text == "through!");
}

TEST_CASE("a result that can only be moved is moved") {
  bool ended = false;
  int value = 0;
  start(take_movable(&value), &ended);
  CHECK(ended);
  CHECK(value == 7);
}

TEST_CASE("arguments live as long as their task") {
  int count = 0;
  bool ended = false;
  Gate gate;
  start(hold_deeper(Counted(&count), &gate), &ended);
  CHECK(count > 0);
  gate.open();
  CHECK(ended);
  CHECK(count == 0);
}

TEST_CASE("a chain of suspended tasks ends from the innermost to the outermost") {
  bool ended = false;
  Gate gate;
  int levels = 0;
  start(measure_depth(500, &gate, &levels), &ended);
  CHECK(!ended);
  gate.open();
  CHECK(ended);
  CHECK(levels == 500);
}

TEST_CASE("a moved task is the same task") {
  bool ended = false;
  std::int64_t sum = 0;
  Task<void> first = sum_of_many(2, &sum);
  Task<void> second = std::move(first);
  start(std::move(second), &ended);
  CHECK(ended);
  CHECK(sum == 1);
}

}  // namespace sentinel
