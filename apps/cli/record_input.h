#pragma once
/// Where the records of `produce` come from: a message repeated, or the lines of a file or of
/// standard input.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/cli/options.h"
#include "core/bytes.h"
#include "core/result.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::apps {

struct InputRecord {
  std::optional<core::ByteSpan> key;
  std::optional<core::ByteSpan> value;
};

class RecordInput {
 public:
  /// `options` outlives the input.
  RecordInput(core::Shard& here, core::Shard& blocking, const ProduceOptions& options);
  ~RecordInput();
  RecordInput(const RecordInput&) = delete;
  RecordInput& operator=(const RecordInput&) = delete;

  core::Status open();
  /// Makes more records available; false at the end. Waits for the input.
  core::Task<core::Result<bool>> load();
  /// The next record without waiting, nothing when load() is due. Its views are valid until the
  /// next call of next() or load().
  core::Result<std::optional<InputRecord>> next();

 private:
  std::optional<InputRecord> next_message();
  core::Result<std::optional<InputRecord>> next_line();
  core::Result<InputRecord> split(core::ByteSpan line);

  core::Shard& here_;
  core::Shard& blocking_;
  const ProduceOptions& options_;
  const bool from_lines_;

  std::int64_t produced_ = 0;
  std::string message_;

  int descriptor_ = 0;
  std::string name_ = "standard input";
  core::Bytes block_;
  std::size_t position_ = 0;
  std::vector<std::byte> partial_;  // The beginning of a line that goes on in the next block.
  std::vector<std::byte> joined_;  // The line that next() returned, when it came in several blocks.
  bool ended_ = false;
  std::int64_t lines_ = 0;
};

}  // namespace sentinel::apps
