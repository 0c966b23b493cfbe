#include "core/crc32c.h"

#include <immintrin.h>

#include <array>

namespace sentinel::core {

namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Reflected.

constexpr std::array<std::array<std::uint32_t, 256>, 8> make_tables() {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (std::size_t slice = 1; slice < 8; ++slice) {
    for (std::size_t i = 0; i < 256; ++i) {
      const std::uint32_t previous = tables[slice - 1][i];
      tables[slice][i] = (previous >> 8) ^ tables[0][previous & 0xff];
    }
  }
  return tables;
}
constexpr auto kTables = make_tables();

/// x^(8 * bytes) modulo the polynomial, reflected: the factor that moves a checksum over `bytes`
/// zero bytes.
constexpr std::uint32_t power_of_x(std::size_t bits) {
  std::uint32_t value = 0x80000000;  // 1
  for (std::size_t i = 0; i < bits; ++i)
    value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
  return value;
}

// Lengths of one of the three streams. Both were tuned for batches of 4 KiB and of 64 KiB and more.
constexpr std::size_t kLongStride = 4096;
constexpr std::size_t kShortStride = 256;

std::uint64_t load_le(const std::byte* from) {
  std::uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

__attribute__((target("sse4.2"))) std::uint64_t simple_raw(std::uint64_t crc, const std::byte*& at,
                                                           std::size_t length) {
  for (; length >= 8; length -= 8, at += 8) crc = _mm_crc32_u64(crc, load_le(at));
  for (; length > 0; --length, ++at) {
    crc = _mm_crc32_u8(static_cast<std::uint32_t>(crc), static_cast<std::uint8_t>(*at));
  }
  return crc;
}

/// Moves `crc` over as many zero bytes as `factor` stands for. The product of two reflected 32-bit
/// polynomials has 63 bits; the crc instruction reduces it and, working on 64 bits, multiplies by
/// x^32 on the way, which the factors below leave out.
__attribute__((target("sse4.2,pclmul"))) std::uint64_t shift(std::uint64_t crc,
                                                             std::uint32_t factor) {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128(static_cast<int>(crc)),
                                               _mm_cvtsi32_si128(static_cast<int>(factor)), 0);
  return _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(product)));
}

/// Three streams of `Stride` bytes at a time, as long as there are that many.
template <std::size_t Stride>
__attribute__((target("sse4.2,pclmul"))) std::uint64_t three_way(std::uint64_t crc,
                                                                 const std::byte*& at,
                                                                 std::size_t& length) {
  // The 33 bits that the product and the reduction add are taken off the exponent.
  constexpr std::uint32_t kOver1 = power_of_x(8 * Stride - 33);
  constexpr std::uint32_t kOver2 = power_of_x(8 * 2 * Stride - 33);
  while (length >= 3 * Stride) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (std::size_t i = 0; i < Stride; i += 8) {
      crc = _mm_crc32_u64(crc, load_le(at + i));
      second = _mm_crc32_u64(second, load_le(at + Stride + i));
      third = _mm_crc32_u64(third, load_le(at + 2 * Stride + i));
    }
    crc = shift(crc, kOver2) ^ shift(second, kOver1) ^ third;
    at += 3 * Stride;
    length -= 3 * Stride;
  }
  return crc;
}

using Variant = std::uint32_t (*)(std::uint32_t, ByteSpan);

std::uint32_t best(std::uint32_t crc, ByteSpan data) {
  // Below, joining the streams costs more than it saves.
  constexpr std::size_t kInterleaveFrom = 768;
  return data.size() < kInterleaveFrom ? crc32c_variants::simple(crc, data)
                                       : crc32c_variants::interleaved(crc, data);
}

const Variant chosen = crc32c_variants::supported() ? &best : &crc32c_variants::table;

}  // namespace

namespace crc32c_variants {

bool supported() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"); }

std::uint32_t table(std::uint32_t crc, ByteSpan data) {
  std::uint32_t state = ~crc;
  const std::byte* at = data.data();
  std::size_t length = data.size();
  for (; length >= 8; length -= 8, at += 8) {
    const std::uint64_t word = load_le(at) ^ state;
    state = 0;
    for (std::size_t slice = 0; slice < 8; ++slice)
      state ^= kTables[7 - slice][(word >> (8 * slice)) & 0xff];
  }
  for (; length > 0; --length, ++at) {
    state = (state >> 8) ^ kTables[0][(state ^ static_cast<std::uint32_t>(*at)) & 0xff];
  }
  return ~state;
}

std::uint32_t simple(std::uint32_t crc, ByteSpan data) {
  const std::byte* at = data.data();
  return ~static_cast<std::uint32_t>(simple_raw(~crc, at, data.size()));
}

std::uint32_t interleaved(std::uint32_t crc, ByteSpan data) {
  const std::byte* at = data.data();
  std::size_t length = data.size();
  std::uint64_t state = ~crc;
  state = three_way<kLongStride>(state, at, length);
  state = three_way<kShortStride>(state, at, length);
  return ~static_cast<std::uint32_t>(simple_raw(state, at, length));
}

}  // namespace crc32c_variants

std::uint32_t crc32c(ByteSpan data) { return chosen(0, data); }
std::uint32_t crc32c_extend(std::uint32_t crc, ByteSpan data) { return chosen(crc, data); }

}  // namespace sentinel::core
