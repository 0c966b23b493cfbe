#include "lsm/key_ranges.h"

#include <algorithm>

namespace sentinel::lsm {

KeyRanges::Ranges::const_iterator KeyRanges::at_or_before(core::ByteSpan key) const {
  auto behind = ranges_.upper_bound(core::as_text(key));
  return behind == ranges_.begin() ? ranges_.end() : std::prev(behind);
}

void KeyRanges::add(core::ByteSpan begin, core::ByteSpan end) {
  std::string first(core::as_text(begin));
  std::string last(core::as_text(end));
  if (first >= last) return;
  const auto before = at_or_before(begin);
  if (before != ranges_.end() && before->second >= first) {
    first = before->first;
    last = std::max(last, before->second);
  }
  auto at = ranges_.lower_bound(first);
  while (at != ranges_.end() && at->first <= last) {
    last = std::max(last, at->second);
    at = ranges_.erase(at);
  }
  ranges_.emplace(std::move(first), std::move(last));
}

bool KeyRanges::contains(core::ByteSpan key) const {
  const auto range = at_or_before(key);
  return range != ranges_.end() && core::as_text(key) < range->second;
}

bool KeyRanges::covers(core::ByteSpan smallest, core::ByteSpan largest) const {
  const auto range = at_or_before(smallest);
  return range != ranges_.end() && core::as_text(largest) < range->second;
}

}  // namespace sentinel::lsm
