#include "net/kafka/body_decoder.h"

#include <cstring>

namespace sentinel::net::kafka {

std::int64_t BodyDecoder::get_length(bool is_string) {
  std::int64_t length = 0;
  if (flexible_) {
    length = std::int64_t{in_.varint32()} - 1;
  } else {
    length = is_string ? in_.i16() : in_.i32();
  }
  if (length < kNull || (is_string && std::cmp_greater(length, kStringBytesMax))) in_.fail();
  return length;
}

core::ByteSpan BodyDecoder::take(std::int64_t length) {
  if (length < 0) {
    in_.fail();
    return {};
  }
  return in_.take(static_cast<std::size_t>(length));
}

bool BodyDecoder::admit_array(std::int64_t count, std::size_t element_bytes) {
  const bool possible = !failed() && count >= 0 && std::cmp_less_equal(count, in_.remaining()) &&
                        static_cast<std::size_t>(count) <= array_bytes_left_ / element_bytes;
  if (!possible) {
    in_.fail();
    return false;
  }
  array_bytes_left_ -= static_cast<std::size_t>(count) * element_bytes;
  return true;
}

bool BodyDecoder::get_bool() {
  const std::uint8_t raw = in_.u8();
  if (raw > 1) in_.fail();
  return raw == 1;
}

core::Uuid BodyDecoder::get_uuid() {
  core::Uuid uuid;
  const core::ByteSpan raw = in_.take(uuid.bytes.size());
  if (!raw.empty()) std::memcpy(uuid.bytes.data(), raw.data(), raw.size());
  return uuid;
}

}  // namespace sentinel::net::kafka
