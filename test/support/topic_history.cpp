#include "test/support/topic_history.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace sentinel::test {

namespace {

class Search {
 public:
  explicit Search(const std::vector<TopicOp>& requests)
      : requests_(requests), done_(requests.size(), false) {}

  bool run(bool exists) {
    const std::int64_t first_answer = earliest_answer();
    if (first_answer == kNone) return true;
    if (!tried_.emplace(done_, exists).second) return false;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      const TopicOp& next = requests_[i];
      if (done_[i] || next.time.invoke > first_answer || !fits(next, exists)) continue;
      done_[i] = true;
      if (run(next.result == Result::fail ? exists : next.creates)) return true;
      done_[i] = false;
    }
    return false;
  }

 private:
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

  /// Of those that have an answer to be explained.
  [[nodiscard]] std::int64_t earliest_answer() const {
    std::int64_t earliest = kNone;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (!done_[i] && requests_[i].result != Result::unknown)
        earliest = std::min(earliest, requests_[i].time.complete);
    }
    return earliest;
  }
  /// What was done needed it to be the other way; what was refused, this way.
  static bool fits(const TopicOp& request, bool exists) {
    return request.result == Result::fail ? exists == request.creates : exists != request.creates;
  }

  const std::vector<TopicOp>& requests_;
  std::vector<bool> done_;
  std::set<std::pair<std::vector<bool>, bool>> tried_;
};

}  // namespace

bool can_be_explained(const std::vector<TopicOp>& requests) { return Search(requests).run(false); }

}  // namespace sentinel::test
