#include "net/kafka/body_encoder.h"

namespace sentinel::net::kafka {

core::Chain StoringSink::finish() const {
  const std::byte* const end = buffer_.data() + buffer_.capacity();
  SENTINEL_ASSERT(at_ == end, "{} bytes differ from the size pass", end - at_);
  core::Chain frame;
  std::size_t done = 0;
  for (const Splice& splice : splices_) {
    const auto offset = static_cast<std::size_t>(splice.before - buffer_.data());
    frame.append(buffer_.slice(done, offset - done));
    for (const core::Bytes& part : splice.chain->parts()) frame.append(part);
    done = offset;
  }
  frame.append(buffer_.slice(done, buffer_.capacity() - done));
  return frame;
}

}  // namespace sentinel::net::kafka
