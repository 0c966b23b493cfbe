/// UnregisterBroker: a broker that is stopped, and has no partitions, is gone for good.

#include "net/kafka/messages/unregister_broker.h"

#include "net/kafka/context.h"
#include "net/kafka/controller_gate.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

core::Task<Reply> handle_unregister_broker(RequestContext context) {
  auto request = decode_body<UnregisterBrokerRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  const auto removed = co_await context.config.controller->remove_node(
      context.shard(), consensus::NodeId(request->broker_id));
  UnregisterBrokerResponse response;
  if (!removed) {
    response.error_code = to_error_code(removed.error());
    response.error_message = consensus::to_string(removed.error());
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
