#include "core/frame_allocator.h"

#include <array>
#include <new>

namespace sentinel::core {

// The address sanitizer finds a use after free only when freed frames go back to it.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SENTINEL_PLAIN_FRAMES 1
#endif
#endif

#ifdef SENTINEL_PLAIN_FRAMES

void* allocate_frame(std::size_t size) { return ::operator new(size); }
void free_frame(void* frame, std::size_t) noexcept { ::operator delete(frame); }

#else

namespace {

constexpr std::size_t kClassBytes = 64;
constexpr std::size_t kClassCount = 32;  // Frames above 2 KiB are rare; malloc serves them.
constexpr std::size_t kFramesKeptPerClass = 256;  // Bounds what a burst of tasks leaves behind.

struct FreeFrame {
  FreeFrame* next;
};

struct FreeLists {
  std::array<FreeFrame*, kClassCount> heads{};
  std::array<std::size_t, kClassCount> counts{};

  ~FreeLists() {
    for (FreeFrame* frame : heads) {
      while (frame != nullptr) {
        FreeFrame* next = frame->next;
        ::operator delete(frame);
        frame = next;
      }
    }
  }
};

thread_local FreeLists free_lists;

}  // namespace

void* allocate_frame(std::size_t size) {
  const std::size_t index = (size - 1) / kClassBytes;
  if (index >= kClassCount) return ::operator new(size);
  FreeFrame*& head = free_lists.heads[index];
  if (head == nullptr) return ::operator new((index + 1) * kClassBytes);
  FreeFrame* frame = head;
  head = frame->next;
  --free_lists.counts[index];
  return frame;
}

void free_frame(void* frame, std::size_t size) noexcept {
  const std::size_t index = (size - 1) / kClassBytes;
  if (index >= kClassCount || free_lists.counts[index] >= kFramesKeptPerClass) {
    ::operator delete(frame);
    return;
  }
  auto* free = static_cast<FreeFrame*>(frame);
  free->next = free_lists.heads[index];
  free_lists.heads[index] = free;
  ++free_lists.counts[index];
}

#endif

}  // namespace sentinel::core
