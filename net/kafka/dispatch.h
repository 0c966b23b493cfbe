#pragma once
/// From a frame to its handler.

#include "core/bytes.h"
#include "net/kafka/context.h"

namespace sentinel::net::kafka {

/// Decodes the header of `frame`, checks key and version, and runs the handler. Everything up to
/// the handler's first wait happens before this returns, so that requests of one connection take
/// effect in their order. `context` has all but the header's fields.
core::Task<Reply> dispatch(RequestContext context, core::Bytes frame);

}  // namespace sentinel::net::kafka
