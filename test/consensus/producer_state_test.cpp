#include "consensus/producer_state.h"

#include <doctest/doctest.h>

#include <vector>

#include "core/random.h"

namespace sentinel::consensus {

namespace {

using core::Bytes;
using Outcome = ProducerCheck::Outcome;

constexpr std::int64_t kNow = 1'700'000'000'000;

/// What a producer sends: `count` records from `sequence` on.
struct Sent {
  std::int64_t id = 1;
  std::int16_t epoch = 0;
  std::int32_t sequence = 0;
  std::int32_t count = 1;
};

Bytes batch_of(const Sent& sent) {
  RecordBatchBuilder builder;
  builder.set_producer({.id = sent.id, .epoch = sent.epoch}, sent.sequence);
  for (std::int32_t i = 0; i < sent.count; ++i)
    builder.add(kNow, std::nullopt, core::as_bytes("v"));
  return builder.finish();
}

ProducerCheck check(const ProducerState& state, const Sent& sent) {
  return state.check(*RecordBatchView::parse(batch_of(sent)));
}

void append(ProducerState& state, const Sent& sent, std::int64_t offset,
            std::int64_t now_ms = kNow) {
  state.on_append(*RecordBatchView::parse(batch_of(sent)), Offset(offset), now_ms);
  state.check_invariants();
}

/// A producer with batches of 10 records at sequences 0, 10, ... and offsets 1000, 1010, ...
ProducerState state_after(int batches) {
  ProducerState state;
  for (int i = 0; i < batches; ++i) append(state, {.sequence = 10 * i, .count = 10}, 1000 + 10 * i);
  return state;
}

bool same(const ProducerState& a, const ProducerState& b) {
  return core::equal(a.encode(), b.encode());
}

}  // namespace

TEST_CASE("a batch without a producer id is always appended and leaves no trace") {
  ProducerState state;
  for (int i = 0; i < 3; ++i) {
    CHECK(check(state, {.id = -1, .epoch = 0, .sequence = 0}).outcome == Outcome::append);
    append(state, {.id = -1, .epoch = 0, .sequence = 0}, i);
  }
  CHECK(state.producer_count() == 0);
}

TEST_CASE("a producer that is not known may start at any sequence and epoch") {
  const ProducerState state;
  CHECK(check(state, {.epoch = 9, .sequence = 0}).outcome == Outcome::append);
  CHECK(check(state, {.epoch = 9, .sequence = 12'345}).outcome == Outcome::joins);
}

TEST_CASE("the next sequence is appended, a gap and an overlap are out of order") {
  const ProducerState state = state_after(2);
  CHECK(check(state, {.sequence = 20}).outcome == Outcome::append);
  CHECK(check(state, {.sequence = 21}).outcome == Outcome::out_of_order);
  CHECK(check(state, {.sequence = 19}).outcome == Outcome::out_of_order);
  CHECK(check(state, {.sequence = 500}).outcome == Outcome::out_of_order);
  // Begins like a remembered batch, but is not one.
  CHECK(check(state, {.sequence = 10, .count = 9}).outcome == Outcome::out_of_order);
  CHECK(check(state, {.sequence = 10, .count = 11}).outcome == Outcome::out_of_order);
}

TEST_CASE(
    "each of the last five batches is a duplicate with its first offset, an older one is not") {
  const ProducerState state = state_after(7);
  for (int i = 2; i < 7; ++i) {
    const ProducerCheck found = check(state, {.sequence = 10 * i, .count = 10});
    CHECK(found.outcome == Outcome::duplicate);
    CHECK(found.original_base_offset == Offset(1000 + 10 * i));
  }
  CHECK(check(state, {.sequence = 10, .count = 10}).outcome == Outcome::out_of_order);
}

TEST_CASE("an older epoch is fenced, even with the right sequence and even for a duplicate") {
  ProducerState state;
  append(state, {.epoch = 4, .sequence = 0, .count = 3}, 0);
  CHECK(check(state, {.epoch = 3, .sequence = 3}).outcome == Outcome::fenced);
  CHECK(check(state, {.epoch = 3, .sequence = 0, .count = 3}).outcome == Outcome::fenced);
}

TEST_CASE("a newer epoch starts at sequence zero and forgets the batches before it") {
  ProducerState state = state_after(3);
  CHECK(check(state, {.epoch = 1, .sequence = 30}).outcome == Outcome::out_of_order);
  CHECK(check(state, {.epoch = 1, .sequence = 0}).outcome == Outcome::append);
  append(state, {.epoch = 1, .sequence = 0, .count = 2}, 1030);
  CHECK(check(state, {.epoch = 1, .sequence = 2}).outcome == Outcome::append);
  CHECK(check(state, {.epoch = 1, .sequence = 20, .count = 10}).outcome == Outcome::out_of_order);
  CHECK(check(state, {.epoch = 0, .sequence = 30}).outcome == Outcome::fenced);
}

TEST_CASE("sequences wrap from the largest to zero, between batches and inside one") {
  ProducerState between;
  append(between, {.sequence = INT32_MAX - 1, .count = 2}, 0);
  CHECK(check(between, {.sequence = 0}).outcome == Outcome::append);
  CHECK(check(between, {.sequence = INT32_MAX}).outcome == Outcome::out_of_order);
  ProducerState inside;
  append(inside, {.sequence = INT32_MAX, .count = 3}, 0);  // INT32_MAX, 0, 1
  CHECK(check(inside, {.sequence = 2}).outcome == Outcome::append);
  CHECK(check(inside, {.sequence = INT32_MAX, .count = 3}).outcome == Outcome::duplicate);
}

TEST_CASE("producers do not disturb each other") {
  ProducerState state;
  append(state, {.id = 1, .sequence = 0, .count = 5}, 0);
  append(state, {.id = 2, .epoch = 3, .sequence = 0, .count = 2}, 5);
  CHECK(check(state, {.id = 1, .sequence = 5}).outcome == Outcome::append);
  CHECK(check(state, {.id = 2, .epoch = 3, .sequence = 2}).outcome == Outcome::append);
  CHECK(check(state, {.id = 2, .epoch = 3, .sequence = 5}).outcome == Outcome::out_of_order);
  CHECK(state.producer_count() == 2);
}

TEST_CASE("a truncation takes back exactly what was appended behind it") {
  // The prefixes of this log: also the evicted sixth batch and the epoch before come back.
  std::vector<Sent> log;
  for (int i = 0; i < 8; ++i) log.push_back({.id = 1, .sequence = i});
  log.push_back({.id = 2, .sequence = 0});
  log.push_back({.id = 1, .epoch = 1, .sequence = 0});
  log.push_back({.id = 2, .sequence = 1});
  for (std::size_t kept = 0; kept <= log.size(); ++kept) {
    ProducerState truncated;
    ProducerState prefix;
    for (std::size_t i = 0; i < log.size(); ++i) {
      append(truncated, log[i], static_cast<std::int64_t>(i));
      if (i < kept) append(prefix, log[i], static_cast<std::int64_t>(i));
    }
    truncated.truncate_from(Offset(static_cast<std::int64_t>(kept)));
    truncated.check_invariants();
    CHECK(same(truncated, prefix));
  }
}

TEST_CASE("random appends and truncations leave the state of the log that remains") {
  core::Random random(21);
  for (int round = 0; round < 200; ++round) {
    std::vector<Sent> log;
    ProducerState state;
    for (int step = 0; step < 40; ++step) {
      if (!log.empty() && random.chance(0.1)) {
        const std::size_t kept =
            log.size() - random.below(std::min<std::size_t>(log.size(), 9) + 1);
        log.resize(kept);
        state.truncate_from(Offset(static_cast<std::int64_t>(kept)));
      }
      const Sent sent{.id = static_cast<std::int64_t>(random.below(3)),
                      .epoch = static_cast<std::int16_t>(random.below(3)),
                      .sequence = static_cast<std::int32_t>(random.below(4))};
      if (check(state, sent).outcome != Outcome::append) continue;
      append(state, sent, static_cast<std::int64_t>(log.size()));
      log.push_back(sent);
    }
    ProducerState replayed;
    for (std::size_t i = 0; i < log.size(); ++i)
      append(replayed, log[i], static_cast<std::int64_t>(i));
    REQUIRE(same(state, replayed));
  }
}

TEST_CASE("what is committed is not taken back") {
  ProducerState state = state_after(4);
  state.on_commit(Offset(1020));
  state.check_invariants();
  state.truncate_from(Offset(1020));
  CHECK(same(state, state_after(2)));
}

TEST_CASE("of batches that are committed all together no more than a bound is remembered") {
  ProducerState state;
  const auto appended = static_cast<std::int32_t>(kUndoMax) + 10;
  for (std::int32_t i = 0; i < appended; ++i) append(state, {.sequence = i}, i);
  state.check_invariants();
  state.truncate_from(Offset(appended - 100));
  CHECK(check(state, {.sequence = appended - 100}).outcome == Outcome::append);
}

TEST_CASE("a producer idle for longer than a day is forgotten, one active since is not") {
  ProducerState state;
  append(state, {.id = 1, .sequence = 0}, 0, kNow);
  append(state, {.id = 2, .sequence = 0}, 1, kNow);
  append(state, {.id = 2, .sequence = 1}, 2, kNow + 1);
  state.expire(kNow + kProducerExpirationMs);
  CHECK(state.producer_count() == 2);
  state.expire(kNow + kProducerExpirationMs + 1);
  CHECK(state.producer_count() == 1);
  CHECK(check(state, {.id = 2, .sequence = 1}).outcome == Outcome::duplicate);
  CHECK(check(state, {.id = 1, .sequence = 77}).outcome == Outcome::joins);
}

TEST_CASE("a flood of producers pushes out those idle for longest and stays within the bound") {
  ProducerState state;
  std::int64_t offset = 0;
  append(state, {.id = 1, .sequence = 0}, offset++);
  append(state, {.id = 2, .sequence = 0}, offset++);
  for (std::size_t i = 2; i < kProducersMax; ++i)
    state.on_append(*RecordBatchView::parse(batch_of({.id = std::int64_t{1'000} + offset})),
                    Offset(offset), kNow),
        ++offset;
  append(state, {.id = 1, .sequence = 1}, offset++);
  CHECK(state.producer_count() == kProducersMax);
  const ProducerState full = state;
  append(state, {.id = 5, .sequence = 0}, offset);
  CHECK(state.producer_count() == kProducersMax - kProducersForgotten + 1);
  CHECK(check(state, {.id = 1, .sequence = 1}).outcome == Outcome::duplicate);
  CHECK(check(state, {.id = 2, .sequence = 9}).outcome == Outcome::joins);
  CHECK(check(state, {.id = 5, .sequence = 0}).outcome == Outcome::duplicate);
  state.check_invariants();
  state.truncate_from(Offset(offset));
  CHECK(same(state, full));
}

TEST_CASE("a snapshot and the batches behind it give the state of the whole log") {
  ProducerState whole = state_after(3);
  append(whole, {.id = 8, .epoch = 2, .sequence = 5, .count = 4}, 1030);
  auto restored = ProducerState::decode(whole.encode());
  REQUIRE(restored.has_value());
  restored->check_invariants();
  CHECK(same(*restored, whole));
  for (int i = 0; i < 4; ++i) {
    append(whole, {.sequence = 30 + i}, 1034 + i);
    append(*restored, {.sequence = 30 + i}, 1034 + i);
  }
  CHECK(same(*restored, whole));
  CHECK(check(*restored, {.sequence = 20, .count = 10}).original_base_offset == Offset(1020));
  // The snapshot says nothing of what was before it.
  restored->truncate_from(Offset(1034));
  CHECK(check(*restored, {.sequence = 30}).outcome == Outcome::append);
}

TEST_CASE("a state without producers, and one with as many as there may be, survive a snapshot") {
  CHECK(ProducerState::decode(ProducerState().encode())->producer_count() == 0);
  ProducerState full;
  std::int64_t offset = 0;
  for (std::int32_t sequence = 0; sequence < 5; ++sequence) {
    for (std::size_t id = 0; id < kProducersMax; ++id) {
      const Sent sent{.id = static_cast<std::int64_t>(id), .sequence = sequence};
      full.on_append(*RecordBatchView::parse(batch_of(sent)), Offset(offset++), kNow);
    }
  }
  const auto restored = ProducerState::decode(full.encode());
  REQUIRE(restored.has_value());
  CHECK(restored->producer_count() == kProducersMax);
  CHECK(same(*restored, full));
}

TEST_CASE("a snapshot that is cut or prolonged is corruption") {
  const Bytes bytes = state_after(5).encode();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto decoded = ProducerState::decode(bytes.view().first(length));
    REQUIRE_FALSE(decoded.has_value());
    CHECK(decoded.error().code == core::Errc::corruption);
  }
  std::vector<std::byte> longer(bytes.view().begin(), bytes.view().end());
  longer.push_back(std::byte{0});
  CHECK(ProducerState::decode(longer).error().code == core::Errc::corruption);
}

TEST_CASE("a snapshot whose values can't be is corruption, a later version is told apart") {
  // Version (1), count (1), id (8), epoch (2), batches (1), then 24 bytes a batch.
  const Bytes bytes = state_after(2).encode();
  const auto refusal = [&bytes](std::size_t at, auto value) {
    std::vector<std::byte> changed(bytes.view().begin(), bytes.view().end());
    core::store_be(changed.data() + at, value);
    const auto decoded = ProducerState::decode(changed);
    REQUIRE_FALSE(decoded.has_value());
    return decoded.error().code;
  };
  CHECK(refusal(0, std::uint8_t{0}) == core::Errc::corruption);
  CHECK(refusal(0, std::uint8_t{2}) == core::Errc::newer_format);
  CHECK(refusal(1, std::uint8_t{2}) == core::Errc::corruption);
  CHECK(refusal(2, std::int64_t{-1}) == core::Errc::corruption);
  CHECK(refusal(10, std::int16_t{-1}) == core::Errc::corruption);
  CHECK(refusal(12, std::uint8_t{0}) == core::Errc::corruption);
  CHECK(refusal(12, std::uint8_t{6}) == core::Errc::corruption);
  CHECK(refusal(13, std::int32_t{-1}) == core::Errc::corruption);  // Base sequence.
  CHECK(refusal(17, std::int32_t{-1}) == core::Errc::corruption);  // Last sequence.
  CHECK(refusal(21, std::int64_t{-5}) == core::Errc::corruption);  // Base offset.
  CHECK(refusal(21, INT64_MAX) == core::Errc::corruption);         // Behind the second one.
}

TEST_CASE("producers out of order or twice in a snapshot are corruption") {
  const auto snapshot = [](std::int64_t first, std::int64_t second) {
    core::ByteWriter out;
    out.u8(1);
    out.varint(2);
    std::int64_t offset = 0;
    for (const std::int64_t id : {first, second}) {
      out.i64(id);
      out.i16(0);
      out.varint(1);
      out.i32(0);
      out.i32(0);
      out.i64(offset++);
      out.i64(kNow);
    }
    return ProducerState::decode(out.view()).has_value();
  };
  CHECK(snapshot(1, 2));
  CHECK_FALSE(snapshot(2, 1));
  CHECK_FALSE(snapshot(2, 2));
}

}  // namespace sentinel::consensus
