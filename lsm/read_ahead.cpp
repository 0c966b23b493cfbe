#include "lsm/read_ahead.h"

#include <utility>

#include "lsm/sstable_format.h"

namespace sentinel::lsm {

namespace {
// A window may end with a block that goes beyond it, and is extended to whole blocks of the device.
constexpr std::size_t kSlackBytes = std::size_t{128} << 10;
// One part in so many of the memory is not used for guesses: with more streams than there is memory
// for, what was read ahead for one would be lost to the next before it is used.
constexpr std::size_t kReserve = 2;

std::uint64_t round_down(std::uint64_t offset) {
  return offset / kTableFileAlignment * kTableFileAlignment;
}
std::uint64_t round_up(std::uint64_t offset) {
  return round_down(offset + kTableFileAlignment - 1);
}
}  // namespace

std::uint64_t ReadAhead::Window::aligned_begin() const { return round_down(place.offset); }
std::size_t ReadAhead::Window::aligned_length() const { return round_up(end) - aligned_begin(); }
core::Bytes ReadAhead::Window::bytes() const {
  return buffer.slice(place.offset - aligned_begin(), end - place.offset);
}

ReadAhead::ReadAhead(core::Shard& shard, ReadAheadOptions options)
    : shard_(shard),
      options_(options),
      pool_({.buffer_bytes = options.window_bytes + kSlackBytes, .bytes_max = options.bytes_max}),
      scope_(shard) {}

ReadAhead::~ReadAhead() = default;

core::Task<void> ReadAhead::close() {
  co_await scope_.close();
  SENTINEL_ASSERT(windows_.empty(), "a file is read ahead although all are closed");
  pool_.trim();
}

bool ReadAhead::fits(std::uint64_t begin, std::uint64_t end) const {
  return pool_.count_max() > 0 && begin < end &&
         round_up(end) - round_down(begin) <= pool_.buffer_bytes();
}

ReadAhead::Window* ReadAhead::find(Place begin, std::uint64_t end) {
  auto found = windows_.upper_bound(begin);
  if (found == windows_.begin()) return nullptr;
  Window& window = *(--found)->second;
  const bool same_file = window.place.store_id == begin.store_id && window.place.file == begin.file;
  if (!same_file || window.end < end) return nullptr;
  ++uses_;
  return &window;
}

ReadAhead::Window* ReadAhead::open(Place begin, std::uint64_t end, Need need) {
  if (!fits(begin.offset, end)) return nullptr;
  // One that begins here but is too short is in nobody's way for long.
  if (windows_.contains(begin)) return nullptr;
  core::Buffer buffer = take_buffer(need);
  if (!buffer) return nullptr;
  ++uses_;
  if (!watched_) {
    watched_ = true;
    scope_.spawn(give_back_when_idle());
  }
  auto made = std::make_unique<Window>(shard_, begin, end, std::move(buffer));
  Window& window = *made;
  windows_.emplace(begin, std::move(made));
  by_age_.push_back(window);
  return &window;
}

core::Buffer ReadAhead::take_buffer(Need need) {
  const std::size_t kept = need == Need::now ? 0 : pool_.count_max() / kReserve;
  while (pool_.available() <= kept) {
    if (!evict(need == Need::soon)) break;
  }
  if (pool_.available() <= kept) return {};
  return pool_.try_take();
}

/// Lets go of the oldest window whose memory comes free by that; first of those that were read to
/// their end.
bool ReadAhead::evict(bool spent_only) {
  Window* chosen = nullptr;
  by_age_.for_each([&](Window& window) {
    if (window.loading || !window.buffer.unique()) return;
    if (chosen == nullptr ? window.spent || !spent_only : window.spent && !chosen->spent)
      chosen = &window;
  });
  if (chosen == nullptr) return false;
  drop(*chosen);
  return true;
}

void ReadAhead::drop(Window& window) { windows_.erase(Place(window.place)); }

void ReadAhead::loaded(Window& window, bool well) {
  window.loading = false;
  window.settled.notify_all();
  if (!well) drop(window);
}

void ReadAhead::forget(std::uint64_t store_id, FileNumber file) {
  auto window = windows_.lower_bound({.store_id = store_id, .file = file, .offset = 0});
  while (window != windows_.end() && window->first.store_id == store_id &&
         window->first.file == file) {
    SENTINEL_ASSERT(!window->second->loading, "a file is closed while it is read");
    window = windows_.erase(window);
  }
}

core::Task<void> ReadAhead::give_back_when_idle() {
  const core::CancelToken token = scope_.token();
  // What answers still refer to comes back to the pool later: until then it is looked at again.
  do {
    const std::uint64_t uses = uses_;
    const core::Wake wake = co_await core::sleep_for(shard_, options_.idle, token);
    if (wake == core::Wake::cancelled) co_return;
    if (uses != uses_) continue;
    std::erase_if(windows_, [](const auto& each) { return !each.second->loading; });
    pool_.trim();
  } while (pool_.held_bytes() > 0);
  watched_ = false;
}

}  // namespace sentinel::lsm
