#include "net/rpc/handshake.h"

namespace sentinel::net::rpc {

Hello LocalNode::hello(std::int32_t to_node, std::uint32_t to_shard) const {
  Hello hello;
  hello.cluster_id = cluster_id;
  hello.node_id = node_id;
  hello.disk_id = disk_id;
  hello.boot = boot;
  hello.to_node = to_node;
  hello.to_shard = to_shard;
  hello.peers = peers;
  return hello;
}

Welcome LocalNode::welcome() const {
  Welcome welcome;
  welcome.cluster_id = cluster_id;
  welcome.node_id = node_id;
  welcome.disk_id = disk_id;
  welcome.boot = boot;
  welcome.shards = shards;
  welcome.stores = stores;
  welcome.founders = founders;
  welcome.peers = peers;
  return welcome;
}

}  // namespace sentinel::net::rpc
