#include "lsm/skiplist.h"

namespace sentinel::lsm {

namespace {
// A fourth of the nodes of each level reaches the next.
constexpr std::uint64_t kBranchingMask = 3;
// A hint that has fallen so far behind is not worth walking from.
constexpr int kStepsFromHint = 8;
}  // namespace

SkipList::SkipList(Arena& arena, std::uint64_t seed) : arena_(arena), random_(seed | 1) {
  head_ = reinterpret_cast<Node*>(arena_.allocate(sizeof(Node) + kHeightMax * sizeof(Link)));
  *head_ = Node{.tag = 0,
                .value = nullptr,
                .value_bytes = 0,
                .key_bytes = 0,
                .external = 0,
                .height = kHeightMax};
  for (int level = 0; level < kHeightMax; ++level) head_->tower()[level] = Link{nullptr, 0};
  last_.fill(head_);
}

std::uint64_t SkipList::prefix_of(core::ByteSpan key) {
  if (key.size() >= sizeof(std::uint64_t)) return core::load_be<std::uint64_t>(key.data());
  std::array<std::byte, sizeof(std::uint64_t)> padded{};
  std::copy(key.begin(), key.end(), padded.begin());
  return core::load_be<std::uint64_t>(padded.data());
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
  Hint& hint = hint_of(position.prefix);
  const bool hinted = hint.splice[0] != nullptr && hint.prefix == position.prefix;
  if (hinted && advance(hint.splice, position)) {
    last_ = hint.splice;
  } else if (!advance(last_, position)) {
    search(last_, position);
  }
  const int height = random_height();
  for (; height_ < height; ++height_) last_[static_cast<std::size_t>(height_)] = head_;
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
    Link& before = last_[static_cast<std::size_t>(level)]->tower()[level];
    node->tower()[level] = before;
    before = Link{node, position.prefix};
    last_[static_cast<std::size_t>(level)] = node;
  }
  std::memcpy(reinterpret_cast<std::byte*>(node->tower() + height), key.data(), key.size());
  hint.prefix = position.prefix;
  hint.splice = last_;
  return node;
}

/// Moves a remembered splice up to `position`. False when it lies behind it, or too far before it;
/// then it is of no use.
bool SkipList::advance(Splice& splice, const Position& position) const {
  if (splice[0] != head_ && !node_is_before(*splice[0], position)) return false;
  for (int level = 0; level < height_; ++level) {
    Node*& at = splice[static_cast<std::size_t>(level)];
    if (at == nullptr) at = head_;
    int steps = 0;
    while (is_before(at->tower()[level], position)) {
      if (++steps > kStepsFromHint) return false;
      at = at->tower()[level].node;
    }
  }
  return true;
}

void SkipList::search(Splice& splice, const Position& position) const {
  Node* node = head_;
  for (int level = height_ - 1; level >= 0; --level) {
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
       bits >>= 2)
    ++height;
  return height;
}

}  // namespace sentinel::lsm
