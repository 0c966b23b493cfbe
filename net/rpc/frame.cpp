#include "net/rpc/frame.h"

#include "core/crc32c.h"
#include "core/tagged.h"

namespace sentinel::net::rpc {

namespace {
constexpr std::size_t kCrcBytes = 4;
constexpr std::size_t kHeadBytes = kCrcBytes + 1;
}  // namespace

core::Chain make_frame(FrameType type, core::Chain body) {
  const std::byte kind{static_cast<std::uint8_t>(type)};
  std::uint32_t crc = core::crc32c(core::ByteSpan(&kind, 1));
  for (const core::Bytes& part : body.parts()) crc = core::crc32c_extend(crc, part);
  core::ByteWriter head;
  head.u32(core::narrow<std::uint32_t>(kHeadBytes + body.size()));
  head.u32(crc);
  head.u8(static_cast<std::uint8_t>(type));
  core::Chain frame(head.to_bytes());
  for (const core::Bytes& part : body.parts()) frame.append(part);
  return frame;
}

core::Result<ReceivedFrame> open_frame(const core::Bytes& frame) {
  if (frame.size() < kHeadBytes)
    return core::fail(core::Errc::corruption, "a frame without a head");
  const auto crc = core::load_be<std::uint32_t>(frame.data());
  const core::Bytes covered = frame.slice(kCrcBytes, frame.size() - kCrcBytes);
  if (core::crc32c(covered) != crc)
    return core::fail(core::Errc::corruption, "the checksum of a frame is wrong");
  const auto type = static_cast<std::uint8_t>(covered.view().front());
  if (type < static_cast<std::uint8_t>(FrameType::hello) ||
      type > static_cast<std::uint8_t>(FrameType::answer))
    return core::fail(core::Errc::corruption, "a frame of an unknown type");
  return ReceivedFrame{static_cast<FrameType>(type), covered.slice(1, covered.size() - 1)};
}

}  // namespace sentinel::net::rpc
