#pragma once
/// Structured concurrency: every task that runs beside its creator belongs to a scope, and the
/// scope's owner waits for all of them.

#include <cstddef>

#include "core/cancel.h"
#include "core/shard.h"
#include "core/sync.h"
#include "core/task.h"

namespace sentinel::core {

struct ScopeTag;

/// Owns tasks. Its owner awaits close() before the scope, and whatever its tasks refer to, is
/// destroyed.
class TaskScope {
 public:
  explicit TaskScope(Shard& shard) : shard_(shard), ended_(shard) {}
  /// Asserts that all tasks have ended; on an abandoned shard destroys them where they wait.
  ~TaskScope();
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  /// Starts `task` at once; it runs up to its first wait before spawn() returns.
  void spawn(Task<void> task);
  [[nodiscard]] CancelToken token() { return CancelToken(cancel_source_); }
  [[nodiscard]] bool cancelled() const { return cancel_source_.cancelled(); }
  /// Asks all tasks that hold the token to end.
  void cancel() { cancel_source_.cancel(); }
  /// cancel(), then waits until the last task has ended.
  Task<void> close();
  /// Waits without asking anyone to end.
  Task<void> join();
  [[nodiscard]] std::size_t active() const { return active_; }
  [[nodiscard]] Shard& shard() { return shard_; }

 private:
  struct Root;
  static Root run(TaskScope& scope, Task<void> task);

  Shard& shard_;
  CancelSource cancel_source_;
  Signal ended_;
  std::size_t active_ = 0;
  IntrusiveList<ListHook<ScopeTag>, ScopeTag> roots_;
};

}  // namespace sentinel::core
