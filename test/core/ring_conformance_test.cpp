#include "test/support/ring_conformance.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "core/asio_ring.h"
#include "core/io.h"
#include "core/scope.h"
#include "core/uring.h"
#include "test/support/ring_operations.h"

namespace sentinel {

using core::Address;
using core::Handle;
using core::Shard;
using core::Task;
using test::RingFactory;

namespace {

/// A directory that goes away with its owner.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    // Beside the build, not in /tmp: that is often kept in memory, where direct access is not the
    // same.
    char name[] = "ring-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = std::filesystem::absolute(name);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::unique_ptr<core::Ring> make_uring() {
  auto ring = core::UringRing::create();
  if (!ring) return nullptr;
  return std::move(*ring);
}

std::unique_ptr<core::Ring> make_asio() {
  auto ring = core::AsioRing::create();
  if (!ring) return nullptr;
  return std::move(*ring);
}

/// The rings that this machine allows.
std::vector<RingFactory> real_rings(const std::string& directory) {
  std::vector<RingFactory> rings;
  rings.push_back({.name = "asio", .directory = directory, .make = &make_asio, .drive = {}});
  if (make_uring() != nullptr) {
    rings.push_back({.name = "uring", .directory = directory, .make = &make_uring, .drive = {}});
  } else {
    MESSAGE("io_uring is refused here: only asio is tested");
  }
  return rings;
}

Task<void> any_family(Shard& shard, test::Transcript& log) {
  const std::int64_t listened = co_await test::listen_at(shard, Address::any(0));
  log.note_handle("listen", listened);
  const auto listener = static_cast<Handle>(listened);
  const auto bound = shard.ring().local_address(listener);
  const std::int64_t near = co_await test::connect_to(shard, Address::loopback(bound->port));
  log.note_handle("connect by IPv4", near);
  const std::int64_t far = co_await test::accept_one(shard, listener);
  const auto peer = shard.ring().peer_address(static_cast<Handle>(far));
  log.note("the peer is", peer->host());
  co_await test::close_handle(shard, static_cast<Handle>(near));
  co_await test::close_handle(shard, static_cast<Handle>(far));
  co_await test::close_handle(shard, listener);
}

Task<void> unknown_host(Shard& shard, test::Transcript& log) {
  std::vector<Address> addresses;
  core::Io io(shard, core::OpCode::resolve_host);
  io.path = "no-such-host.invalid";
  io.addresses = &addresses;
  log.note("resolve", co_await io);
}

Task<void> read_magic(Shard& shard, Handle file, int* right) {
  std::string text;
  const std::int64_t length = co_await test::read_text(shard, file, 0, 4, &text);
  if (length == 4 && text.ends_with("ELF")) ++*right;
}

/// More reads in one turn than the submission and completion queues have entries.
Task<void> flood(Shard& shard, test::Transcript& log) {
  constexpr int kReads = 20'000;
  const std::int64_t opened =
      co_await test::open_file(shard, "/proc/self/exe", core::open_flags::read);
  const auto file = static_cast<Handle>(opened);
  core::TaskScope scope(shard);
  int ended = 0;
  for (int i = 0; i < kReads; ++i) scope.spawn(read_magic(shard, file, &ended));
  co_await scope.join();
  log.note("reads that were right", static_cast<std::int64_t>(ended));
  co_await test::close_handle(shard, file);
}

}  // namespace

TEST_CASE("every real ring answers the conformance script") {
  const TemporaryDirectory home;
  for (RingFactory ring : real_rings(home.path())) {
    ring.directory = home.path() + "/" + ring.name;
    std::filesystem::create_directory(ring.directory);
    test::check_ring_conformance(ring);
  }
}

TEST_CASE("notify from another thread ends the sleep of a ring") {
  for (const RingFactory& factory : real_rings(".")) {
    CAPTURE(factory.name);
    auto ring = factory.make();
    core::CompletionList finished;
    std::atomic<int> rounds{0};
    std::thread other([&] {
      for (int i = 0; i < 100; ++i) {
        ring->notify();
        while (rounds.load() <= i) std::this_thread::yield();
      }
    });
    // Without the notification this would sleep for ever. A wake-up that is left over from the
    // round before may end it too.
    for (int i = 0; i < 100; ++i) {
      ring->poll(finished, core::TimePoint::max());
      rounds.fetch_add(1);
    }
    other.join();
    CHECK(finished.empty());
  }
}

TEST_CASE("a poll without work returns at its deadline and not before") {
  for (const RingFactory& factory : real_rings(".")) {
    CAPTURE(factory.name);
    auto ring = factory.make();
    core::CompletionList finished;
    ring->poll(finished, core::TimePoint::min());
    const core::TimePoint until = ring->now() + std::chrono::milliseconds(5);
    while (ring->now() < until) ring->poll(finished, until);
    CHECK(finished.empty());
    CHECK(ring->now() >= until);
  }
}

TEST_CASE("listening on every interface takes IPv4 connections") {
  for (const RingFactory& factory : real_rings(".")) {
    CAPTURE(factory.name);
    test::Transcript log;
    test::run_on_ring(factory, &any_family, log);
    CHECK(log.text() == "listen -> ok\nconnect by IPv4 -> ok\nthe peer is -> 127.0.0.1\n");
  }
}

TEST_CASE("a host name that does not exist is unreachable") {
  for (const RingFactory& factory : real_rings(".")) {
    CAPTURE(factory.name);
    test::Transcript log;
    test::run_on_ring(factory, &unknown_host, log);
    CHECK(log.text() == "resolve -> EHOSTUNREACH\n");
  }
}

TEST_CASE("more operations at once than the queues hold all complete") {
  for (const RingFactory& factory : real_rings(".")) {
    CAPTURE(factory.name);
    test::Transcript log;
    test::run_on_ring(factory, &flood, log);
    CHECK(log.text() == "reads that were right -> 20000\n");
  }
}

}  // namespace sentinel
