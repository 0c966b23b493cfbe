#pragma once
/// Stretches of table files that were read ahead for readers of streams: windows.
///
/// A fetch reads a few hundred kilobytes and ends somewhere; the next one goes on from there. What
/// lies between is kept here, not with a cursor, so that every byte is read once, and the next
/// window is already on its way while the last one travels to the consumer. Bytes are as they stand
/// in the file: whoever takes a block out of a window verifies it.
///
/// Lives on one shard and serves all of its stores. Memory is bounded by `bytes_max`, together with
/// what answers to slow readers still refer to, whatever the number of readers. Nobody waits for
/// it: while it is used up, readers read block by block. Some time after the last use all of it is
/// given back.
///
/// A window is used by readers that are about as far in the file, and is let go when one of them
/// has come to its end and its memory is needed.

#include <compare>
#include <cstdint>
#include <map>
#include <memory>

#include "core/buffer_pool.h"
#include "core/intrusive_list.h"
#include "core/scope.h"
#include "core/sync.h"
#include "lsm/format.h"

namespace sentinel::lsm {

struct ReadAheadOptions {
  /// Memory for a shard; 0 turns it off.
  std::size_t bytes_max = std::size_t{64} << 20;
  /// What one window covers at most, but for a single block that is larger.
  std::size_t window_bytes = std::size_t{1} << 20;
  /// Without any use for so long, memory is given back.
  core::Duration idle = std::chrono::seconds(2);
};

class ReadAhead {
 public:
  ReadAhead(core::Shard& shard, ReadAheadOptions options);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;
  /// When all files that use it are closed.
  core::Task<void> close();

  /// A place in a table file.
  struct Place {
    std::uint64_t store_id = 0;
    FileNumber file;
    std::uint64_t offset = 0;

    friend auto operator<=>(const Place&, const Place&) = default;
  };

  struct WindowTag;
  /// The bytes of one file in [place.offset, end), in memory or on their way there.
  struct Window : core::ListHook<WindowTag> {
    Window(core::Shard& shard, Place begin, std::uint64_t file_end, core::Buffer room)
        : place(begin), end(file_end), buffer(std::move(room)), settled(shard) {}

    /// Where reading begins: a whole block of the device.
    [[nodiscard]] std::uint64_t aligned_begin() const;
    /// Whole blocks of the device from there on.
    [[nodiscard]] std::size_t aligned_length() const;
    [[nodiscard]] core::Bytes bytes() const;

    const Place place;
    const std::uint64_t end;
    core::Buffer buffer;
    bool loading = true;
    bool spent = false;    ///< A reader has come to its end.
    core::Signal settled;  ///< Loaded, or gone because that failed.
  };

  /// The window that holds the file's bytes from `begin` to `end`, or null. Valid until the next
  /// wait, or while it loads.
  Window* find(Place begin, std::uint64_t end);

  enum class Need : std::uint8_t {
    now,   ///< A reader waits for it.
    soon,  ///< A guess: takes no memory that readers may need.
  };
  /// A new window, which the caller loads; null when there is no memory for it, or when it does not
  /// fit.
  Window* open(Place begin, std::uint64_t end, Need need);
  /// Ends the loading. A window that could not be loaded is gone: who waits reads for himself, and
  /// sees what is wrong.
  void loaded(Window& window, bool well);
  /// Lets go of what is kept of a file.
  void forget(std::uint64_t store_id, FileNumber file);

  /// Whether there can be so many windows at a time.
  [[nodiscard]] bool has_room(std::size_t windows) const { return windows <= pool_.count_max(); }
  /// Whether a window from `begin` to `end` is possible at all.
  [[nodiscard]] bool fits(std::uint64_t begin, std::uint64_t end) const;
  [[nodiscard]] std::size_t window_bytes() const { return options_.window_bytes; }
  /// Memory held.
  [[nodiscard]] std::size_t held_bytes() const { return pool_.held_bytes(); }
  [[nodiscard]] std::size_t window_count() const { return windows_.size(); }

 private:
  core::Buffer take_buffer(Need need);
  bool evict(bool spent_only);
  void drop(Window& window);
  core::Task<void> give_back_when_idle();

  core::Shard& shard_;
  const ReadAheadOptions options_;
  core::BufferPool pool_;
  std::map<Place, std::unique_ptr<Window>> windows_;
  core::IntrusiveList<Window, WindowTag> by_age_;
  std::uint64_t uses_ = 0;
  bool watched_ = false;  // give_back_when_idle() runs.
  core::TaskScope scope_;
};

}  // namespace sentinel::lsm
