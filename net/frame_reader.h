#pragma once
/// Cuts a byte stream into Kafka frames: a 4-byte big-endian size, then that many bytes.
///
/// Bytes are received straight into the buffer that the frame will be a slice of. The buffer starts
/// small and grows to the frame, so that a payload is copied at most once on its way to the disk.

#include <cstdint>
#include <optional>

#include "core/bytes.h"
#include "net/flow_budget.h"
#include "net/socket.h"

namespace sentinel::net {

/// Kafka's socket.request.max.bytes.
inline constexpr std::uint32_t kFrameBytesMax = 100u << 20;

struct Frame {
  core::Bytes bytes;  ///< Without the size.
  std::uint64_t reserved =
      0;  ///< Units taken from the budget; whoever is done with the frame releases them.
};

class FrameReader {
 public:
  /// `budget`, when given, bounds the memory of large frames: their size is acquired before room
  /// for them is made. `peer`, needed then, is who sends them.
  FrameReader(core::Shard& shard, Socket& socket, std::uint32_t frame_bytes_max,
              FlowBudget* budget = nullptr, FlowBudget::Peer* peer = nullptr)
      : shard_(shard),
        socket_(socket),
        frame_bytes_max_(frame_bytes_max),
        budget_(budget),
        peer_(peer) {}

  /// The next frame, or nothing when the other side has ended between frames. Errc::corruption for
  /// an impossible size, closed for an end within a frame. `idle` bounds the wait for the first
  /// byte, `whole` the time from there to the last.
  core::Task<core::Result<std::optional<Frame>>> next(core::Duration idle, core::Duration whole,
                                                      core::CancelToken token);
  /// Whether nothing of a next frame has arrived yet.
  [[nodiscard]] bool empty() const { return begin_ == end_; }

 private:
  core::Task<core::Result<bool>> fill(std::size_t wanted, core::Deadline deadline,
                                      core::CancelToken token);
  void make_room(std::size_t wanted);
  [[nodiscard]] std::size_t available() const { return end_ - begin_; }

  core::Shard& shard_;
  Socket& socket_;
  const std::uint32_t frame_bytes_max_;
  FlowBudget* const budget_;
  FlowBudget::Peer* const peer_;

  core::Buffer buffer_;
  std::size_t begin_ = 0;  // What has been received and not handed out is [begin_, end_).
  std::size_t end_ = 0;
};

}  // namespace sentinel::net
