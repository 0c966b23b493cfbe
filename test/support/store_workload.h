#pragma once
/// A scripted workload on one store, what it leaves, and a program that opens a disk and reads
/// everything back: for the tests of crashes and of damage.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lsm/db.h"
#include "test/support/sim_world.h"

namespace sentinel::test {

/// One of several workloads: which sizes meet which batch, and how many run at a time.
struct Script {
  int variant = 0;
  int batches = 40;
  /// Whether the first keys are discarded on the way: from then on they say nothing.
  bool discards = false;
  /// Whether most batches are only queued: they are durable together with a later one that is not.
  bool queues = false;

  [[nodiscard]] lsm::Durability durability(int batch) const {
    return queues && (batch + variant) % 7 != 6 ? lsm::Durability::queued
                                                : lsm::Durability::on_disk;
  }
  [[nodiscard]] int together(int batch) const { return 1 + (batch + variant) % (2 + variant % 4); }
  [[nodiscard]] bool flushes_before(int batch) const { return (batch + 3 * variant) % 23 == 20; }
};

using Contents = std::map<std::string, std::string>;

/// The batches of a script that discards whose own keys are given up, and before which.
inline constexpr int kDiscardedBatches = 12;
inline constexpr int kDiscardsBefore = 30;
/// What counts of a store's contents.
Contents without_discarded(const Script& script, Contents contents);

/// What the store holds after the first `count` batches.
Contents contents_after(const Script& script, int count);

/// Makes the store "/store" and writes the script: some batches one after the other, some at the
/// same time, with flushes on the way.
class Writer final : public NodeProgram {
 public:
  /// Counts the batches that are said to be on disk in `acked`.
  Writer(const NodeContext& context, Script script, int* acked);
  ~Writer() override;
  core::Task<void> run(core::Shard& shard) override;
  void request_stop() override {}
  [[nodiscard]] bool done() const { return done_; }
  /// Why the store could not be opened.
  [[nodiscard]] const std::optional<std::string>& error() const { return error_; }
  /// What the store did, once done.
  [[nodiscard]] const lsm::DbCounters& counters() const { return counters_; }

 private:
  const Script script_;
  std::unique_ptr<lsm::Db> db_;
  core::TaskScope scope_;
  int* acked_;
  lsm::DbCounters counters_;
  std::optional<std::string> error_;
  bool done_ = false;
};

struct Recovered {
  std::optional<std::string> error;  ///< Why the store could not be opened or read.
  Contents contents;
  DiskImage disk;  ///< After the store was closed.
};

/// Opens the store on a disk, reads all of it and closes it.
Recovered recover(const DiskImage& image, bool create);

/// What the offline check finds wrong with the store on a disk. `after` is the disk behind it.
std::vector<std::string> find_problems(const DiskImage& image, DiskImage& after);

/// A disk on which a store can be made.
DiskImage empty_disk();

}  // namespace sentinel::test
