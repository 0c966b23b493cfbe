#pragma once
/// Begins to read what a walk over a store will come to.

#include <memory>

#include "core/task.h"
#include "lsm/version.h"

namespace sentinel::lsm {

/// Brings what a walk from `target` on, over keys in [begin, end), will read into the memory of
/// ReadAhead: of each level the runs one after the other, `bytes_max` or a little more. Waits for
/// indexes, not for data. Ends early when that memory has no room for guesses, or when something
/// can't be read: whoever walks there finds out.
core::Task<void> look_ahead(std::shared_ptr<const Version> version, const SeekTarget& target,
                            core::Bytes begin, core::Bytes end, std::uint64_t bytes_max);

}  // namespace sentinel::lsm
