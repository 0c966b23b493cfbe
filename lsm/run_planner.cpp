#include "lsm/run_planner.h"

namespace sentinel::lsm {

namespace {

/// The block behind the last one that, like block `begin`, holds nothing but one group.
std::size_t end_of_group(const std::vector<BlockInfo>& blocks, std::size_t begin,
                         std::size_t group_bytes) {
  const std::string_view group = group_of(blocks[begin].first_key, group_bytes);
  std::size_t end = begin;
  while (end < blocks.size() && group_of(blocks[end].first_key, group_bytes) == group &&
         group_of(blocks[end].last_key, group_bytes) == group) {
    ++end;
  }
  return end;
}

std::uint64_t bytes_between(const std::vector<BlockInfo>& blocks, std::size_t begin,
                            std::size_t end) {
  const TableHandle& last = blocks[end - 1].handle;
  return last.offset + last.length - blocks[begin].handle.offset;
}

class Planner {
 public:
  Planner(const std::vector<BlockInfo>& blocks, const RunRules& rules)
      : blocks_(blocks), rules_(rules) {}

  std::vector<std::size_t> run() {
    for (std::size_t at = 0; at < blocks_.size();) {
      const std::size_t end = end_of_group(blocks_, at, rules_.group_bytes);
      const bool own = end > at && bytes_between(blocks_, at, end) >= rules_.own_bytes;
      if (own) {
        cut(at);
        for (; at < end; ++at) take(at);
        cut(at);
      } else {
        take(at++);
      }
    }
    while (!starts_.empty() && starts_.back() == blocks_.size()) starts_.pop_back();
    return std::move(starts_);
  }

 private:
  /// A run begins at this block, unless the versions of one key lie on both sides.
  void cut(std::size_t block) {
    if (!starts_.empty() && starts_.back() == block) return;
    const bool inside = block > 0 && block < blocks_.size() &&
                        blocks_[block - 1].last_key == blocks_[block].first_key;
    if (!inside) starts_.push_back(block);
  }
  void take(std::size_t block) {
    const bool full = !starts_.empty() && starts_.back() < block &&
                      bytes_between(blocks_, starts_.back(), block) >= rules_.run_bytes;
    if (starts_.empty() || full) cut(block);
  }

  const std::vector<BlockInfo>& blocks_;
  const RunRules& rules_;
  std::vector<std::size_t> starts_;
};

}  // namespace

std::vector<std::size_t> plan_runs(const std::vector<BlockInfo>& blocks, const RunRules& rules) {
  return Planner(blocks, rules).run();
}

}  // namespace sentinel::lsm
