#include "lsm/sorted_replay.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "core/random.h"

namespace sentinel::lsm {
namespace {

/// Batches over few keys, so that most keys have several versions, some with a long common begin.
std::vector<WriteBatch> random_batches(core::Random& random) {
  std::vector<WriteBatch> batches;
  SequenceNumber next = kFirstSequence;
  for (int i = 0; i < 200; ++i) {
    WriteBatch batch;
    for (std::uint64_t count = random.between(1, 5); count > 0; --count) {
      std::string key = random.chance(0.5) ? "a common beginning of " : "";
      key += std::to_string(random.below(60));
      if (random.chance(0.2)) {
        batch.remove(core::as_bytes(key));
      } else {
        batch.put(core::as_bytes(key), core::Bytes::copy(std::to_string(random.next())));
      }
    }
    batch.set_first_sequence(next);
    next = batch.last_sequence().next();
    batches.push_back(std::move(batch));
  }
  return batches;
}

struct Seen {
  std::string key;
  std::uint64_t tag = 0;
  std::string value;

  friend bool operator==(const Seen&, const Seen&) = default;
};

std::vector<Seen> contents(const Memtable& memtable) {
  std::vector<Seen> seen;
  Memtable::Cursor cursor(memtable);
  for (cursor.seek_to_first(); cursor.valid(); cursor.next()) {
    seen.push_back({std::string(core::as_text(cursor.key())), cursor.tag().packed(),
                    std::string(core::as_text(cursor.value()))});
  }
  return seen;
}

}  // namespace

TEST_CASE("a memtable filled in the order of keys is the one filled in the order of the log") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    CAPTURE(seed);
    core::Random random(seed);
    std::vector<WriteBatch> batches = random_batches(random);
    Memtable plain(1);
    for (const WriteBatch& batch : batches) {
      SequenceNumber sequence = batch.first_sequence();
      for (const WriteBatch::Operation& operation : batch.operations()) {
        plain.add({.sequence = sequence, .kind = operation.kind}, batch.key(operation),
                  operation.value);
        sequence = sequence.next();
      }
    }
    const SequenceNumber last = batches.back().last_sequence();
    Memtable sorted(2);
    // Small enough for many rounds, or large enough for one.
    SortedReplay replay(sorted, seed == 1 ? 5'000 : std::size_t{1} << 20);
    for (WriteBatch& batch : batches) replay.add(std::move(batch));
    replay.finish();
    CHECK(contents(sorted) == contents(plain));
    CHECK(sorted.entry_count() == plain.entry_count());
    CHECK(sorted.largest_sequence() == last);
  }
}

TEST_CASE("memtables share the memory of those before them, up to a bound") {
  constexpr std::size_t kChunk = std::size_t{2} << 20;
  const auto reserve = std::make_shared<ArenaReserve>(2 * kChunk);
  const auto fill = [&reserve] {
    Memtable memtable(1, reserve);
    for (std::uint64_t i = 1; memtable.memory_bytes() < 5 * kChunk; ++i) {
      memtable.add({.sequence = SequenceNumber(i)}, core::as_bytes("key" + std::to_string(i)),
                   core::Bytes::copy(std::string(1000, 'v')));
    }
    return reserve->bytes();
  };
  CHECK(fill() == 0);
  CHECK(reserve->bytes() == 2 * kChunk);
  CHECK(fill() == 0);  // What was kept is in use again.
  CHECK(reserve->bytes() == 2 * kChunk);
}

}  // namespace sentinel::lsm
