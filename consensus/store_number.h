#pragma once
/// Which member a node is in each of its groups.
///
/// A group lives in store `group % stores` of the node's disk, and the disk's number is in the
/// member's id. A store that is found damaged is made anew, empty: in its groups the node is
/// another member from then on, with a number that none of its disks and stores has had. It has
/// nothing of what the member before it has promised, and the others bring it what it lacks.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "consensus/types.h"

namespace sentinel::consensus {

/// Of a store that was made anew, in place of its disk's number.
struct StoreNumber {
  std::uint32_t store = 0;
  std::int32_t number = 0;  ///< 0: the cluster is to give one.
  friend bool operator==(const StoreNumber&, const StoreNumber&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.store);
    visit(self.number);
  }
};

struct StoreNumbers {
  std::int32_t disk = 0;     ///< Of the node's disks, from 1; 0 until the cluster has given one.
  std::uint32_t stores = 1;  ///< How many the disk has.
  std::vector<StoreNumber> renewed;  ///< Ascending.

  [[nodiscard]] std::uint32_t store_of(GroupId group) const {
    return static_cast<std::uint32_t>(group.value() % stores);
  }
  [[nodiscard]] std::int32_t number_of(std::uint32_t store) const {
    const auto found = std::ranges::find(renewed, store, &StoreNumber::store);
    return found == renewed.end() ? disk : found->number;
  }
  [[nodiscard]] MemberId member(NodeId node, GroupId group) const {
    return member_of(node, number_of(store_of(group)));
  }
  /// The highest that was given.
  [[nodiscard]] std::int32_t highest() const {
    std::int32_t highest = disk;
    for (const StoreNumber& each : renewed) highest = std::max(highest, each.number);
    return highest;
  }
  void set(std::uint32_t store, std::int32_t number) {
    const auto at = std::ranges::lower_bound(renewed, store, {}, &StoreNumber::store);
    if (at != renewed.end() && at->store == store) {
      at->number = number;
    } else {
      renewed.insert(at, {store, number});
    }
  }
  /// Stores that are to get numbers.
  [[nodiscard]] std::vector<std::uint32_t> asked() const {
    std::vector<std::uint32_t> asked;
    for (const StoreNumber& each : renewed) {
      if (each.number == 0) asked.push_back(each.store);
    }
    return asked;
  }
  /// Whether it can be worked with, wherever it comes from.
  [[nodiscard]] bool sound() const {
    return stores >= 1 && std::ranges::is_sorted(renewed, {}, &StoreNumber::store) &&
           std::ranges::all_of(renewed, [this](const StoreNumber& each) {
             return each.store < stores && each.number >= 0;
           });
  }
  friend bool operator==(const StoreNumbers&, const StoreNumbers&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.disk);
    visit(self.stores);
    visit(self.renewed);
  }
};

}  // namespace sentinel::consensus
