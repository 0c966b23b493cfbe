#include "consensus/compression.h"

#include <lz4frame.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "core/tagged.h"

namespace sentinel::consensus {

namespace {

using core::Bytes;
using core::ByteSpan;
using core::Errc;

constexpr std::string_view kNames[] = {"none", "gzip", "snappy", "lz4", "zstd"};
constexpr std::size_t kStepBytes = std::size_t{64} << 10;

std::unexpected<core::Error> malformed(Codec codec) {
  return core::fail(Errc::corruption, "malformed " + std::string(to_string(codec)) + " data");
}
std::unexpected<core::Error> too_large() {
  return core::fail(Errc::too_large, "the records inflate to too much");
}

/// Room that grows as output really comes, to one byte more than is allowed: that byte tells an
/// output that just fits from one that goes on.
class Output {
 public:
  explicit Output(std::size_t bytes_max) : bytes_max_(bytes_max) {
    SENTINEL_ASSERT(bytes_max <= kInflatedBytesMax);
  }
  /// The free part, at least one byte long; empty when the bound is passed.
  std::span<std::byte> room() {
    if (used_ == buffer_.capacity()) grow();
    return {buffer_.data() + used_, buffer_.capacity() - used_};
  }
  void advance(std::size_t written) { used_ += written; }
  [[nodiscard]] core::Result<Bytes> finish() const {
    if (used_ > bytes_max_) return too_large();
    return buffer_.slice(0, used_);
  }

 private:
  void grow() {
    const std::size_t doubled = std::max(kStepBytes, buffer_.capacity() * 2);
    core::Buffer larger = core::Buffer::allocate(std::min(bytes_max_ + 1, doubled));
    if (used_ > 0) std::memcpy(larger.data(), buffer_.data(), used_);
    buffer_ = std::move(larger);
  }

  const std::size_t bytes_max_;
  core::Buffer buffer_;
  std::size_t used_ = 0;
};

// Window bits 15, plus 16 for a gzip header.
constexpr int kGzipWindow = 15 + 16;

Bytef* zlib_bytes(ByteSpan bytes) {
  return reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
}

Bytes compress_gzip(ByteSpan plain) {
  z_stream stream{};
  const int started =
      deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY);
  SENTINEL_ASSERT(started == Z_OK);
  core::Buffer out = core::Buffer::allocate(deflateBound(&stream, plain.size()));
  stream.next_in = zlib_bytes(plain);
  stream.avail_in = core::narrow<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = core::narrow<uInt>(out.capacity());
  const int finished = deflate(&stream, Z_FINISH);
  SENTINEL_ASSERT(finished == Z_STREAM_END);
  const std::size_t size = stream.total_out;
  deflateEnd(&stream);
  return out.slice(0, size);
}

core::Result<Bytes> decompress_gzip(ByteSpan packed, std::size_t bytes_max) {
  z_stream stream{};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK)
    return core::fail(Errc::out_of_memory, "no memory for gzip");
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, &inflateEnd);
  stream.next_in = zlib_bytes(packed);
  stream.avail_in = core::narrow<uInt>(packed.size());
  Output out(bytes_max);
  for (;;) {
    const std::span<std::byte> room = out.room();
    if (room.empty()) return too_large();
    stream.next_out = reinterpret_cast<Bytef*>(room.data());
    stream.avail_out = core::narrow<uInt>(room.size());
    const int status = inflate(&stream, Z_NO_FLUSH);
    out.advance(room.size() - stream.avail_out);
    if (status == Z_STREAM_END && stream.avail_in == 0) return out.finish();
    // A gzip file may have several members (RFC 1952, 2.2). Each takes up input, so this ends.
    const bool goes_on = status == Z_STREAM_END ? inflateReset(&stream) == Z_OK : status == Z_OK;
    if (!goes_on) return malformed(Codec::gzip);
  }
}

// Java clients frame snappy in blocks: this magic, two version numbers, then blocks with a 4-byte
// length each. librdkafka sends one bare block. Every client reads both; the bare form is smaller.
constexpr std::array<std::uint8_t, 8> kXerialMagic = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};
constexpr std::size_t kXerialHeaderBytes = 16;

Bytes compress_snappy(ByteSpan plain) {
  core::Buffer out = core::Buffer::allocate(snappy::MaxCompressedLength(plain.size()));
  std::size_t size = 0;
  snappy::RawCompress(core::as_text(plain).data(), plain.size(),
                      reinterpret_cast<char*>(out.data()), &size);
  return out.slice(0, size);
}

core::Result<std::size_t> snappy_length(ByteSpan block, std::size_t bytes_max) {
  std::size_t length = 0;
  const std::string_view text = core::as_text(block);
  if (!snappy::GetUncompressedLength(text.data(), text.size(), &length))
    return malformed(Codec::snappy);
  if (length > bytes_max) return too_large();
  // Every byte of snappy data gives at most 64 / 3 bytes; a longer claim is a lie and gets no
  // memory.
  constexpr std::size_t kRatioMax = 64;
  if (length / kRatioMax > block.size()) return malformed(Codec::snappy);
  return length;
}

core::Result<Bytes> decompress_snappy_block(ByteSpan block, std::size_t bytes_max) {
  SENTINEL_TRY(length, snappy_length(block, bytes_max));
  core::Buffer out = core::Buffer::allocate(length);
  const std::string_view text = core::as_text(block);
  if (!snappy::RawUncompress(text.data(), text.size(), reinterpret_cast<char*>(out.data())))
    return malformed(Codec::snappy);
  return out.slice(0, length);
}

core::Result<Bytes> decompress_snappy(ByteSpan packed, std::size_t bytes_max) {
  const bool framed =
      packed.size() >= kXerialHeaderBytes &&
      core::equal(packed.first(kXerialMagic.size()), std::as_bytes(std::span(kXerialMagic)));
  if (!framed) return decompress_snappy_block(packed, bytes_max);
  core::ByteReader reader(packed.subspan(kXerialHeaderBytes));
  core::Chain blocks;
  while (reader.remaining() > 0) {
    const ByteSpan block = reader.take(reader.u32());
    if (reader.failed()) return malformed(Codec::snappy);
    SENTINEL_TRY(plain, decompress_snappy_block(block, bytes_max - blocks.size()));
    blocks.append(std::move(plain));
  }
  return blocks.joined();
}

Bytes compress_lz4(ByteSpan plain) {
  core::Buffer out = core::Buffer::allocate(LZ4F_compressFrameBound(plain.size(), nullptr));
  const std::size_t size =
      LZ4F_compressFrame(out.data(), out.capacity(), plain.data(), plain.size(), nullptr);
  SENTINEL_ASSERT(LZ4F_isError(size) == 0);
  return out.slice(0, size);
}

core::Result<Bytes> decompress_lz4(ByteSpan packed, std::size_t bytes_max) {
  LZ4F_dctx* raw = nullptr;
  if (LZ4F_isError(LZ4F_createDecompressionContext(&raw, LZ4F_VERSION)) != 0) {
    return core::fail(Errc::out_of_memory, "no memory for lz4");
  }
  const std::unique_ptr<LZ4F_dctx, decltype(&LZ4F_freeDecompressionContext)> context(
      raw, &LZ4F_freeDecompressionContext);
  Output out(bytes_max);
  for (;;) {
    const std::span<std::byte> room = out.room();
    if (room.empty()) return too_large();
    std::size_t written = room.size();
    std::size_t read = packed.size();
    const std::size_t hint =
        LZ4F_decompress(raw, room.data(), &written, packed.data(), &read, nullptr);
    if (LZ4F_isError(hint) != 0) return malformed(Codec::lz4);
    out.advance(written);
    packed = packed.subspan(read);
    if (hint == 0) return packed.empty() ? out.finish() : malformed(Codec::lz4);
    if (written == 0 && read == 0) return malformed(Codec::lz4);  // The frame is cut.
  }
}

constexpr int kZstdLevel = 3;
// The most that the library takes unless told otherwise, and what level 22 asks for. A window of
// that size is reserved, but touched only as far as output is written, which is bounded.
constexpr int kZstdWindowLog = 27;

Bytes compress_zstd(ByteSpan plain) {
  core::Buffer out = core::Buffer::allocate(ZSTD_compressBound(plain.size()));
  const std::size_t size =
      ZSTD_compress(out.data(), out.capacity(), plain.data(), plain.size(), kZstdLevel);
  SENTINEL_ASSERT(ZSTD_isError(size) == 0);
  return out.slice(0, size);
}

core::Result<Bytes> decompress_zstd(ByteSpan packed, std::size_t bytes_max) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                     &ZSTD_freeDCtx);
  if (context == nullptr) return core::fail(Errc::out_of_memory, "no memory for zstd");
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kZstdWindowLog);
  Output out(bytes_max);
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  for (;;) {
    const std::span<std::byte> room = out.room();
    if (room.empty()) return too_large();
    ZSTD_outBuffer to{room.data(), room.size(), 0};
    const std::size_t read_before = in.pos;
    const std::size_t hint = ZSTD_decompressStream(context.get(), &to, &in);
    if (ZSTD_isError(hint) != 0) return malformed(Codec::zstd);
    out.advance(to.pos);
    if (hint == 0 && in.pos == in.size) return out.finish();
    if (to.pos == 0 && in.pos == read_before) return malformed(Codec::zstd);  // The frame is cut.
  }
}

}  // namespace

std::string_view to_string(Codec codec) { return kNames[static_cast<std::size_t>(codec)]; }

std::optional<Codec> parse_codec(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) return static_cast<Codec>(i);
  }
  return std::nullopt;
}

Bytes compress(Codec codec, ByteSpan plain) {
  switch (codec) {
    case Codec::none: return Bytes::copy(plain);
    case Codec::gzip: return compress_gzip(plain);
    case Codec::snappy: return compress_snappy(plain);
    case Codec::lz4: return compress_lz4(plain);
    case Codec::zstd: return compress_zstd(plain);
  }
  SENTINEL_ASSERT(false, "no such codec");
  return {};
}

core::Result<Bytes> decompress(Codec codec, ByteSpan packed, std::size_t bytes_max) {
  switch (codec) {
    case Codec::none:
      if (packed.size() > bytes_max) return too_large();
      return Bytes::copy(packed);
    case Codec::gzip: return decompress_gzip(packed, bytes_max);
    case Codec::snappy: return decompress_snappy(packed, bytes_max);
    case Codec::lz4: return decompress_lz4(packed, bytes_max);
    case Codec::zstd: return decompress_zstd(packed, bytes_max);
  }
  return core::fail(Errc::corruption, "no such codec");
}

}  // namespace sentinel::consensus
