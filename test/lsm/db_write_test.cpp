#include <doctest/doctest.h>
#include <fmt/format.h>

#include "lsm/db.h"
#include "test/support/memory_ring.h"
#include "test/support/run_task.h"

namespace sentinel::lsm {
namespace {

using core::as_bytes;
using core::Bytes;
using core::OpCode;
using core::Task;
using test::run_task;

constexpr std::size_t kBufferBytes = std::size_t{16} << 10;

struct Fixture {
  test::MemoryRing ring;
  core::Shard shard{0, ring, 1};
  std::unique_ptr<Db> db;

  Fixture() { open(true); }
  ~Fixture() { close(); }

  void open(bool create) {
    DbOptions options;
    options.directory = "store";
    options.wal.segment_bytes = 256 << 10;
    options.wal.first_segment_bytes = 64 << 10;
    options.wal.buffer_bytes = kBufferBytes;
    auto opened = run_task(shard, Db::open(shard, std::move(options), create));
    REQUIRE(opened.has_value());
    db = std::move(*opened);
    write("first", "1");  // Opens the first segment: nothing is taken before.
  }
  void close() { run_task(shard, db->close()); }

  static WriteBatch batch_of(std::string_view key, std::string_view value) {
    WriteBatch batch;
    batch.put(as_bytes(key), Bytes::copy(value));
    return batch;
  }
  bool try_write(std::string_view key, std::string_view value) const {
    WriteBatch batch = batch_of(key, value);
    return db->try_write(batch);
  }
  void write(std::string_view key, std::string_view value,
             Durability durability = Durability::on_disk) {
    run_task(shard, db->write(batch_of(key, value), durability));
  }
  std::string get(std::string_view key) {
    const auto found = run_task(shard, db->get(Bytes::copy(key)));
    REQUIRE(found.has_value());
    return found->has_value() ? std::string((*found)->text()) : "nothing";
  }
};

Task<void> note(Task<void> work, std::string* order, char name) {
  co_await std::move(work);
  *order += name;
}

}  // namespace

TEST_CASE("a queued write is visible at once and on disk after a sync") {
  Fixture fixture;
  const std::size_t writes = fixture.ring.count(OpCode::write);
  REQUIRE(fixture.try_write("a", "1"));
  REQUIRE(fixture.try_write("b", "2"));
  CHECK(fixture.ring.count(OpCode::write) == writes);
  const std::uint64_t log_writes = fixture.db->wal_writes();
  run_task(fixture.shard, fixture.db->sync());
  CHECK(fixture.db->wal_writes() == log_writes + 1);
  run_task(fixture.shard, fixture.db->sync());
  CHECK(fixture.db->wal_writes() == log_writes + 1);
  CHECK(fixture.get("b") == "2");
}

TEST_CASE("what was queued is there after closing and opening") {
  Fixture fixture;
  for (int i = 0; i < 1000; ++i)
    fixture.write(fmt::format("{:04}", i), std::string(100, 'v'), Durability::queued);
  fixture.close();
  fixture.open(false);
  CHECK(fixture.db->recovery().batches >= 1000);
  CHECK(fixture.get("0999") == std::string(100, 'v'));
}

TEST_CASE("no more is queued than the log's buffer takes") {
  Fixture fixture;
  std::size_t bytes = 0;
  const std::string value(100, 'v');
  while (fixture.try_write("key", value)) bytes += value.size();
  CHECK(bytes < kBufferBytes);
  CHECK(bytes > kBufferBytes / 2);
  // One that waits lets the disk have its turn.
  fixture.write("key", "last", Durability::queued);
  CHECK(fixture.get("key") == "last");
  CHECK(fixture.try_write("key", value));
}

TEST_CASE("a batch larger than the log's buffer can be queued") {
  Fixture fixture;
  const std::string large(3 * kBufferBytes, 'v');
  CHECK_FALSE(fixture.try_write("large", large));
  CHECK(fixture.get("large") == "nothing");
  fixture.write("large", large, Durability::queued);
  fixture.close();
  fixture.open(false);
  CHECK(fixture.get("large") == large);
}

TEST_CASE("a queued write behind a durable one keeps its place") {
  Fixture fixture;
  std::string order;
  {
    core::TaskScope scope(fixture.shard);
    Db& db = *fixture.db;
    scope.spawn(note(db.write(Fixture::batch_of("key", "a")), &order, 'a'));
    CHECK_FALSE(fixture.try_write("key", "not yet"));
    scope.spawn(note(db.write(Fixture::batch_of("key", "b"), Durability::queued), &order, 'b'));
    scope.spawn(note(db.write(Fixture::batch_of("key", "c")), &order, 'c'));
    CHECK(order.empty());
    run_task(fixture.shard, scope.join());
  }
  CHECK(order == "abc");
  CHECK(fixture.get("key") == "c");
}

TEST_CASE("a batch that is used again is as a new one") {
  WriteBatch used;
  used.put(as_bytes("an old key"), Bytes::copy("and its value"));
  used.remove(as_bytes("another"));
  used.set_first_sequence(SequenceNumber(9));
  used.clear();
  CHECK(used.empty());
  WriteBatch made;
  for (WriteBatch* batch : {&used, &made}) {
    batch->put(as_bytes("key"), Bytes::copy(std::string(300, 'v')));
    batch->put(as_bytes(""), Bytes());
    batch->remove(as_bytes("gone"));
    batch->set_first_sequence(SequenceNumber(1));
  }
  core::ByteWriter used_body;
  core::ByteWriter made_body;
  used.for_each_piece([&](core::ByteSpan piece) { used_body.bytes(piece); });
  for (const core::ByteSpan piece : made.pieces()) made_body.bytes(piece);
  CHECK(core::equal(used_body.view(), made_body.view()));
  CHECK(used_body.size() == used.body_bytes());
  const auto decoded = WriteBatch::decode(used_body.to_bytes());
  REQUIRE(decoded.has_value());
  CHECK(decoded->count() == 3);
  CHECK(decoded->operations()[0].value.size() == 300);
}

}  // namespace sentinel::lsm
