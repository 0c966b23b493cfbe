#include "consensus/entry_key.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

namespace sentinel::consensus {

namespace {

constexpr std::size_t kTermAt = 8;
constexpr std::size_t kIndexAt = 12;
constexpr std::size_t kEndOffsetAt = 20;
constexpr std::size_t kTimestampAt = 28;
constexpr std::size_t kBytesAt = 36;
constexpr std::size_t kTypeAt = 44;
constexpr std::size_t kKeyBytes = 45;
constexpr std::uint64_t kStatePrefix = UINT64_MAX;
constexpr std::uint64_t kIndexPrefix = UINT64_MAX - 1;
constexpr std::size_t kIndexRecordKeyAt = 16;

/// Signed numbers sort as unsigned ones once their sign bit is flipped.
std::uint64_t ordered(std::int64_t value) {
  return static_cast<std::uint64_t>(value) ^ (std::uint64_t{1} << 63);
}
std::int64_t unordered(std::uint64_t value) {
  return static_cast<std::int64_t>(value ^ (std::uint64_t{1} << 63));
}

}  // namespace

core::Bytes EntryKey::encode() const {
  core::ByteWriter out;
  out.u64(group.value());
  out.u32(core::narrow<std::uint32_t>(term.value()));
  out.u64(index.value());
  out.u64(ordered(end_offset.value()));
  out.u64(ordered(max_timestamp));
  out.u64(end_bytes);
  out.u8(static_cast<std::uint8_t>(type));
  return out.to_bytes();
}

core::Result<EntryKey> EntryKey::decode(core::ByteSpan key) {
  core::ByteReader in(key);
  EntryKey entry;
  entry.group = GroupId(in.u64());
  entry.term = Term(in.u32());
  entry.index = LogIndex(in.u64());
  entry.end_offset = Offset(unordered(in.u64()));
  entry.max_timestamp = unordered(in.u64());
  entry.end_bytes = in.u64();
  const std::uint8_t type = in.u8();
  if (in.failed() || in.remaining() != 0 || entry.group.value() >= kIndexPrefix ||
      type > static_cast<std::uint8_t>(EntryType::command)) {
    return core::fail(core::Errc::corruption, "malformed log entry key");
  }
  entry.type = static_cast<EntryType>(type);
  return entry;
}

LogPosition position_of(core::ByteSpan key) {
  SENTINEL_ASSERT(key.size() == kKeyBytes);
  return {LogIndex(core::load_be<std::uint64_t>(key.data() + kIndexAt)),
          Term(core::load_be<std::uint32_t>(key.data() + kTermAt))};
}

core::Bytes state_key(GroupId group, StateKind kind) {
  core::ByteWriter out;
  out.u64(kStatePrefix);
  out.u8(static_cast<std::uint8_t>(kind));
  out.u64(group.value());
  return out.to_bytes();
}

core::Result<StateKey> StateKey::decode(core::ByteSpan key) {
  core::ByteReader in(key);
  const std::uint64_t prefix = in.u64();
  const auto kind = static_cast<StateKind>(in.u8());
  const GroupId group(in.u64());
  const bool known = kind >= StateKind::snapshot && kind <= StateKind::left;
  if (in.failed() || in.remaining() != 0 || prefix != kStatePrefix || !known)
    return core::fail(core::Errc::corruption, "malformed state key");
  return StateKey{.kind = kind, .group = group};
}

core::Bytes states_begin() {
  core::ByteWriter out;
  out.u64(kStatePrefix);
  return out.to_bytes();
}

core::Bytes index_key(GroupId group, core::ByteSpan record_key) {
  core::ByteWriter out;
  out.bytes(index_begin(group));
  if (record_key.size() <= kIndexedKeyBytesMax) {
    out.bytes(record_key);
    return out.to_bytes();
  }
  // Longer than any key that stands there whole, so never the same as one of those.
  const XXH128_hash_t hash = XXH3_128bits(record_key.data(), record_key.size());
  out.bytes(record_key.first(kIndexedKeyBytesMax));
  out.u64(hash.high64);
  out.u64(hash.low64);
  return out.to_bytes();
}

core::Bytes index_begin(GroupId group) {
  core::ByteWriter out;
  out.u64(kIndexPrefix);
  out.u64(group.value());
  return out.to_bytes();
}

core::Bytes entries_begin(GroupId group) {
  core::ByteWriter out;
  out.u64(group.value());
  return out.to_bytes();
}

core::Bytes entries_behind(GroupId group, const EntryKey& before) {
  core::ByteWriter out;
  out.u64(group.value());
  out.u32(core::narrow<std::uint32_t>(before.term.value()));
  out.u64(before.index.value() + 1);
  return out.to_bytes();
}

core::Bytes entries_end(GroupId group) { return entries_begin(GroupId(group.value() + 1)); }

bool is_index_key(core::ByteSpan key) {
  return key.size() >= kIndexRecordKeyAt &&
         core::load_be<std::uint64_t>(key.data()) == kIndexPrefix;
}

namespace {

std::string_view name_of(StateKind kind) {
  switch (kind) {
    case StateKind::snapshot: return "snapshot";
    case StateKind::log_start: return "log start";
    case StateKind::cleaning: return "cleaning";
    case StateKind::hard_state: return "term and vote";
    case StateKind::members: return "members";
    case StateKind::terms: return "terms";
    case StateKind::left: return "left";
  }
  return "state";
}

std::string hex_of(core::ByteSpan bytes) {
  std::string hex;
  for (const std::byte each : bytes) hex += fmt::format("{:02x}", static_cast<unsigned>(each));
  return hex;
}

}  // namespace

std::string describe_key(core::ByteSpan key) {
  if (const auto entry = EntryKey::decode(key)) {
    return fmt::format(
        "group {} index {} end offset {} term {} max timestamp {} end bytes {} type {}",
        entry->group, entry->index, entry->end_offset, entry->term, entry->max_timestamp,
        entry->end_bytes, static_cast<int>(entry->type));
  }
  if (const auto state = StateKey::decode(key)) {
    return fmt::format("{} of group {}", name_of(state->kind), state->group);
  }
  if (is_index_key(key)) {
    return fmt::format("index of group {} record key {}",
                       core::load_be<std::uint64_t>(key.data() + sizeof(std::uint64_t)),
                       hex_of(key.subspan(kIndexRecordKeyAt)));
  }
  return "key " + hex_of(key);
}

EntryTarget::EntryTarget(GroupId group, std::uint64_t value, std::size_t field)
    : group_(group), value_(value), field_(field) {
  before = &is_entry_before;
  context = this;
}

EntryTarget EntryTarget::index(GroupId group, LogIndex index) {
  return EntryTarget(group, index.value(), kIndexAt);
}
EntryTarget EntryTarget::offset(GroupId group, Offset offset) {
  return EntryTarget(group, ordered(offset.value()) + 1, kEndOffsetAt);
}
EntryTarget EntryTarget::after_term(GroupId group, Term term) {
  return EntryTarget(group, term.value() + 1, kTermAt);
}
EntryTarget EntryTarget::within(Term term) const {
  EntryTarget target = *this;
  target.term_ = term;
  return target;
}
EntryTarget EntryTarget::timestamp(GroupId group, std::int64_t timestamp) {
  return EntryTarget(group, ordered(timestamp), kTimestampAt);
}
EntryTarget EntryTarget::bytes(GroupId group, std::uint64_t end_bytes) {
  return EntryTarget(group, end_bytes + 1, kBytesAt);
}
EntryTarget EntryTarget::end(GroupId group) { return EntryTarget(group, 0, kTypeAt); }

bool EntryTarget::is_before(const EntryKey& entry) const {
  switch (field_) {
    case kTermAt: return entry.term.value() < value_;
    case kIndexAt: return entry.index.value() < value_;
    case kEndOffsetAt: return ordered(entry.end_offset.value()) < value_;
    case kTimestampAt: return ordered(entry.max_timestamp) < value_;
    case kBytesAt: return entry.end_bytes < value_;
    default: return true;
  }
}

bool EntryTarget::is_entry_before(const void* target, core::ByteSpan key) {
  const auto& self = *static_cast<const EntryTarget*>(target);
  if (key.size() < sizeof(std::uint64_t)) return false;  // Every key of ours has a group.
  const auto group = core::load_be<std::uint64_t>(key.data());
  if (group != self.group_.value()) return group < self.group_.value();
  if (key.size() < kKeyBytes) return true;
  const Term term(core::load_be<std::uint32_t>(key.data() + kTermAt));
  if (self.term_.has_value() && term != *self.term_) return term < *self.term_;
  if (self.field_ == kTypeAt) return true;
  if (self.field_ == kTermAt) return term.value() < self.value_;
  return core::load_be<std::uint64_t>(key.data() + self.field_) < self.value_;
}

}  // namespace sentinel::consensus
