#pragma once
/// Disks to damage: for the tests of rot.

#include <string>
#include <vector>

#include "test/support/store_workload.h"

namespace sentinel::test {

/// The disk of a store after a script and a clean stop.
DiskImage written(const Script& script);

/// The paths of all files on a disk.
std::vector<std::string> files_of(const DiskImage& disk);

}  // namespace sentinel::test
