/// Decoders of what this program stores for itself: metadata images and commands, manifest edits,
/// log entry keys. They refuse the bytes or give a value that encodes to the same bytes.
///
/// Input: what to decode (1 byte), then the bytes.

#include <cstdint>
#include <cstdlib>

#include "consensus/entry_key.h"
#include "consensus/metadata.h"
#include "core/codec.h"
#include "lsm/manifest.h"

namespace sentinel {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void image(core::ByteSpan bytes) {
  const auto decoded = consensus::MetadataImage::decode(bytes);
  if (!decoded) return;
  // Topics are kept in the order of their names, so only the second encoding has to be stable.
  const core::Bytes once = decoded->encode();
  const auto again = consensus::MetadataImage::decode(once);
  require(again.has_value() && core::equal(again->encode(), once));
}

void commands(core::ByteSpan bytes) {
  consensus::MetadataImage state;
  core::ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    const core::ByteSpan command =
        reader.take(std::min<std::size_t>(reader.u8(), reader.remaining()));
    if (!state.apply(command)) return;
    require(state.partition_count() <= consensus::kPartitionsMax);
  }
}

void edit(core::ByteSpan bytes) {
  const auto decoded = core::decode_fields<lsm::VersionEdit>(bytes);
  if (!decoded) return;
  lsm::FileSet files;
  if (!files.apply(*decoded)) return;
  lsm::FileSet again;
  for (const lsm::VersionEdit& part : files.snapshot()) require(again.apply(part).has_value());
  require(again.tables.size() == files.tables.size() && again.wals.size() == files.wals.size() &&
          again.runs.size() == files.runs.size());
}

void key(core::ByteSpan bytes) {
  const auto decoded = consensus::EntryKey::decode(bytes);
  if (decoded) require(core::equal(decoded->encode(), bytes));
}

}  // namespace
}  // namespace sentinel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sentinel;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const core::ByteSpan bytes = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 4) {
    case 0: image(bytes); break;
    case 1: commands(bytes); break;
    case 2: edit(bytes); break;
    default: key(bytes); break;
  }
  return 0;
}
