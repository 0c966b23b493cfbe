#pragma once
/// Whether requests that make and delete topics can have been served one after the other.

#include <string>
#include <vector>

#include "test/support/history.h"

namespace sentinel::test {

/// Looks for an order of the requests for one topic, each at some moment between its beginning and
/// its answer, that explains all answers (linearizability; Wing and Gong's search, with what was
/// tried before remembered). What was not answered may have been done at any time since, or never.
bool can_be_explained(const std::vector<TopicOp>& requests);

}  // namespace sentinel::test
