#pragma once
/// Who leads which group, as far as this node has heard. Not replicated and not stored: each leader
/// says it, and a later term wins.

#include <unordered_map>
#include <vector>

#include "consensus/types.h"
#include "core/codec.h"

namespace sentinel::consensus {

struct GroupLeader {
  GroupId group;
  Term term;
  NodeId leader;  ///< 0: nobody that is known of.
  /// Who has all that is committed, as the leader says; empty from who does not lead.
  std::vector<NodeId> in_sync;
  friend bool operator==(const GroupLeader&, const GroupLeader&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.group);
    visit(self.term);
    visit(self.leader);
    visit(self.in_sync);
  }
};

class LeaderTable {
 public:
  /// Returns whether it was news.
  bool note(const GroupLeader& news) {
    GroupLeader& known = leaders_[news.group];
    const bool same_term = news.term == known.term;
    const bool says_more = same_term && news.leader == known.leader && !news.in_sync.empty();
    const bool later = news.term > known.term || (same_term && known.leader == NodeId(0));
    if ((!later && !says_more) || news == known) return false;
    known = news;
    return true;
  }
  void forget(GroupId group) { leaders_.erase(group); }
  /// Term 0 for a group of which nothing was heard.
  [[nodiscard]] GroupLeader of(GroupId group) const {
    const auto found = leaders_.find(group);
    return found == leaders_.end()
               ? GroupLeader{.group = group, .term = {}, .leader = {}, .in_sync = {}}
               : found->second;
  }
  [[nodiscard]] std::vector<GroupLeader> led_by(NodeId node) const {
    std::vector<GroupLeader> led;
    for (const auto& [group, each] : leaders_) {  // lint: order does not matter
      if (each.leader == node) led.push_back(each);
    }
    return led;
  }

 private:
  std::unordered_map<GroupId, GroupLeader> leaders_;
};

}  // namespace sentinel::consensus
