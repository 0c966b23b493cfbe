#pragma once
/// The ordered set behind a memtable: a skip list in an arena, with one writer and no removal
/// (Pugh, "Skip Lists: A Probabilistic Alternative to Balanced Trees").
///
/// Two things make it fast. A link carries the first sixteen bytes of the key it leads to, so that
/// most comparisons touch no other cache line. And the place of recent insertions is remembered,
/// the last one and one for each of some key prefixes, so that a search begins where it leaves that
/// place: ascending keys are inserted in constant time, also when several ascending runs
/// (partitions) interleave.

#include <array>
#include <cstdint>

#include "core/bytes.h"
#include "lsm/arena.h"
#include "lsm/format.h"

namespace sentinel::lsm {

class SkipList {
 public:
  static constexpr int kHeightMax = 20;

  struct Node;
  /// The first bytes of a key as a number, padded with zeros: where two prefixes differ, they are
  /// ordered as their keys are.
  struct Prefix {
    std::uint64_t high = 0;
    std::uint64_t low = 0;

    friend auto operator<=>(const Prefix&, const Prefix&) = default;
  };
  struct Link {
    Node* node;
    Prefix prefix;  // Of the key of `node`.
  };
  /// Followed in memory by its tower of links, its key, and its value if that is stored inline.
  struct Node {
    std::uint64_t tag;
    const std::byte* value;
    std::uint32_t value_bytes;
    std::uint32_t key_bytes;
    std::uint32_t
        external;  // One more than the index of a value held by reference; 0 for an inline value.
    std::uint32_t height;

    [[nodiscard]] Link* tower() { return reinterpret_cast<Link*>(this + 1); }
    [[nodiscard]] const Link* tower() const { return reinterpret_cast<const Link*>(this + 1); }
    [[nodiscard]] const Node* next() const { return tower()[0].node; }
    [[nodiscard]] core::ByteSpan key() const {
      return {reinterpret_cast<const std::byte*>(tower() + height), key_bytes};
    }
    [[nodiscard]] EntryTag entry_tag() const { return EntryTag::unpack(tag); }
  };

  /// `seed` decides the heights. `arena` outlives the list.
  SkipList(Arena& arena, std::uint64_t seed);

  /// Adds an entry, which must not be there yet, and returns its node with room for
  /// `inline_value_bytes` behind the key, to be filled by the caller.
  Node* insert(core::ByteSpan key, EntryTag tag, std::size_t inline_value_bytes);

  [[nodiscard]] const Node* first() const { return head_->next(); }
  /// The first node that is not before (key, tag).
  [[nodiscard]] const Node* find(core::ByteSpan key, EntryTag tag) const;
  /// The first node whose key is not before the target.
  [[nodiscard]] const Node* find(const SeekTarget& target) const {
    return last_before(target)->next();
  }
  /// The last node whose key is before the target; null when there is none.
  [[nodiscard]] const Node* find_last_before(const SeekTarget& target) const {
    const Node* node = last_before(target);
    return node == head_ ? nullptr : node;
  }

  [[nodiscard]] static Prefix prefix_of(core::ByteSpan key);

 private:
  using Splice = std::array<Node*, kHeightMax>;  // Per level, the node behind which an entry goes.
  struct Position {
    Prefix prefix;
    core::ByteSpan key;
    std::uint64_t tag;
  };
  /// The place of the last insertion of a key that began with these eight bytes.
  struct Hint {
    std::uint64_t prefix = 0;
    Splice splice{};
  };
  static constexpr std::size_t kHints = 64;

  [[nodiscard]] static bool is_before(const Link& link, const Position& position);
  [[nodiscard]] static bool node_is_before(const Node& node, const Position& position);
  [[nodiscard]] const Node* last_before(const SeekTarget& target) const;
  [[nodiscard]] Hint& hint_of(std::uint64_t prefix);
  void search(Splice& splice, const Position& position) const;
  int random_height();

  Arena& arena_;
  Node* head_;
  int height_ = 1;
  std::uint64_t random_;
  std::array<Hint, kHints> hints_;
};

}  // namespace sentinel::lsm
