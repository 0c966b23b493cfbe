#include "net/frame_reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace sentinel::net {

namespace {
constexpr std::size_t kSizeBytes = 4;
constexpr std::size_t kBufferBytes = std::size_t{16} << 10;
// Frames up to here are covered by the number of requests that a connection may have in flight.
constexpr std::size_t kUnreservedMax = std::size_t{4} << 10;
// Room up to here is kept by a connection that is idle.
constexpr std::size_t kKeptMax = std::size_t{64} << 10;
}  // namespace

core::Task<core::Result<std::optional<Frame>>> FrameReader::next(core::Duration idle,
                                                                 core::Duration whole,
                                                                 core::CancelToken token) {
  const core::Deadline idle_deadline = shard_.deadline_in(idle);
  if (available() == 0) {
    SENTINEL_CO_TRY(began, co_await fill(1, idle_deadline, token));
    if (!began) co_return std::nullopt;
  }
  const core::Deadline deadline = shard_.deadline_in(whole);
  SENTINEL_CO_TRY(has_size, co_await fill(kSizeBytes, deadline, token));
  if (!has_size) co_return core::fail(core::Errc::closed, "the connection ended within a frame");
  const auto size = core::load_be<std::uint32_t>(buffer_.data() + begin_);
  if (size > frame_bytes_max_) {
    co_return core::fail(
        core::Errc::corruption,
        fmt::format("a frame of {} bytes is larger than {}", size, frame_bytes_max_));
  }
  // Memory is taken only for what is on its way: who announces much has to begin.
  SENTINEL_CO_TRY(has_begin,
                  co_await fill(std::min(kSizeBytes + size, kBufferBytes), deadline, token));
  if (!has_begin) co_return core::fail(core::Errc::closed, "the connection ended within a frame");
  Frame frame;
  std::optional<FlowBudget::Passage> passage;
  if (budget_ != nullptr && size > kUnreservedMax) {
    bool granted = budget_->try_acquire(size);
    if (!granted) granted = co_await budget_->acquire(size, deadline, token);
    if (!granted) co_return core::fail(core::Errc::timed_out, "no memory for the request in time");
    frame.reserved = size;
    passage.emplace(*budget_, *peer_);
  }
  auto complete = co_await fill(kSizeBytes + size, deadline, token);
  if (!complete || !*complete) {
    if (frame.reserved > 0) budget_->release(frame.reserved);
    if (!complete) co_return std::unexpected(std::move(complete).error());
    co_return core::fail(core::Errc::closed, "the connection ended within a frame");
  }
  frame.bytes = buffer_.slice(begin_ + kSizeBytes, size);
  begin_ += kSizeBytes + size;
  co_return frame;
}

/// Receives until `wanted` bytes are there. False when the other side has ended first.
core::Task<core::Result<bool>> FrameReader::fill(std::size_t wanted, core::Deadline deadline,
                                                 core::CancelToken token) {
  while (available() < wanted) {
    make_room(wanted);
    auto received = co_await socket_.receive({buffer_.data() + end_, buffer_.capacity() - end_},
                                             deadline, token);
    if (!received) co_return std::unexpected(std::move(received).error());
    if (*received == 0) co_return false;
    end_ += *received;
  }
  co_return true;
}

/// Makes `wanted` bytes from begin_ on fit into the buffer, which is not written over where frames
/// were handed out.
void FrameReader::make_room(std::size_t wanted) {
  if (begin_ == end_ && buffer_.unique()) begin_ = end_ = 0;
  // An idle connection does not keep the room of its largest frame.
  if (begin_ == end_ && buffer_.capacity() > kKeptMax && wanted <= kBufferBytes) {
    buffer_ = {};
    begin_ = end_ = 0;
  }
  if (buffer_.capacity() >= begin_ + wanted) return;
  core::Buffer larger = core::Buffer::allocate(std::max(wanted, kBufferBytes));
  const std::size_t kept = available();
  if (kept > 0) std::memcpy(larger.data(), buffer_.data() + begin_, kept);
  buffer_ = std::move(larger);
  begin_ = 0;
  end_ = kept;
}

}  // namespace sentinel::net
