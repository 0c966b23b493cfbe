#include "core/buffer_pool.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace sentinel::core {
namespace {

constexpr std::size_t kBytes = 8192;

TEST_CASE("a pool gives as many buffers as its budget holds, and those that come back again") {
  BufferPool pool({.buffer_bytes = kBytes - 100, .bytes_max = 3 * kBytes + 100});
  CHECK(pool.buffer_bytes() == kBytes);
  CHECK(pool.held_bytes() == 0);
  std::vector<Buffer> taken;
  for (std::size_t left = 3; left > 0; --left) {
    CHECK(pool.available() == left);
    Buffer buffer = pool.try_take();
    REQUIRE(buffer);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096 == 0);
    buffer.data()[kBytes - 1] = std::byte{1};
    taken.push_back(std::move(buffer));
  }
  CHECK_FALSE(pool.try_take());
  const std::byte* middle = taken[1].data();
  taken.erase(taken.begin() + 1);
  CHECK(pool.available() == 1);
  const Buffer again = pool.try_take();
  REQUIRE(again);
  CHECK(again.data() == middle);
  CHECK(pool.held_bytes() == 3 * kBytes);
}

TEST_CASE("a buffer comes back with its last slice") {
  BufferPool pool({.buffer_bytes = kBytes, .bytes_max = kBytes});
  std::optional<Bytes> slice;
  {
    const Buffer buffer = pool.try_take();
    REQUIRE(buffer);
    buffer.data()[5] = std::byte{42};
    slice = buffer.slice(5, 1);
  }
  CHECK_FALSE(pool.try_take());
  CHECK(slice->data()[0] == std::byte{42});
  slice.reset();
  CHECK(pool.try_take());
}

TEST_CASE("only what is not in use is given back to the system") {
  BufferPool pool({.buffer_bytes = kBytes, .bytes_max = 2 * kBytes});
  Buffer used = pool.try_take();
  {
    const Buffer unused = pool.try_take();
  }
  CHECK(pool.held_bytes() == 2 * kBytes);
  pool.trim();
  CHECK(pool.held_bytes() == kBytes);
  CHECK(pool.available() == 1);
  used = Buffer();
  pool.trim();
  CHECK(pool.held_bytes() == 0);
}

TEST_CASE("a pool without a budget gives nothing") {
  BufferPool pool({.buffer_bytes = kBytes, .bytes_max = kBytes - 1});
  CHECK_FALSE(pool.try_take());
  CHECK(pool.available() == 0);
}

TEST_CASE("a buffer outlives its pool") {
  std::optional<Buffer> buffer;
  {
    BufferPool pool({.buffer_bytes = kBytes, .bytes_max = kBytes});
    buffer = pool.try_take();
  }
  REQUIRE(*buffer);
  buffer->data()[0] = std::byte{7};
  CHECK(buffer->data()[0] == std::byte{7});
}

TEST_CASE("buffers come back from other threads while the pool hands them out") {
  constexpr std::size_t kRounds = 20'000;
  constexpr std::size_t kBuffers = 8;
  BufferPool pool({.buffer_bytes = 4096, .bytes_max = kBuffers * 4096});
  for (std::size_t round = 0; round < kRounds / 100; ++round) {
    std::vector<Buffer> first;
    std::vector<Buffer> second;
    while (Buffer buffer = pool.try_take()) {
      buffer.data()[0] = std::byte{9};  // A data race, if another thread still has it.
      (first.size() <= second.size() ? first : second).push_back(std::move(buffer));
    }
    REQUIRE(first.size() + second.size() == kBuffers);
    std::thread one([given = std::move(first)]() mutable { given.clear(); });
    std::thread two([given = std::move(second)]() mutable { given.clear(); });
    for (std::size_t i = 0; i < kBuffers; ++i) {
      const Buffer buffer = pool.try_take();
      if (buffer) buffer.data()[0] = std::byte{8};
    }
    one.join();
    two.join();
  }
  CHECK(pool.available() == kBuffers);
}

}  // namespace
}  // namespace sentinel::core
