#include "lsm/sorted_replay.h"

#include <algorithm>
#include <utility>

namespace sentinel::lsm {

namespace {

// What a batch and an operation take beside their bytes.
constexpr std::size_t kBatchBytes = sizeof(WriteBatch) + 64;
constexpr std::size_t kOperationBytes = sizeof(WriteBatch::Operation) + 32;

/// One operation, with the first bytes of its key: comparing those seldom leaves the row.
struct Row {
  SkipList::Prefix prefix;
  const WriteBatch* batch = nullptr;
  std::uint32_t index = 0;

  [[nodiscard]] const WriteBatch::Operation& operation() const {
    return batch->operations()[index];
  }
  [[nodiscard]] core::ByteSpan key() const { return batch->key(operation()); }
  [[nodiscard]] SequenceNumber sequence() const { return batch->first_sequence() + index; }
};

/// In the order of the memtable: of one key the newest first.
bool is_before(const Row& a, const Row& b) {
  if (a.prefix != b.prefix) return a.prefix < b.prefix;
  const int order = compare_keys(a.key(), b.key());
  return order != 0 ? order < 0 : a.sequence() > b.sequence();
}

}  // namespace

void SortedReplay::add(WriteBatch batch) {
  bytes_ += batch.body_bytes() + kBatchBytes + batch.count() * kOperationBytes;
  batches_.push_back(std::move(batch));
  if (bytes_ >= bytes_max_) finish();
}

void SortedReplay::finish() {
  std::vector<Row> rows;
  for (const WriteBatch& batch : batches_) {
    for (std::uint32_t i = 0; i < batch.count(); ++i)
      rows.push_back({SkipList::prefix_of(batch.key(batch.operations()[i])), &batch, i});
  }
  std::ranges::sort(rows, is_before);
  for (const Row& row : rows) {
    const WriteBatch::Operation& operation = row.operation();
    memtable_.add({.sequence = row.sequence(), .kind = operation.kind}, row.key(), operation.value);
  }
  batches_.clear();
  bytes_ = 0;
}

}  // namespace sentinel::lsm
