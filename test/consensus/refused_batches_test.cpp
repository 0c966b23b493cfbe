#include "consensus/refused_batches.h"

#include <doctest/doctest.h>

namespace sentinel::consensus {

using namespace std::chrono_literals;

namespace {

constexpr core::TimePoint kStart{1h};

struct Sent {
  std::int64_t producer = 1;
  std::int16_t epoch = 0;
  std::int32_t sequence = 0;
};

struct Refusals {
  RefusedBatches refused;

  static core::Bytes batch_of(const Sent& sent) {
    RecordBatchBuilder builder;
    if (sent.producer >= 0)
      builder.set_producer({.id = sent.producer, .epoch = sent.epoch}, sent.sequence);
    builder.add(0, std::nullopt, core::as_bytes("v"));
    return builder.finish();
  }
  void note(const Sent& sent, core::Duration at) {
    const core::Bytes batch = batch_of(sent);
    refused.note(*RecordBatchView::parse(batch), kStart + at);
  }
  bool has_before(const Sent& sent, core::Duration since) const {
    const core::Bytes batch = batch_of(sent);
    return refused.has_before(*RecordBatchView::parse(batch), kStart + since);
  }
};

}  // namespace

TEST_CASE_FIXTURE(Refusals, "what was refused holds back what comes behind it, and nothing else") {
  note({.sequence = 7}, 1s);
  CHECK(has_before({.sequence = 8}, 1s));
  CHECK(has_before({.sequence = 5000}, 0s));
  CHECK_FALSE(has_before({.sequence = 8}, 1s + 1ns));
  CHECK_FALSE(has_before({.sequence = 7}, 0s));
  CHECK_FALSE(has_before({.sequence = 6}, 0s));
  CHECK_FALSE(has_before({.producer = 2, .sequence = 8}, 0s));
  CHECK_FALSE(has_before({.epoch = 1, .sequence = 8}, 0s));
}

TEST_CASE_FIXTURE(Refusals, "the last refusal of a batch counts") {
  note({.sequence = 7}, 1s);
  note({.sequence = 8}, 2s);
  note({.sequence = 7}, 3s);
  CHECK(has_before({.sequence = 8}, 3s));
  CHECK_FALSE(has_before({.sequence = 7}, 0s));
}

TEST_CASE_FIXTURE(Refusals, "sequences go from the largest to zero") {
  note({.sequence = INT32_MAX}, 1s);
  CHECK(has_before({.sequence = 0}, 0s));
  CHECK_FALSE(has_before({.sequence = INT32_MAX - 1}, 0s));
}

TEST_CASE_FIXTURE(Refusals, "a batch without a producer holds nothing back") {
  note({.producer = -1}, 1s);
  CHECK_FALSE(has_before({.sequence = 8}, 0s));
}

TEST_CASE_FIXTURE(Refusals, "of very many the oldest are forgotten") {
  for (int i = 0; i < 1000; ++i) note({.producer = i, .sequence = 7}, std::chrono::seconds(i));
  CHECK_FALSE(has_before({.producer = 100, .sequence = 8}, 0s));
  CHECK(has_before({.producer = 600, .sequence = 8}, 0s));
  CHECK(has_before({.producer = 999, .sequence = 8}, 0s));
}

}  // namespace sentinel::consensus
