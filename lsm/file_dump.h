#pragma once
/// What stands in a file of a store, a line an item, for people who look into one: write-ahead log
/// segments, SSTables and manifests. Needs the file alone, and changes nothing.

#include <functional>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::lsm {

struct FileDumpOptions {
  std::string path;  ///< Its name says what it is and its number.
  /// What a key means, by the floor above.
  std::function<std::string(core::ByteSpan key)> describe_key;
  std::function<void(std::string_view line)> print;
};

/// Prints up to the end or to the first damage, which is the error. Errc::invalid_argument for a
/// name that no file of a store has.
core::Task<core::Status> dump_file(core::Shard& shard, FileDumpOptions options);

}  // namespace sentinel::lsm
