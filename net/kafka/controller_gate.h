#pragma once
/// The way to the controller from any node: what it decides is asked of the node that leads its
/// group, and found by that.
///
/// Lives on shard 0; others come by core::call. An answer is given once this node's shards have the
/// metadata that it speaks of, so that a client that was told "created" finds the topic here.

#include "consensus/broker_shard.h"
#include "core/task.h"
#include "net/rpc/peers.h"

namespace sentinel::net::kafka {

/// On which nodes a partition is to be; the first one leads. None: where it was before it moved.
struct AskedPlacement {
  consensus::GroupId group;
  std::vector<consensus::NodeId> nodes;
  static void fields(auto& self, auto& visit) {
    visit(self.group);
    visit(self.nodes);
  }
};

/// More partitions for a topic.
struct AskedGrowth {
  core::Uuid topic;
  std::int32_t count = 0;
  std::vector<std::vector<consensus::NodeId>> assignment;  ///< Of the new ones; empty: any.
  bool validate_only = false;
  static void fields(auto& self, auto& visit) {
    visit(self.topic.bytes);
    visit(self.count);
    visit(self.assignment);
    visit(self.validate_only);
  }
};

/// Who is to lead a group, of those that have it.
struct AskedLeader {
  consensus::GroupId group;
  consensus::MemberId member;
  static void fields(auto& self, auto& visit) {
    visit(self.group);
    visit(self.member);
  }
};

class ControllerGate {
 public:
  /// `broker` is the one of shard 0. `peers`, of the same shard, is null on a node without others.
  ControllerGate(consensus::BrokerShard& broker, rpc::Peers* peers)
      : broker_(broker), peers_(peers) {}

  // From any shard. Errors: those of Controller; timed_out when the controller could not be
  // reached, or its answer got lost: what was asked for may then have been done.

  /// Creates a topic, or with `validate_only` says whether it could be created.
  core::Task<consensus::Result<consensus::Topic>> create_topic(core::Shard& from,
                                                               consensus::NewTopic topic,
                                                               bool validate_only);
  core::Task<consensus::Result<consensus::Topic>> delete_topic(core::Shard& from, core::Uuid id);
  core::Task<consensus::Result<consensus::ProducerId>> new_producer_id(core::Shard& from);
  /// Does not wait for the metadata: this node may be told by the answer that the member is gone
  /// that would be told of them.
  core::Task<consensus::Result<consensus::BrokerNode>> register_node(core::Shard& from,
                                                                     consensus::BrokerNode node);

  core::Task<consensus::Result<consensus::SettleGroupCommand>> settle_group(
      core::Shard& from, consensus::SettleGroupCommand settled);
  core::Task<consensus::Result<AskedPlacement>> place_group(core::Shard& from,
                                                            AskedPlacement asked);
  core::Task<consensus::Result<AskedGrowth>> grow_topic(core::Shard& from, AskedGrowth asked);
  core::Task<consensus::Result<consensus::RemoveNodeCommand>> remove_node(core::Shard& from,
                                                                          consensus::NodeId node);
  /// Asks a group's leader to hand it over. Errc::not_leader when none is known; invalid_members
  /// when the other can't take it now.
  core::Task<consensus::Result<AskedLeader>> elect_leader(core::Shard& from, AskedLeader asked);

  /// Whether this node's shards have all that the cluster had decided when this was called.
  core::Task<bool> catch_up(core::Shard& from);

  /// Answers what another node asks. On shard 0.
  core::Task<core::Bytes> serve(core::Bytes request);
  /// A request to register a node, and its answer, for a node that has no gate yet.
  static core::Bytes encode_registration(const consensus::BrokerNode& node);
  static consensus::Result<consensus::BrokerNode> decode_registration(const core::Bytes& answer);
  /// Questions end, so that shard 0 can.
  void close() { closed_ = true; }

 private:
  struct Answer;
  template <typename T>
  core::Task<consensus::Result<T>> ask(core::Shard& from, core::Bytes request);
  static core::Task<consensus::Result<AskedLeader>> elect_there(ControllerGate* self,
                                                                AskedLeader asked);
  core::Task<consensus::Result<AskedLeader>> elect_here(AskedLeader asked);
  static core::Task<consensus::Result<core::Bytes>> ask_there(ControllerGate* self,
                                                              core::Bytes request);
  core::Task<consensus::Result<core::Bytes>> ask_leader(core::Bytes request,
                                                        core::Deadline deadline);
  core::Task<consensus::Result<core::Bytes>> decide(core::Bytes request);
  core::Task<consensus::Result<core::Bytes>> decide_on_growth(core::Bytes request);
  core::Task<consensus::Result<core::Bytes>> confirm_image();

  consensus::BrokerShard& broker_;
  rpc::Peers* const peers_;
  bool closed_ = false;
};

}  // namespace sentinel::net::kafka
