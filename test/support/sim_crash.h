#pragma once
/// What a crash may leave of a disk: one drawn outcome, or every outcome within bounds.

#include <cstdint>
#include <set>
#include <vector>

#include "core/random.h"
#include "test/support/sim_disk_image.h"

namespace sentinel::test {

struct CrashPolicy {
  enum class Writes : std::uint8_t {
    random,    ///< Each change whole, not at all, as a prefix or as any subset of its sectors.
    keep_all,  ///< A killed process: the operating system writes everything back.
    lose_all,  ///< Nothing but what was synced.
  };
  enum class Names : std::uint8_t {
    any_order,  ///< POSIX: any changes of names, in order for one name.
    ordered,    ///< A journaling file system: a prefix of the changes.
  };
  Writes writes = Writes::random;
  Names names = Names::any_order;
};

DiskImage crash(const DiskImage& image, const CrashPolicy& policy, core::Random& random);

struct CrashLimits {
  std::size_t subset_units_max = 6;   ///< Every subset, when no more changes than this are pending.
  std::size_t torn_sectors_max = 64;  ///< Of one write; a larger one is torn at as many places.
};

/// The disks that a crash at one moment may leave, without repetitions: nothing pending, all of it,
/// each change missing, each alone, every subset of few, and each write in flight torn: every
/// prefix, each sector missing, each sector alone, its size without its bytes; each of these with
/// all and with none of the rest.
///
///   CrashStates states(image);
///   DiskImage after;
///   while (states.next(after)) ...
class CrashStates {
 public:
  explicit CrashStates(DiskImage image, CrashLimits limits = {});

  /// False when there are no more.
  bool next(DiskImage& out);

 private:
  enum class Shape : std::uint8_t { none, all, missing, alone, subset, prefix, hole, single, size };
  struct Plan {
    Shape shape = Shape::none;
    bool others = false;   ///< Whether all other changes survive, for the shapes of one write.
    std::size_t unit = 0;  ///< For Shape::subset: the members as bits.
    std::size_t sector = 0;
  };
  void plan_tears(std::size_t unit);
  [[nodiscard]] std::vector<Survival> survival(const Plan& plan) const;

  const DiskImage image_;
  const CrashLimits limits_;
  const std::vector<PendingUnit> units_;
  std::vector<Plan> plans_;
  std::size_t next_plan_ = 0;
  std::set<std::uint64_t> seen_;
};

}  // namespace sentinel::test
