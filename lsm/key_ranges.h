#pragma once
/// A set of keys made of half-open ranges.

#include <map>
#include <string>

#include "core/bytes.h"

namespace sentinel::lsm {

class KeyRanges {
 public:
  /// Adds [begin, end); ranges that touch become one.
  void add(core::ByteSpan begin, core::ByteSpan end);
  [[nodiscard]] bool contains(core::ByteSpan key) const;
  /// Whether all keys in [smallest, largest] are in the set.
  [[nodiscard]] bool covers(core::ByteSpan smallest, core::ByteSpan largest) const;
  [[nodiscard]] bool empty() const { return ranges_.empty(); }

 private:
  using Ranges = std::map<std::string, std::string, std::less<>>;

  /// The range that begins at or before the key, or end().
  [[nodiscard]] Ranges::const_iterator at_or_before(core::ByteSpan key) const;

  Ranges ranges_;  // Begin to end.
};

}  // namespace sentinel::lsm
