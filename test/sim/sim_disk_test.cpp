#include "test/support/sim_disk.h"

#include <doctest/doctest.h>
#include <fmt/ranges.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "core/io.h"
#include "core/scope.h"
#include "test/support/ring_operations.h"
#include "test/support/sim_world.h"

namespace sentinel {

using core::Handle;
using core::OpCode;
using core::Shard;
using core::Task;
using test::CrashPolicy;
using test::DiskImage;
using test::NodeId;
using test::SimWorld;
namespace open_flags = core::open_flags;

namespace {

constexpr CrashPolicy kLoseAll{.writes = CrashPolicy::Writes::lose_all};
constexpr std::uint32_t kNew = open_flags::read | open_flags::write | open_flags::create;

/// One node that runs what a test gives it.
struct Fixture {
  explicit Fixture(std::uint64_t seed = 1) : world(seed) {
    node = world.add_node({});
    world.disk(node).image().make_directories("/data");
    world.start(node);
  }
  void run(Task<void> task) {
    world.spawn(node, 0, std::move(task));
    REQUIRE(world.run_until([&] { return world.is_idle(node); }) == SimWorld::Outcome::done);
  }
  [[nodiscard]] Shard& shard() { return world.shard(node); }
  [[nodiscard]] test::SimDisk& disk() { return world.disk(node); }
  [[nodiscard]] std::string listing() {
    return fmt::format("{}", fmt::join(disk().image().listing(), " "));
  }
  void crash(CrashPolicy policy) {
    world.crash(node, policy);
    world.start(node);
  }

  SimWorld world;
  NodeId node = 0;
};

Task<void> put(Shard& shard, std::string path, std::string text, bool sync) {
  const auto file = static_cast<Handle>(co_await test::open_file(shard, path, kNew));
  co_await test::write_text(shard, file, 0, std::move(text));
  if (sync) {
    const std::int64_t synced = co_await test::on_handle(shard, OpCode::sync_data, file);
    CHECK(synced == 0);
  }
  co_await test::close_handle(shard, file);
}

Task<void> sync_names(Shard& shard, std::string directory) {
  const core::Status synced = co_await core::sync_directory(shard, std::move(directory));
  CHECK(synced.has_value());
}

Task<void> put_durably(Shard& shard, std::string path, std::string text) {
  co_await put(shard, std::move(path), std::move(text), true);
  co_await sync_names(shard, "/data");
}

Task<void> replace(Shard& shard, std::string name, std::string text) {
  const core::Status replaced = co_await core::replace_file(
      shard, "/data", std::move(name), core::Bytes::copy(std::as_bytes(std::span(text))));
  CHECK(replaced.has_value());
}

/// A page at a page boundary, for direct access.
struct alignas(4096) Page {
  explicit Page(char fill) { bytes.fill(fill); }
  std::array<char, 4096> bytes;
};

Task<std::int64_t> write_page(Shard& shard, Handle file, std::uint64_t offset, char* from,
                              std::size_t length) {
  core::Io io(shard, OpCode::write);
  io.handle = file;
  io.offset = offset;
  io.buffer = {from, length};
  co_return co_await io;
}

Task<void> write_direct(Shard& shard, std::string path, char fill) {
  const std::uint32_t flags = kNew | open_flags::direct | open_flags::data_sync;
  const auto file = static_cast<Handle>(co_await test::open_file(shard, path, flags));
  auto page = std::make_unique<Page>(fill);
  const std::int64_t written = co_await write_page(shard, file, 0, page->bytes.data(), 4096);
  CHECK(written == 4096);
  co_await test::close_handle(shard, file);
}

}  // namespace

TEST_CASE("a crash loses what was not synced and keeps what was") {
  Fixture fixture;
  fixture.run(put_durably(fixture.shard(), "/data/kept", "kept"));
  fixture.run(put(fixture.shard(), "/data/kept", "lost", false));
  CHECK(fixture.listing() == "/data/ /data/kept=lost");
  fixture.crash(kLoseAll);
  CHECK(fixture.listing() == "/data/ /data/kept=kept");
}

TEST_CASE("a killed process leaves its writes to the system") {
  Fixture fixture;
  fixture.run(put(fixture.shard(), "/data/file", "text", false));
  fixture.crash({.writes = CrashPolicy::Writes::keep_all});
  CHECK(fixture.listing() == "/data/ /data/file=text");
}

TEST_CASE("a synced file whose directory was not synced may vanish") {
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Fixture fixture(seed);
    fixture.run(put(fixture.shard(), "/data/file", "text", true));
    fixture.crash({});
    seen.insert(fixture.listing());
  }
  CHECK(seen == std::set<std::string>{"/data/", "/data/ /data/file=text"});
}

TEST_CASE("replacing a file leaves the old or the new contents at every write point") {
  std::set<std::string> seen;
  Fixture fixture;
  fixture.run(put_durably(fixture.shard(), "/data/file", "old"));
  std::uint64_t states_seen = 0;
  fixture.disk().set_observer([&](const DiskImage& image, std::uint64_t) {
    test::CrashStates states(image);
    DiskImage after;
    while (states.next(after)) {
      ++states_seen;
      seen.insert(after.get("/data/file").value_or("none"));
    }
  });
  fixture.run(replace(fixture.shard(), "file", "new"));
  CHECK(seen == std::set<std::string>{"old", "new"});
  CHECK(states_seen > fixture.disk().write_points());
}

TEST_CASE("renaming before the sync of the contents may leave an empty file") {
  Fixture fixture;
  fixture.run(put_durably(fixture.shard(), "/data/file", "old"));
  fixture.run(put(fixture.shard(), "/data/file.new", "new", false));
  fixture.world.spawn(fixture.node, 0, [](Shard& shard) -> Task<void> {
    co_await test::rename_to(shard, "/data/file.new", "/data/file");
  }(fixture.shard()));
  fixture.world.run_until([&] { return fixture.world.is_idle(fixture.node); });
  fixture.run(sync_names(fixture.shard(), "/data"));
  fixture.crash(kLoseAll);
  CHECK(fixture.listing() == "/data/ /data/file=");
}

TEST_CASE("a durable write in flight may be torn between its sectors") {
  Fixture fixture;
  fixture.run(write_direct(fixture.shard(), "/data/wal", 'a'));
  fixture.run(sync_names(fixture.shard(), "/data"));
  // Opening is one point with its completion, the submission of the write the next.
  const std::uint64_t point = fixture.disk().write_points() + 3;
  fixture.world.stop_at_write_point(fixture.node, point);
  fixture.world.spawn(fixture.node, 0, write_direct(fixture.shard(), "/data/wal", 'b'));
  CHECK(fixture.world.run_for(std::chrono::seconds(1)) == SimWorld::Outcome::stopped);
  REQUIRE(fixture.world.captured().has_value());

  std::set<std::string> patterns;  // One letter a sector.
  test::CrashStates states(*fixture.world.captured());
  DiskImage after;
  while (states.next(after)) {
    const std::string text = after.get("/data/wal").value_or("");
    REQUIRE(text.size() == 4096);
    std::string pattern;
    for (std::size_t at = 0; at < text.size(); at += 512) {
      CHECK(text.substr(at, 512) == std::string(512, text[at]));
      pattern += text[at];
    }
    patterns.insert(pattern);
  }
  CHECK(patterns.contains("aaaaaaaa"));
  CHECK(patterns.contains("bbbbbbbb"));
  CHECK(patterns.contains("bbbaaaaa"));
  CHECK(patterns.contains("bbabbbbb"));
  CHECK(patterns.contains("aaaaabaa"));
  // None, all, 7 prefixes, 8 holes and 8 single sectors; one prefix is a single sector, one a hole.
  CHECK(patterns.size() == 2 + 7 + 8 + 8 - 2);
}

TEST_CASE("a durable write survives once it has completed") {
  Fixture fixture;
  fixture.run(write_direct(fixture.shard(), "/data/wal", 'a'));
  fixture.run(sync_names(fixture.shard(), "/data"));
  fixture.run(write_direct(fixture.shard(), "/data/wal", 'b'));
  fixture.crash(kLoseAll);
  CHECK(fixture.disk().image().get("/data/wal") == std::string(4096, 'b'));
}

TEST_CASE("direct access to memory, offsets or lengths out of line is refused") {
  Fixture fixture;
  fixture.run([](Shard& shard) -> Task<void> {
    const auto file = static_cast<Handle>(
        co_await test::open_file(shard, "/data/file", kNew | open_flags::direct));
    auto pages = std::make_unique<std::array<Page, 2>>(std::array<Page, 2>{Page('x'), Page('x')});
    char* memory = pages->front().bytes.data();
    const std::int64_t memory_off = co_await write_page(shard, file, 0, memory + 512, 4096);
    const std::int64_t offset_off = co_await write_page(shard, file, 512, memory, 4096);
    const std::int64_t length_off = co_await write_page(shard, file, 0, memory, 512);
    const std::int64_t aligned = co_await write_page(shard, file, 4096, memory, 8192);
    CHECK(memory_off == -EINVAL);
    CHECK(offset_off == -EINVAL);
    CHECK(length_off == -EINVAL);
    CHECK(aligned == 8192);
    co_await test::close_handle(shard, file);
  }(fixture.shard()));
}

TEST_CASE(
    "after a failed sync the contents are readable, later syncs succeed, and a crash loses them") {
  Fixture fixture;
  fixture.run(put_durably(fixture.shard(), "/data/file", "old"));
  fixture.disk().fail_next(OpCode::sync_data, "file", 1, EIO);
  fixture.run([](Shard& shard) -> Task<void> {
    const auto file = static_cast<Handle>(co_await test::open_file(shard, "/data/file", kNew));
    co_await test::write_text(shard, file, 0, "new");
    const std::int64_t first = co_await test::on_handle(shard, OpCode::sync_data, file);
    CHECK(first == -EIO);
    std::string text;
    co_await test::read_text(shard, file, 0, 10, &text);
    CHECK(text == "new");
    co_await test::write_text(shard, file, 3, "er");
    const std::int64_t second = co_await test::on_handle(shard, OpCode::sync_data, file);
    CHECK(second == 0);
    co_await test::close_handle(shard, file);
  }(fixture.shard()));
  CHECK(fixture.disk().faults_left() == 0);
  fixture.crash({.writes = CrashPolicy::Writes::keep_all});
  CHECK(fixture.listing() == "/data/ /data/file=older");
}

TEST_CASE("a full disk refuses writes until space returns") {
  Fixture fixture;
  fixture.disk().options.capacity_bytes = 8192;
  fixture.run([](Shard& shard) -> Task<void> {
    const auto file = static_cast<Handle>(co_await test::open_file(shard, "/data/a", kNew));
    const std::int64_t fits = co_await test::write_text(shard, file, 0, std::string(8192, 'x'));
    const std::int64_t beyond = co_await test::write_text(shard, file, 8192, "x");
    const std::int64_t inside = co_await test::write_text(shard, file, 0, "y");
    const std::int64_t reserve = co_await test::on_handle(shard, OpCode::allocate, file, 10'000);
    const std::int64_t free = co_await test::on_path(shard, OpCode::free_space, "/data");
    const std::int64_t another = co_await test::open_file(shard, "/data/b", kNew);
    CHECK(fits == 8192);
    CHECK(beyond == -ENOSPC);
    CHECK(inside == 1);
    CHECK(reserve == -ENOSPC);
    CHECK(free == 0);
    CHECK(another == -ENOSPC);
    co_await test::on_path(shard, OpCode::unlink_file, "/data/a");
    const std::int64_t while_open = co_await test::on_path(shard, OpCode::free_space, "/data");
    CHECK(while_open == 0);
    co_await test::close_handle(shard, file);
    const std::int64_t freed = co_await test::on_path(shard, OpCode::free_space, "/data");
    CHECK(freed == 8192);
  }(fixture.shard()));
}

TEST_CASE("short transfers do less than was asked and never nothing, and writes whole sectors") {
  Fixture fixture;
  fixture.disk().options.short_transfer_probability = 1;
  fixture.run([](Shard& shard) -> Task<void> {
    const auto file = static_cast<Handle>(co_await test::open_file(shard, "/data/file", kNew));
    for (int i = 0; i < 50; ++i) {
      const std::int64_t sector = co_await test::write_text(shard, file, 0, std::string(512, 'a'));
      const std::int64_t more = co_await test::write_text(shard, file, 0, std::string(5'000, 'x'));
      std::string text;
      const std::int64_t read = co_await test::read_text(shard, file, 0, 2, &text);
      CHECK(sector == 512);
      CHECK((more >= 512 && more < 5'000 && more % 512 == 0));
      CHECK(read == 1);
    }
    co_await test::close_handle(shard, file);
  }(fixture.shard()));
}

TEST_CASE("a write that is delayed takes effect behind one that was submitted later") {
  Fixture fixture;
  fixture.disk().delay_next(OpCode::write, "file", 1, std::chrono::seconds(1));
  fixture.run([](Shard& shard) -> Task<void> {
    const auto file = static_cast<Handle>(co_await test::open_file(shard, "/data/file", kNew));
    core::TaskScope scope(shard);
    for (const char* text : {"slow", "fast"}) {
      scope.spawn([](Shard& on, Handle handle, const char* what) -> Task<void> {
        const std::int64_t written = co_await test::write_text(on, handle, 0, what);
        CHECK(written == 4);
      }(shard, file, text));
    }
    co_await scope.join();
    std::string text;
    co_await test::read_text(shard, file, 0, 4, &text);
    CHECK(text == "slow");
    co_await test::close_handle(shard, file);
  }(fixture.shard()));
  CHECK(fixture.disk().faults_left() == 0);
}

TEST_CASE("the nth operation on a path fails as asked and only that one") {
  Fixture fixture;
  fixture.disk().fail_next(OpCode::write, "b", 2, EIO);
  fixture.run([](Shard& shard) -> Task<void> {
    const auto a = static_cast<Handle>(co_await test::open_file(shard, "/data/a", kNew));
    const auto b = static_cast<Handle>(co_await test::open_file(shard, "/data/b", kNew));
    std::string results;
    for (const Handle file : {a, b, a, b, a, b}) {
      const std::int64_t result = co_await test::write_text(shard, file, 0, "x");
      results += result == 1 ? "+" : result == -EIO ? "-" : "?";
    }
    CHECK(results == "+++-++");
    co_await test::close_handle(shard, a);
    co_await test::close_handle(shard, b);
  }(fixture.shard()));
}

TEST_CASE("a handle of an earlier life and a lock die with the crash") {
  Fixture fixture;
  Handle before = core::kNoHandle;
  fixture.run([](Shard& shard, Handle* out) -> Task<void> {
    *out = static_cast<Handle>(co_await test::open_file(shard, "/data/lock", kNew));
    const std::int64_t locked = co_await test::on_handle(shard, OpCode::lock_file, *out);
    CHECK(locked == 0);
  }(fixture.shard(), &before));
  fixture.crash({.writes = CrashPolicy::Writes::keep_all});
  fixture.run([](Shard& shard, Handle old) -> Task<void> {
    const std::int64_t dead = co_await test::write_text(shard, old, 0, "x");
    const auto again = static_cast<Handle>(co_await test::open_file(shard, "/data/lock", kNew));
    const std::int64_t locked = co_await test::on_handle(shard, OpCode::lock_file, again);
    CHECK(dead == -EBADF);
    CHECK(locked == 0);
    co_await test::close_handle(shard, again);
  }(fixture.shard(), before));
}

}  // namespace sentinel
