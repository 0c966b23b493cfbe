#include "lsm/skiplist.h"

#include <algorithm>
#include <compare>

namespace sentinel::lsm {

namespace {
// Half of the nodes of each level reach the next. A smaller share would save links but make a
// search visit more nodes, and visits are what it costs: looking at a link and not following it is
// free.
constexpr std::uint64_t kBranchingMask = 1;
}  // namespace

SkipList::SkipList(Arena& arena, std::uint64_t seed) : arena_(arena), random_(seed | 1) {
  head_ = reinterpret_cast<Node*>(arena_.allocate(sizeof(Node) + kHeightMax * sizeof(Link)));
  *head_ = Node{.tag = 0,
                .value = nullptr,
                .value_bytes = 0,
                .key_bytes = 0,
                .external = 0,
                .height = kHeightMax};
  for (int level = 0; level < kHeightMax; ++level) head_->tower()[level] = Link{nullptr, {}};
}

SkipList::Prefix SkipList::prefix_of(core::ByteSpan key) {
  std::array<std::byte, sizeof(Prefix)> padded{};
  const std::byte* bytes = key.data();
  if (key.size() < sizeof(Prefix)) {
    std::copy(key.begin(), key.end(), padded.begin());
    bytes = padded.data();
  }
  return {core::load_be<std::uint64_t>(bytes),
          core::load_be<std::uint64_t>(bytes + sizeof(std::uint64_t))};
}

bool SkipList::node_is_before(const Node& node, const Position& position) {
  const int order = compare_keys(node.key(), position.key);
  // Of one key the newest entry, with the highest tag, comes first.
  return order != 0 ? order < 0 : node.tag > position.tag;
}

bool SkipList::is_before(const Link& link, const Position& position) {
  if (link.node == nullptr) return false;
  if (link.prefix != position.prefix) return link.prefix < position.prefix;
  return node_is_before(*link.node, position);
}

SkipList::Hint& SkipList::hint_of(std::uint64_t prefix) {
  return hints_[(prefix * 0x9e3779b97f4a7c15) >> 58];
}

SkipList::Node* SkipList::insert(core::ByteSpan key, EntryTag tag, std::size_t inline_value_bytes) {
  const Position position{prefix_of(key), key, tag.packed()};
  Hint& hint = hint_of(position.prefix.high);
  if (hint.prefix != position.prefix.high || hint.splice[0] == nullptr) hint.splice.fill(head_);
  hint.prefix = position.prefix.high;
  Splice& splice = hint.splice;
  search(splice, position);

  const int height = random_height();
  height_ = std::max(height_, height);
  const auto tower_bytes = static_cast<std::size_t>(height) * sizeof(Link);
  auto* node = reinterpret_cast<Node*>(
      arena_.allocate(sizeof(Node) + tower_bytes + key.size() + inline_value_bytes));
  *node = Node{.tag = position.tag,
               .value = nullptr,
               .value_bytes = 0,
               .key_bytes = static_cast<std::uint32_t>(key.size()),
               .external = 0,
               .height = static_cast<std::uint32_t>(height)};
  for (int level = 0; level < height; ++level) {
    Link& before = splice[static_cast<std::size_t>(level)]->tower()[level];
    node->tower()[level] = before;
    before = Link{node, position.prefix};
    splice[static_cast<std::size_t>(level)] = node;
  }
  std::memcpy(reinterpret_cast<std::byte*>(node->tower() + height), key.data(), key.size());
  return node;
}

/// Moves a splice to `position`. When it lies before it, as with ascending keys, the levels on
/// which nothing was inserted between the two stay as they are; below them it is an ordinary
/// search.
void SkipList::search(Splice& splice, const Position& position) const {
  int level = height_ - 1;
  Node* node = head_;
  if (splice[0] != head_ && node_is_before(*splice[0], position)) {
    for (; level >= 0; --level) {
      node = splice[static_cast<std::size_t>(level)];
      if (is_before(node->tower()[level], position)) break;
    }
  }
  for (; level >= 0; --level) {
    while (is_before(node->tower()[level], position)) node = node->tower()[level].node;
    splice[static_cast<std::size_t>(level)] = node;
  }
}

const SkipList::Node* SkipList::find(core::ByteSpan key, EntryTag tag) const {
  const Position position{prefix_of(key), key, tag.packed()};
  const Node* node = head_;
  for (int level = height_ - 1; level >= 0; --level) {
    while (is_before(node->tower()[level], position)) node = node->tower()[level].node;
  }
  return node->next();
}

const SkipList::Node* SkipList::last_before(const SeekTarget& target) const {
  const Node* node = head_;
  for (int level = height_ - 1; level >= 0; --level) {
    for (;;) {
      const Node* next = node->tower()[level].node;
      if (next == nullptr || !target.is_before(next->key())) break;
      node = next;
    }
  }
  return node;
}

int SkipList::random_height() {
  // xorshift64: cheap, and good enough for a coin.
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  int height = 1;
  for (std::uint64_t bits = random_ >> 16; height < kHeightMax && (bits & kBranchingMask) == 0;
       bits >>= 1)
    ++height;
  return height;
}

}  // namespace sentinel::lsm
