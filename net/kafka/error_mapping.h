#pragma once
/// What the floors below report, as Kafka's error codes.

#include "consensus/types.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

ErrorCode to_error_code(consensus::Errc error);

}  // namespace sentinel::net::kafka
