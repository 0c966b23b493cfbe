#pragma once
/// What a command in a partition's log has all of its replicas do.

#include "consensus/replica.h"
#include "core/bytes.h"
#include "core/result.h"

namespace sentinel::consensus {

struct PartitionCommand {
  /// Where the log begins from now on; nothing new when it is as it was made. Replica::trim().
  LogStart start{};
  /// Tombstones below may go, as all replicas have them; see CompactedLog.
  Offset released{0};

  [[nodiscard]] core::Bytes encode() const;
  /// Errc::corruption for anything but what encode() makes.
  static core::Result<PartitionCommand> decode(core::ByteSpan bytes);
};

}  // namespace sentinel::consensus
