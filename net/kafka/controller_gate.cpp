#include "net/kafka/controller_gate.h"

#include "core/call.h"

namespace sentinel::net::kafka {

namespace {

using namespace std::chrono_literals;
using consensus::BrokerNode;
using consensus::Errc;
using consensus::NewTopic;
using consensus::ProducerId;
using consensus::Result;
using consensus::SettleGroupCommand;
using consensus::Topic;

/// An election takes a second or two; clients wait half a minute.
constexpr core::Duration kPatience = 10s;
constexpr core::Duration kPause = 50ms;
constexpr std::uint8_t kDone = 255;  // Instead of an Errc.

/// First byte of a request.
enum class Question : std::uint8_t {
  create_topic = 1,
  delete_topic = 2,
  new_producer_id = 3,
  register_node = 4,
  place_group = 5,
  settle_group = 6,
  grow_topic = 7,
  remove_node = 8,
  elect_leader = 9,  ///< Asked of the group's leader.
  catch_up = 10,     ///< The answer's version is all that is wanted.
};

Question question_of(const core::Bytes& request) {
  core::ByteReader in(request);
  return static_cast<Question>(in.u8());
}

/// Whether it does no harm to ask twice, when the controller was lost before its answer came. A
/// topic that was made or deleted would be reported as there, or as missing, to who has asked once.
bool is_repeatable(const core::Bytes& request) {
  const Question question = question_of(request);
  return question != Question::create_topic && question != Question::delete_topic &&
         question != Question::grow_topic && question != Question::remove_node;
}

struct CreateTopic {
  bool validate_only = false;
  NewTopic topic;
  static void fields(auto& self, auto& visit) {
    visit(self.validate_only);
    visit(self.topic);
  }
};
struct DeleteTopic {
  core::Uuid id;
  static void fields(auto& self, auto& visit) { visit(self.id.bytes); }
};
struct CatchUp {
  static void fields(auto&, auto&) {}
};
struct NewProducerId {
  static void fields(auto&, auto&) {}
};
struct ProducerIdAnswer {
  ProducerId id;
  static void fields(auto& self, auto& visit) { visit(self.id); }
};

template <core::Described T>
core::Bytes encode(Question question, const T& what) {
  core::ByteWriter out;
  out.u8(static_cast<std::uint8_t>(question));
  core::encode_fields(out, what);
  return out.to_bytes();
}

/// Outcome and metadata version, and then what was decided.
core::Bytes encode_answer(const Result<core::Bytes>& decided, std::uint64_t version) {
  core::ByteWriter out;
  out.u8(decided ? kDone : static_cast<std::uint8_t>(decided.error()));
  out.u64(version);
  if (decided) out.bytes(*decided);
  return out.to_bytes();
}

struct Decoded {
  std::uint64_t version = 0;
  core::Bytes decided;
};
Result<Decoded> decode_answer(const core::Bytes& answer) {
  core::ByteReader in(answer);
  const std::uint8_t outcome = in.u8();
  const std::uint64_t version = in.u64();
  if (in.failed() || (outcome != kDone && outcome > static_cast<std::uint8_t>(Errc::overloaded)))
    return std::unexpected(Errc::timed_out);
  if (outcome != kDone) return std::unexpected(static_cast<Errc>(outcome));
  return Decoded{version, answer.slice_of(in.rest())};
}

template <core::Described T>
Result<core::Bytes> encoded(Result<T> decided) {
  if (!decided) return std::unexpected(decided.error());
  return core::encode_fields(*decided);
}

}  // namespace

template <typename T>
core::Task<Result<T>> ControllerGate::ask(core::Shard& from, core::Bytes request) {
  auto answer = co_await core::call(from, broker_.shard(), &ControllerGate::ask_there, this,
                                    std::move(request));
  if (!answer) co_return std::unexpected(answer.error());
  auto decided = core::decode_fields<T>(*answer);
  if (!decided) co_return std::unexpected(Errc::timed_out);
  co_return std::move(*decided);
}

core::Task<Result<Topic>> ControllerGate::create_topic(core::Shard& from, NewTopic topic,
                                                       bool validate_only) {
  co_return co_await ask<Topic>(
      from, encode(Question::create_topic, CreateTopic{validate_only, std::move(topic)}));
}

core::Task<Result<Topic>> ControllerGate::delete_topic(core::Shard& from, core::Uuid id) {
  co_return co_await ask<Topic>(from, encode(Question::delete_topic, DeleteTopic{id}));
}

core::Task<Result<ProducerId>> ControllerGate::new_producer_id(core::Shard& from) {
  const auto answer =
      co_await ask<ProducerIdAnswer>(from, encode(Question::new_producer_id, NewProducerId{}));
  if (!answer) co_return std::unexpected(answer.error());
  co_return answer->id;
}

core::Task<Result<BrokerNode>> ControllerGate::register_node(core::Shard& from, BrokerNode node) {
  co_return co_await ask<BrokerNode>(from, encode_registration(node));
}

core::Task<Result<SettleGroupCommand>> ControllerGate::settle_group(core::Shard& from,
                                                                    SettleGroupCommand settled) {
  co_return co_await ask<SettleGroupCommand>(from, encode(Question::settle_group, settled));
}

core::Task<Result<AskedPlacement>> ControllerGate::place_group(core::Shard& from,
                                                               AskedPlacement asked) {
  co_return co_await ask<AskedPlacement>(from, encode(Question::place_group, asked));
}

core::Task<Result<AskedGrowth>> ControllerGate::grow_topic(core::Shard& from, AskedGrowth asked) {
  co_return co_await ask<AskedGrowth>(from, encode(Question::grow_topic, asked));
}

core::Task<Result<consensus::RemoveNodeCommand>> ControllerGate::remove_node(
    core::Shard& from, consensus::NodeId node) {
  co_return co_await ask<consensus::RemoveNodeCommand>(
      from, encode(Question::remove_node, consensus::RemoveNodeCommand{node}));
}

core::Task<Result<AskedLeader>> ControllerGate::elect_leader(core::Shard& from, AskedLeader asked) {
  co_return co_await core::call(from, broker_.shard(), &ControllerGate::elect_there, this, asked);
}

core::Task<bool> ControllerGate::catch_up(core::Shard& from) {
  const auto answer = co_await ask<CatchUp>(from, encode(Question::catch_up, CatchUp{}));
  co_return answer.has_value();
}

core::Task<Result<AskedLeader>> ControllerGate::elect_there(ControllerGate* self,
                                                            AskedLeader asked) {
  consensus::BrokerShard& broker = self->broker_;
  const consensus::NodeId leader = broker.leader_of(asked.group).leader;
  if (leader == broker.node()) co_return co_await self->elect_here(asked);
  if (leader == consensus::NodeId(0) || self->peers_ == nullptr)
    co_return std::unexpected(Errc::not_leader);
  auto raw = co_await self->peers_->call(leader.value(), encode(Question::elect_leader, asked),
                                         broker.shard().deadline_in(kPatience));
  if (!raw) co_return std::unexpected(Errc::timed_out);
  auto answer = decode_answer(*raw);
  if (!answer) co_return std::unexpected(answer.error());
  co_return asked;
}

core::Task<Result<AskedLeader>> ControllerGate::elect_here(AskedLeader asked) {
  consensus::BrokerShard& home = broker_.home_of(asked.group);
  const auto handed =
      co_await core::call(broker_.shard(), home.shard(), &consensus::BrokerShard::transfer_group,
                          &home, asked.group, asked.member);
  if (!handed) co_return std::unexpected(handed.error());
  co_return asked;
}

core::Bytes ControllerGate::encode_registration(const BrokerNode& node) {
  return encode(Question::register_node, node);
}

Result<BrokerNode> ControllerGate::decode_registration(const core::Bytes& answer) {
  auto decoded = decode_answer(answer);
  if (!decoded) return std::unexpected(decoded.error());
  auto node = core::decode_fields<BrokerNode>(decoded->decided);
  if (!node) return std::unexpected(Errc::timed_out);
  return std::move(*node);
}

/// Asks whoever leads, until there is an answer.
core::Task<Result<core::Bytes>> ControllerGate::ask_there(ControllerGate* self,
                                                          core::Bytes request) {
  core::Shard& shard = self->broker_.shard();
  const core::Deadline deadline = shard.deadline_in(kPatience);
  for (;;) {
    auto answer = co_await self->ask_leader(request, deadline);
    if (answer) co_return answer;
    const bool lost = answer.error() == Errc::timed_out && is_repeatable(request);
    if (answer.error() != Errc::not_leader && !lost) co_return answer;
    if (self->closed_ || deadline.passed(shard.now())) co_return std::unexpected(Errc::timed_out);
    co_await core::sleep_for(shard, kPause);
  }
}

/// not_leader: nothing was done.
core::Task<Result<core::Bytes>> ControllerGate::ask_leader(core::Bytes request,
                                                           core::Deadline deadline) {
  if (!broker_.has_controller()) co_return std::unexpected(Errc::not_leader);
  if (broker_.controller().leads()) co_return co_await decide(std::move(request));
  const consensus::NodeId leader = broker_.leader_of(consensus::kControllerGroup).leader;
  const bool elsewhere = leader != consensus::NodeId(0) && leader != broker_.node();
  if (!elsewhere || peers_ == nullptr) co_return std::unexpected(Errc::not_leader);
  const bool waits = question_of(request) != Question::register_node;
  auto raw = co_await peers_->call(leader.value(), std::move(request), deadline);
  if (!raw) {
    const bool never_sent =
        raw.error().code == core::Errc::unreachable || raw.error().code == core::Errc::not_found;
    co_return std::unexpected(never_sent ? Errc::not_leader : Errc::timed_out);
  }
  auto answer = decode_answer(*raw);
  if (!answer) co_return std::unexpected(answer.error());
  const bool known =
      !waits || co_await broker_.controller().until_published(answer->version, deadline);
  if (!known) co_return std::unexpected(Errc::timed_out);
  co_return std::move(answer->decided);
}

core::Task<core::Bytes> ControllerGate::serve(core::Bytes request) {
  if (!broker_.has_controller()) co_return encode_answer(std::unexpected(Errc::not_leader), 0);
  core::ByteReader in(request);
  if (static_cast<Question>(in.u8()) == Question::elect_leader) {
    const auto asked = core::decode_fields<AskedLeader>(in.rest());
    if (!asked) co_return encode_answer(std::unexpected(Errc::invalid_members), 0);
    auto elected = co_await elect_here(*asked);
    co_return encode_answer(encoded(std::move(elected)), 0);
  }
  const auto decided = co_await decide(std::move(request));
  co_return encode_answer(decided, broker_.controller().image().version());
}

core::Task<Result<core::Bytes>> ControllerGate::decide_on_growth(core::Bytes request) {
  consensus::Controller& controller = broker_.controller();
  const auto asked = core::decode_fields<AskedGrowth>(request.view().subspan(1));
  if (!asked) co_return std::unexpected(Errc::invalid_partitions);
  const Result<void> allowed =
      controller.check_growth(asked->topic, asked->count, asked->assignment);
  if (!allowed) co_return std::unexpected(allowed.error());
  if (asked->validate_only) co_return core::encode_fields(*asked);
  const auto grown = co_await controller.grow_topic(asked->topic, asked->count, asked->assignment);
  if (!grown) co_return std::unexpected(grown.error());
  co_return core::encode_fields(*asked);
}

/// What this node has applied by the time is all that was decided before, if it still leads.
core::Task<Result<core::Bytes>> ControllerGate::confirm_image() {
  consensus::Controller& controller = broker_.controller();
  const core::Deadline deadline = broker_.shard().deadline_in(kPatience);
  const auto confirmed = co_await controller.replica().confirm_leadership(deadline);
  if (!confirmed) co_return std::unexpected(confirmed.error());
  const bool known = co_await controller.until_published(controller.image().version(), deadline);
  if (!known) co_return std::unexpected(Errc::timed_out);
  co_return core::encode_fields(CatchUp{});
}

core::Task<Result<core::Bytes>> ControllerGate::decide(core::Bytes request) {
  consensus::Controller& controller = broker_.controller();
  if (!controller.leads()) co_return std::unexpected(Errc::not_leader);
  core::ByteReader in(request);
  const auto question = static_cast<Question>(in.u8());
  const core::ByteSpan body = in.rest();
  switch (question) {
    case Question::create_topic: {
      auto asked = core::decode_fields<CreateTopic>(body);
      if (!asked) co_return std::unexpected(Errc::invalid_topic);
      if (!asked->validate_only)
        co_return encoded(co_await controller.create_topic(std::move(asked->topic)));
      const Result<void> allowed = controller.check_new_topic(asked->topic);
      if (!allowed) co_return std::unexpected(allowed.error());
      Topic topic;
      topic.name = std::move(asked->topic.name);
      topic.partition_count = asked->topic.partition_count;
      co_return core::encode_fields(topic);
    }
    case Question::delete_topic: {
      const auto asked = core::decode_fields<DeleteTopic>(body);
      if (!asked) co_return std::unexpected(Errc::invalid_topic);
      co_return encoded(co_await controller.delete_topic(asked->id));
    }
    case Question::new_producer_id: {
      const auto id = co_await controller.new_producer_id();
      if (!id) co_return std::unexpected(id.error());
      co_return core::encode_fields(ProducerIdAnswer{*id});
    }
    case Question::register_node: {
      auto asked = core::decode_fields<BrokerNode>(body);
      if (!asked) co_return std::unexpected(Errc::invalid_members);
      co_return encoded(co_await controller.register_node(std::move(*asked)));
    }
    case Question::place_group: {
      const auto asked = core::decode_fields<AskedPlacement>(body);
      if (!asked) co_return std::unexpected(Errc::invalid_members);
      auto deciding = asked->nodes.empty() ? controller.cancel_move(asked->group)
                                           : controller.place_group(asked->group, asked->nodes);
      const auto placed = co_await std::move(deciding);
      if (!placed) co_return std::unexpected(placed.error());
      co_return core::encode_fields(*asked);
    }
    case Question::settle_group: {
      const auto asked = core::decode_fields<SettleGroupCommand>(body);
      if (!asked) co_return std::unexpected(Errc::invalid_members);
      const auto settled = co_await controller.settle_group(*asked);
      if (!settled) co_return std::unexpected(settled.error());
      co_return core::encode_fields(*asked);
    }
    case Question::grow_topic: co_return co_await decide_on_growth(std::move(request));
    case Question::remove_node: {
      const auto asked = core::decode_fields<consensus::RemoveNodeCommand>(body);
      if (!asked) co_return std::unexpected(Errc::unknown_node);
      const auto removed = co_await controller.remove_node(asked->id);
      if (!removed) co_return std::unexpected(removed.error());
      co_return core::encode_fields(*asked);
    }
    case Question::catch_up: co_return co_await confirm_image();
    case Question::elect_leader: break;  // serve()
  }
  co_return std::unexpected(Errc::invalid_members);
}

}  // namespace sentinel::net::kafka
