#include "consensus/partition_command.h"

namespace sentinel::consensus {

core::Bytes PartitionCommand::encode() const {
  core::ByteWriter out;
  out.i64(released.value());
  out.bytes(start.encode());
  return out.to_bytes();
}

core::Result<PartitionCommand> PartitionCommand::decode(core::ByteSpan bytes) {
  core::ByteReader in(bytes);
  PartitionCommand command;
  command.released = Offset(in.i64());
  if (in.failed())
    return core::fail(core::Errc::corruption, "malformed command in a partition's log");
  SENTINEL_TRY(start, LogStart::decode(in.rest()));
  command.start = start;
  return command;
}

}  // namespace sentinel::consensus
