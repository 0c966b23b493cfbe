#include "consensus/compression.h"

#include <doctest/doctest.h>
#include <lz4frame.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "core/random.h"

namespace sentinel::consensus {

namespace {

using core::Bytes;
using core::ByteSpan;
using core::Errc;

constexpr std::size_t kBytesMax = std::size_t{1} << 20;
constexpr Codec kCodecs[] = {Codec::none, Codec::gzip, Codec::snappy, Codec::lz4, Codec::zstd};
constexpr Codec kRealCodecs[] = {Codec::gzip, Codec::snappy, Codec::lz4, Codec::zstd};

std::vector<std::byte> random_bytes(std::size_t length, std::uint64_t values) {
  core::Random random(length);
  std::vector<std::byte> bytes(length);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(values));
  return bytes;
}

std::vector<std::byte> joined(ByteSpan a, ByteSpan b) {
  std::vector<std::byte> both(a.begin(), a.end());
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

/// The framing of snappy-java around the blocks.
std::vector<std::byte> in_java_blocks(const std::vector<Bytes>& blocks) {
  core::ByteWriter out;
  out.text(std::string_view("\x82SNAPPY\0", 8));
  out.u32(1);
  out.u32(1);
  for (const Bytes& block : blocks) {
    out.u32(static_cast<std::uint32_t>(block.size()));
    out.bytes(block);
  }
  return {out.view().begin(), out.view().end()};
}

Errc refusal(Codec codec, ByteSpan packed, std::size_t bytes_max = kBytesMax) {
  const auto plain = decompress(codec, packed, bytes_max);
  REQUIRE_FALSE(plain.has_value());
  return plain.error().code;
}

}  // namespace

TEST_CASE("what each codec packs it unpacks again") {
  for (const Codec codec : kCodecs) {
    for (const std::size_t length : {0u, 1u, 100u, 65'535u, 65'536u, 65'537u, 500'000u}) {
      for (const std::uint64_t values : {1u, 4u, 256u}) {
        CAPTURE(to_string(codec));
        CAPTURE(length);
        const std::vector<std::byte> plain = random_bytes(length, values);
        const auto unpacked = decompress(codec, compress(codec, plain), kBytesMax);
        REQUIRE(unpacked.has_value());
        CHECK(core::equal(*unpacked, plain));
      }
    }
  }
}

TEST_CASE("output that just fits the bound is given, one byte more is too large") {
  for (const Codec codec : kCodecs) {
    CHECK(decompress(codec, compress(codec, {}), 0).has_value());
    for (const std::size_t length : {1u, 1'000u, 65'536u, 131'072u, 200'000u}) {
      CAPTURE(to_string(codec));
      CAPTURE(length);
      const Bytes packed = compress(codec, random_bytes(length, 3));
      CHECK(decompress(codec, packed, length).has_value());
      CHECK(refusal(codec, packed, length - 1) == Errc::too_large);
    }
  }
}

TEST_CASE("input cut anywhere is corruption") {
  for (const Codec codec : kRealCodecs) {
    const Bytes packed = compress(codec, random_bytes(3'000, 5));
    for (std::size_t length = 0; length < packed.size(); ++length) {
      CAPTURE(to_string(codec));
      CAPTURE(length);
      REQUIRE(refusal(codec, packed.view().first(length)) == Errc::corruption);
    }
  }
}

TEST_CASE("bytes behind the end are corruption") {
  for (const Codec codec : kRealCodecs) {
    CAPTURE(to_string(codec));
    const Bytes packed = compress(codec, random_bytes(3'000, 5));
    CHECK(refusal(codec, joined(packed, core::as_bytes("x"))) == Errc::corruption);
    CHECK(refusal(codec, joined(packed, core::as_bytes("more bytes than one"))) ==
          Errc::corruption);
  }
}

TEST_CASE("damaged input gives an error or bytes within the bound, never more") {
  core::Random random(11);
  for (const Codec codec : kRealCodecs) {
    const Bytes packed = compress(codec, random_bytes(20'000, 20));
    for (int round = 0; round < 300; ++round) {
      std::vector<std::byte> damaged(packed.view().begin(), packed.view().end());
      for (std::uint64_t flips = random.between(1, 4); flips > 0; --flips)
        damaged[random.below(damaged.size())] ^= static_cast<std::byte>(random.between(1, 255));
      const auto plain = decompress(codec, damaged, 30'000);
      if (plain) CHECK(plain->size() <= 30'000);
    }
  }
}

TEST_CASE("a bomb is refused at the bound, not after it went off") {
  const std::vector<std::byte> zeros(8 * kBytesMax);
  for (const Codec codec : kRealCodecs) {
    CAPTURE(to_string(codec));
    const Bytes bomb = compress(codec, zeros);
    CHECK(bomb.size() < zeros.size() / 20);
    CHECK(refusal(codec, bomb) == Errc::too_large);
  }
}

TEST_CASE(
    "a snappy length that the input can't give is corruption, before memory is taken for it") {
  // A claim of 15 MiB in five bytes.
  const std::vector<std::byte> lie = {std::byte{0x80}, std::byte{0x80}, std::byte{0xc0},
                                      std::byte{0x07}, std::byte{0x00}};
  CHECK(refusal(Codec::snappy, lie, kInflatedBytesMax) == Errc::corruption);
}

TEST_CASE("snappy in the blocks of Java clients is read") {
  const std::vector<std::byte> first = random_bytes(32'768, 9);
  const std::vector<std::byte> second = random_bytes(1'234, 9);
  const std::vector<std::byte> packed =
      in_java_blocks({compress(Codec::snappy, first), compress(Codec::snappy, second)});
  const auto plain = decompress(Codec::snappy, packed, kBytesMax);
  REQUIRE(plain.has_value());
  CHECK(core::equal(*plain, joined(first, second)));
  CHECK(decompress(Codec::snappy, in_java_blocks({}), kBytesMax)->empty());
}

TEST_CASE("the bound holds over all blocks of a Java client together") {
  const Bytes block = compress(Codec::snappy, random_bytes(10'000, 9));
  const std::vector<std::byte> packed = in_java_blocks({block, block, block});
  CHECK(decompress(Codec::snappy, packed, 30'000).has_value());
  CHECK(refusal(Codec::snappy, packed, 29'999) == Errc::too_large);
}

TEST_CASE("a Java block cut short is corruption") {
  const Bytes block = compress(Codec::snappy, random_bytes(1'000, 9));
  const std::vector<std::byte> packed = in_java_blocks({block, block});
  const std::size_t header = 16;
  const std::size_t one = header + 4 + block.size();
  for (std::size_t length = header + 1; length < packed.size(); ++length) {
    if (length == one) continue;  // Whole blocks are whole input.
    REQUIRE(refusal(Codec::snappy, ByteSpan(packed).first(length)) == Errc::corruption);
  }
}

TEST_CASE("a gzip of several members is read to its end") {
  const std::vector<std::byte> plain = random_bytes(5'000, 9);
  const Bytes member = compress(Codec::gzip, plain);
  const auto unpacked = decompress(Codec::gzip, joined(member, member), kBytesMax);
  REQUIRE(unpacked.has_value());
  CHECK(core::equal(*unpacked, joined(plain, plain)));
}

TEST_CASE("an lz4 frame with every optional part is read") {
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.blockSizeID = LZ4F_max4MB;
  preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
  preferences.frameInfo.blockChecksumFlag = LZ4F_blockChecksumEnabled;
  preferences.frameInfo.contentSize = 300'000;
  const std::vector<std::byte> plain = random_bytes(300'000, 9);
  std::vector<std::byte> packed(LZ4F_compressFrameBound(plain.size(), &preferences));
  packed.resize(
      LZ4F_compressFrame(packed.data(), packed.size(), plain.data(), plain.size(), &preferences));
  const auto unpacked = decompress(Codec::lz4, packed, kBytesMax);
  REQUIRE(unpacked.has_value());
  CHECK(core::equal(*unpacked, plain));
  packed.back() ^= std::byte{1};
  CHECK(refusal(Codec::lz4, packed) == Errc::corruption);
}

TEST_CASE("zstd of the highest level, written as a stream, is read") {
  const std::vector<std::byte> plain = random_bytes(300'000, 9);
  std::vector<std::byte> packed(ZSTD_compressBound(plain.size()));
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 22);
  // Two steps, so that the size is not known to the first: the window is then the level's largest.
  ZSTD_outBuffer out{packed.data(), packed.size(), 0};
  ZSTD_inBuffer in{plain.data(), plain.size() / 2, 0};
  CHECK(ZSTD_isError(ZSTD_compressStream2(context, &out, &in, ZSTD_e_continue)) == 0);
  in.size = plain.size();
  CHECK(ZSTD_compressStream2(context, &out, &in, ZSTD_e_end) == 0);
  ZSTD_freeCCtx(context);
  packed.resize(out.pos);
  const auto unpacked = decompress(Codec::zstd, packed, kBytesMax);
  REQUIRE(unpacked.has_value());
  CHECK(core::equal(*unpacked, plain));
}

TEST_CASE("the bound follows the input between its two ends") {
  CHECK(inflated_bytes_max(0) == kInflatedBytesFree);
  CHECK(inflated_bytes_max(1'000) == kInflatedBytesFree);
  CHECK(inflated_bytes_max(500'000) == 500'000 * kInflationRatioMax);
  CHECK(inflated_bytes_max(std::size_t{1} << 20) == kInflatedBytesMax);
  CHECK(inflated_bytes_max(SIZE_MAX) == kInflatedBytesMax);
}

TEST_CASE("codecs are known by the names that Kafka's configuration uses") {
  for (const Codec codec : kCodecs) CHECK(parse_codec(to_string(codec)) == codec);
  CHECK(parse_codec("zstd") == Codec::zstd);
  CHECK_FALSE(parse_codec("brotli").has_value());
  CHECK_FALSE(parse_codec("").has_value());
}

}  // namespace sentinel::consensus
