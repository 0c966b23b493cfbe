#pragma once
/// What the parts of the storage engine agree on: entries, their order, and the names of files.
///
/// An entry is (key, sequence, kind, value). Entries are ordered by key ascending, then by sequence
/// descending, so that of several entries for one key the newest comes first. Sequence numbers are
/// given out by Db, one an operation, and never reused.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/tagged.h"

namespace sentinel::lsm {

using SequenceNumber = core::Tagged<std::uint64_t, struct SequenceNumberTag>;
using FileNumber = core::Tagged<std::uint64_t, struct FileNumberTag>;

/// The first sequence number ever given out; zero means "before everything".
inline constexpr SequenceNumber kFirstSequence{1};
inline constexpr SequenceNumber kSequenceMax{(std::uint64_t{1} << 56) - 1};

enum class EntryKind : std::uint8_t {
  tombstone = 0,  ///< The key was deleted at this sequence.
  value = 1,
};

/// Limits of what one operation may hold. Checked where operations enter (WriteBatch) and where
/// they are read back.
inline constexpr std::size_t kKeyBytesMax = 4096;
inline constexpr std::size_t kValueBytesMax = std::size_t{20} << 20;

inline int compare_keys(core::ByteSpan a, core::ByteSpan b) {
  const std::size_t shared = a.size() < b.size() ? a.size() : b.size();
  // Keys are short: two words decide more often than not, and a call costs more than they do.
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  std::size_t at = 0;
  for (; at < 2 * kWord && at + kWord <= shared; at += kWord) {
    const auto word_a = core::load_be<std::uint64_t>(a.data() + at);
    const auto word_b = core::load_be<std::uint64_t>(b.data() + at);
    if (word_a != word_b) return word_a < word_b ? -1 : 1;
  }
  const int order = shared == at ? 0 : std::memcmp(a.data() + at, b.data() + at, shared - at);
  if (order != 0) return order;
  return a.size() < b.size() ? -1 : (a.size() > b.size() ? 1 : 0);
}

/// Sequence and kind in one number, as it is stored behind a key.
struct EntryTag {
  SequenceNumber sequence;
  EntryKind kind = EntryKind::value;

  [[nodiscard]] std::uint64_t packed() const {
    return (sequence.value() << 8) | static_cast<std::uint64_t>(kind);
  }
  /// `packed` comes from this program's memory or was checked with valid().
  static EntryTag unpack(std::uint64_t packed) {
    return {SequenceNumber(packed >> 8), static_cast<EntryKind>(packed & 0xff)};
  }
  static bool valid(std::uint64_t packed) { return (packed & 0xff) <= 1 && (packed >> 8) != 0; }
};

/// Where a search ends: at the first key for which `before` is false. `before` must be monotone
/// over the key order: true for a prefix of all keys, then false. A plain seek asks "key < target";
/// since a log entry's key holds several numbers that all ascend, the same search also finds an
/// entry by any of them.
struct SeekTarget {
  bool (*before)(const void* context, core::ByteSpan key) = nullptr;
  const void* context = nullptr;

  [[nodiscard]] bool is_before(core::ByteSpan key) const { return before(context, key); }
};

/// A target that is a plain key. The key outlives the target.
class KeyTarget : public SeekTarget {
 public:
  explicit KeyTarget(core::ByteSpan key) : key_(key) {
    before = [](const void* context, core::ByteSpan candidate) {
      return compare_keys(candidate, *static_cast<const core::ByteSpan*>(context)) < 0;
    };
    context = &key_;
  }
  KeyTarget(const KeyTarget&) = delete;
  KeyTarget& operator=(const KeyTarget&) = delete;

 private:
  core::ByteSpan key_;
};

std::string wal_file_name(FileNumber number);       ///< wal-00000012.log
std::string table_file_name(FileNumber number);     ///< table-00000013.sst
std::string manifest_file_name(FileNumber number);  ///< manifest-00000014.log
std::string temporary_file_name(
    FileNumber number);  ///< tmp-00000015: being written, removed at the next start

enum class FileKind : std::uint8_t { wal, table, manifest, temporary, unknown };
struct ParsedFileName {
  FileKind kind = FileKind::unknown;
  FileNumber number;
};
ParsedFileName parse_file_name(std::string_view name);

}  // namespace sentinel::lsm
