#pragma once
/// Runs one task to its end on a shard that nobody else turns.

#include <optional>
#include <type_traits>
#include <utility>

#include "core/scope.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::test {

template <typename T>
core::Task<void> store_result(core::Task<T> task, std::optional<T>* result) {
  result->emplace(co_await std::move(task));
}

template <typename T>
T run_task(core::Shard& shard, core::Task<T> task) {
  core::TaskScope scope(shard);
  if constexpr (std::is_void_v<T>) {
    scope.spawn(std::move(task));
    while (scope.active() > 0) shard.turn(core::Shard::Sleep::never);
  } else {
    std::optional<T> result;
    scope.spawn(store_result<T>(std::move(task), &result));
    while (scope.active() > 0) shard.turn(core::Shard::Sleep::never);
    return std::move(*result);
  }
}

}  // namespace sentinel::test
