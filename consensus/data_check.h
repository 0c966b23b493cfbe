#pragma once
/// Checks a data directory that no server uses: its identity, and all of its stores down to the
/// checksum of every record batch.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "consensus/data_directory.h"
#include "lsm/store_check.h"

namespace sentinel::consensus {

struct DataCheck {
  Identity identity;
  std::vector<lsm::StoreCheck> stores;  ///< By store id.
};

/// `progress` as in lsm::StoreCheckOptions. Errors say why the check could not be made: not_found,
/// busy, or an identity that can't be read. Damage in the stores is part of the result.
core::Task<core::Result<DataCheck>> check_data(
    core::Shard& shard, std::string path,
    std::function<void(std::uint64_t entries, std::uint64_t bytes)> progress);

}  // namespace sentinel::consensus
