#pragma once
/// Standard input, standard output and progress. Reads and writes of pipes and terminals block, so
/// they run on a shard of their own while the client goes on.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/result.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::apps {

/// The next bytes of an open descriptor, about 1 MiB where the writer is fast; what there is when
/// it pauses; empty at the end. For the shard that may block.
core::Task<core::Result<core::Bytes>> read_block(int descriptor, std::string name);
/// Writes everything to standard output. Errc::reset when the reader has gone. For the shard that
/// may block.
core::Task<core::Status> write_block(core::Bytes text);

/// Collects text for standard output and writes it in large pieces.
class Printer {
 public:
  Printer(core::Shard& here, core::Shard& blocking) : here_(here), blocking_(blocking) {}
  [[nodiscard]] std::string& buffer() { return buffer_; }
  [[nodiscard]] bool full() const;
  core::Task<core::Status> flush();

 private:
  core::Shard& here_;
  core::Shard& blocking_;
  std::string buffer_;
};

/// One line on standard error that is written over again, when that is a terminal and the work
/// takes long.
class Progress {
 public:
  /// `shown` false: never.
  Progress(core::Shard& shard, bool shown);
  void update(std::string_view verb, std::int64_t records, std::uint64_t bytes);
  void update(std::string_view line);
  /// Takes the line away.
  void clear();

 private:
  core::Shard& shard_;
  const bool shown_;
  core::TimePoint next_;
  bool drawn_ = false;
};

/// Whether SIGINT or SIGTERM arrived since catch_interrupts().
void catch_interrupts();
bool interrupted();

}  // namespace sentinel::apps
