#include "lsm/block_log.h"

#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "core/random.h"

namespace sentinel::lsm {
namespace {

using core::ByteSpan;

struct Image {
  explicit Image(std::size_t blocks) : bytes(blocks * kLogBlockBytes) {}
  std::span<std::byte> at(std::size_t block) {
    return std::span(bytes).subspan(block * kLogBlockBytes, kLogBlockBytes);
  }
  std::vector<std::byte> bytes;
};

std::vector<std::byte> pattern(std::size_t size, std::uint64_t seed) {
  core::Random random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

/// One write of `stream` at block 0.
Image written(ByteSpan stream, std::uint32_t generation, std::uint32_t write_number) {
  Image image(stream.size() / kLogBlockPayloadBytes + 1);
  BlockEncoder encoder(image.bytes);
  REQUIRE(encoder.append(stream) == stream.size());
  encoder.finish(generation, write_number, 0);
  image.bytes.resize(encoder.blocks() * kLogBlockBytes);
  return image;
}

std::vector<std::byte> payload_of(Image& image, std::uint32_t generation) {
  core::ByteWriter stream;
  for (std::size_t i = 0; i * kLogBlockBytes < image.bytes.size(); ++i) {
    BlockHeader header;
    REQUIRE(classify_block(image.at(i), generation, static_cast<std::uint32_t>(i), header) ==
            BlockState::valid);
    append_payload(image.at(i), header, stream);
  }
  return {stream.view().begin(), stream.view().end()};
}

TEST_CASE("what is encoded into blocks comes back, whatever its length") {
  for (const std::size_t size :
       std::initializer_list<std::size_t>{1, 491, 492, 493, 4019, 4020, 4021, 20'000, 100'000}) {
    const std::vector<std::byte> stream = pattern(size, size);
    Image image = written(stream, 7, 3);
    CHECK(payload_of(image, 7) == stream);
  }
}

TEST_CASE("appending in pieces gives the same blocks as appending at once") {
  const std::vector<std::byte> stream = pattern(30'000, 1);
  Image whole = written(stream, 5, 9);
  Image pieces(8);
  BlockEncoder encoder(pieces.bytes);
  for (std::size_t at = 0; at < stream.size();)
    at += encoder.append(
        ByteSpan(stream).subspan(at, std::min<std::size_t>(997, stream.size() - at)));
  encoder.finish(5, 9, 0);
  CHECK(encoder.blocks() * kLogBlockBytes == whole.bytes.size());
  CHECK(std::equal(whole.bytes.begin(), whole.bytes.end(), pieces.bytes.begin()));
}

TEST_CASE("a full encoder takes no more") {
  Image image(2);
  BlockEncoder encoder(image.bytes);
  const std::vector<std::byte> stream = pattern(10'000, 2);
  CHECK(encoder.append(stream) == 2 * kLogBlockPayloadBytes);
  CHECK(encoder.room() == 0);
}

TEST_CASE("blocks say how many of their write follow") {
  Image image = written(pattern(3 * kLogBlockPayloadBytes, 3), 1, 1);
  for (std::uint32_t i = 0; i < 3; ++i) {
    BlockHeader header;
    REQUIRE(classify_block(image.at(i), 1, i, header) == BlockState::valid);
    CHECK(header.blocks_left == 2 - i);
    CHECK(header.payload_bytes == kLogBlockPayloadBytes);
  }
}

TEST_CASE("a sector that was not written makes the block unwritten, whichever it is") {
  const std::vector<std::byte> old_stream = pattern(kLogBlockPayloadBytes, 10);
  const std::vector<std::byte> new_stream = pattern(kLogBlockPayloadBytes, 11);
  Image old_image = written(old_stream, 4, 77);
  for (std::size_t sector = 0; sector < kLogSectors; ++sector) {
    for (const bool zero : {false, true}) {
      Image image = written(new_stream, 5, 1);
      const auto hole = image.at(0).subspan(sector * kLogSectorBytes, kLogSectorBytes);
      if (zero) {
        std::fill(hole.begin(), hole.end(), std::byte{0});
      } else {
        const auto old_sector = old_image.at(0).subspan(sector * kLogSectorBytes, kLogSectorBytes);
        std::copy(old_sector.begin(), old_sector.end(), hole.begin());
      }
      BlockHeader header;
      CHECK(classify_block(image.at(0), 5, 0, header) == BlockState::unwritten);
      CHECK(header.write_number == 1);
    }
  }
}

TEST_CASE("every flipped bit behind the tags is damage; in a tag the content is still proven") {
  const std::vector<std::byte> stream = pattern(1000, 4);
  for (std::size_t byte = 0; byte < kLogBlockBytes; ++byte) {
    Image image = written(stream, 0x00010203, 0x04050607);
    image.at(0)[byte] ^= std::byte{0x10};
    BlockHeader header;
    const BlockState state = classify_block(image.at(0), 0x00010203, 0, header);
    const bool in_tag = byte % kLogSectorBytes < 4;
    if (in_tag) {
      CHECK(state == BlockState::valid);
    } else {
      CHECK(state == BlockState::damaged);
    }
  }
}

TEST_CASE("a tag that no tear can leave is damage, also beside other damage") {
  for (const std::uint32_t tag : {0U, 6U, 0xffffffffU}) {
    Image image = written(pattern(kLogBlockPayloadBytes, 12), 5, 1);
    core::store_be(image.at(0).data() + 3 * kLogSectorBytes, tag);
    image.at(0)[100] ^= std::byte{1};
    BlockHeader header;
    CHECK(classify_block(image.at(0), 5, 0, header) == BlockState::damaged);
  }
}

TEST_CASE("zeros behind a short write may be missing without harm") {
  // The sectors of the padding held zeros before: a tear that leaves them out loses nothing.
  Image image = written(pattern(100, 5), 3, 2);
  for (std::size_t sector = 1; sector < kLogSectors; ++sector) {
    const auto hole = image.at(0).subspan(sector * kLogSectorBytes, kLogSectorBytes);
    std::fill(hole.begin(), hole.end(), std::byte{0});
  }
  BlockHeader header;
  CHECK(classify_block(image.at(0), 3, 0, header) == BlockState::valid);
  CHECK(header.payload_bytes == 100);
}

TEST_CASE("a block at the wrong place or of another generation is not valid") {
  Image image = written(pattern(100, 6), 3, 2);
  BlockHeader header;
  CHECK(classify_block(image.at(0), 3, 1, header) == BlockState::damaged);
  CHECK(classify_block(image.at(0), 4, 0, header) == BlockState::unwritten);
  CHECK(classify_block(image.at(0), 2, 0, header) == BlockState::damaged);
}

TEST_CASE("what an earlier write left in the buffer does not reach the disk") {
  Image image(1);
  BlockEncoder encoder(image.bytes);
  encoder.append(pattern(4000, 7));
  encoder.finish(1, 1, 0);
  encoder.clear();
  encoder.append(pattern(10, 8));
  encoder.finish(1, 2, 1);
  for (std::size_t i = 600; i < kLogSectorBytes * 2; ++i) CHECK(image.at(0)[i] == std::byte{0});
}

}  // namespace
}  // namespace sentinel::lsm
