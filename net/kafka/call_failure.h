#pragma once
/// How the client speaks of failed calls: a sentence for the user, and whether the call may be
/// repeated.

#include <string_view>

#include "core/result.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

/// Why a call failed, with what is needed to decide whether to repeat it.
struct CallFailure {
  core::Error error;
  ErrorCode code = ErrorCode::none;  ///< What the broker answered; none when it did not answer.
  bool retriable = false;
};
template <typename T>
using CallResult = core::Result<T, CallFailure>;

/// Whether the same request may succeed later, as Kafka defines it.
bool is_retriable(ErrorCode code);

/// For an error code in a response. `what` names the request and its object ("produce to
/// orders/0"), `detail` is the broker's own message, if any. The sentence says what the user can
/// do.
CallFailure failure_of(ErrorCode code, std::string_view what, std::string_view detail = {});

/// For a call that got no answer.
CallFailure failure_of(core::Error error);

}  // namespace sentinel::net::kafka
