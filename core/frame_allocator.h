#pragma once
/// Memory for coroutine frames: free lists by size class, one set a thread, so that a spawned task
/// costs no malloc once warm. A frame is created and destroyed on the same shard, hence on the same
/// thread.

#include <cstddef>

namespace sentinel::core {

void* allocate_frame(std::size_t size);
void free_frame(void* frame, std::size_t size) noexcept;

}  // namespace sentinel::core
