#pragma once
/// Fills a memtable with replayed batches in the order of their keys.
///
/// A skip list takes ascending keys in constant time, while each key in any other order costs it a
/// search that misses the processor's caches most of the way down. Whoever replays a log has many
/// keys at once, and nobody reads meanwhile.

#include <vector>

#include "lsm/memtable.h"
#include "lsm/write_batch.h"

namespace sentinel::lsm {

class SortedReplay {
 public:
  /// Collects about `bytes_max` of batches before it sorts them. `memtable` outlives it.
  SortedReplay(Memtable& memtable, std::size_t bytes_max)
      : memtable_(memtable), bytes_max_(bytes_max) {}

  void add(WriteBatch batch);
  /// Behind the last batch: the memtable then has them all.
  void finish();

 private:
  Memtable& memtable_;
  const std::size_t bytes_max_;
  std::vector<WriteBatch> batches_;
  std::size_t bytes_ = 0;
};

}  // namespace sentinel::lsm
