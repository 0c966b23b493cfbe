#include "net/kafka/cluster.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/call.h"
#include "net/frame_reader.h"

namespace sentinel::net::kafka {

namespace {

using namespace std::chrono_literals;
using consensus::BrokerNode;
using consensus::Founder;
using consensus::NodeId;

constexpr core::Duration kAskTime = 2s;
constexpr core::Duration kAskPause = 100ms;
constexpr core::Duration kRegisterTime = 10s;
constexpr core::Duration kWaitingLine = 5s;
constexpr core::Duration kRenewPause = 500ms;
/// The other server with this node's id may be a life of its own that the others have not missed
/// yet.
constexpr core::Duration kDuplicatePatience = 15s;

struct LeadersNote {
  std::vector<consensus::GroupLeader> leaders;
  static void fields(auto& self, auto& visit) { visit(self.leaders); }
};

bool is_final(const rpc::HandshakeError& error) {
  return error.refusal.has_value() && *error.refusal != rpc::RefusalCode::not_ready &&
         *error.refusal != rpc::RefusalCode::duplicate_node &&
         *error.refusal != rpc::RefusalCode::too_many;
}

std::vector<std::int32_t> ids_of(const std::vector<rpc::PeerAddress>& peers) {
  std::vector<std::int32_t> ids;
  for (const rpc::PeerAddress& peer : peers) ids.push_back(peer.node_id);
  std::ranges::sort(ids);
  return ids;
}

}  // namespace

Cluster::Cluster(core::Shard& shard, ClusterOptions options, consensus::DataDirectory& directory,
                 std::uint32_t shard_count, core::Log* log)
    : shard_(shard),
      options_(std::move(options)),
      directory_(directory),
      shard_count_(shard_count),
      log_(log),
      client_address_(options_.client_address),
      waiting_lines_(kWaitingLine) {}

Cluster::~Cluster() = default;

const rpc::PeerAddress* Cluster::own_address() const {
  const auto own =
      std::ranges::find(options_.peers, directory_.identity().node_id, &rpc::PeerAddress::node_id);
  return own == options_.peers.end() ? nullptr : &*own;
}

/// What is known of this node now, for handshakes.
void Cluster::introduce() {
  const consensus::Identity& identity = directory_.identity();
  self_.cluster_id = identity.cluster_id;
  self_.node_id = identity.node_id;
  self_.disk_id = identity.disk_id;
  self_.boot = identity.boot;
  self_.shards = shard_count_;
  self_.stores = identity.numbers.stores;
  self_.founders = identity.founders;
  self_.peers = ids_of(options_.peers);
  listener_->introduce(self_);
}

core::Task<core::Status> Cluster::enter() {
  SENTINEL_CO_CHECK(co_await directory_.note_boot());
  SENTINEL_CO_CHECK(co_await listen());
  introduce();
  for (;;) {
    const std::vector<Asked> asked = co_await ask_all();
    SENTINEL_CO_TRY(welcome, check_answers(asked));
    if (welcome && !self_.cluster_id.is_zero()) break;
    if (welcome) {
      SENTINEL_CO_TRY(entered, co_await found_or_find(asked));
      if (entered) break;
    }
    note_waiting(asked);
    co_await core::sleep_for(shard_, kAskPause);
  }
  introduce();
  if (directory_.identity().numbers.disk == 0) co_return co_await get_number();
  co_return core::Status();
}

core::Task<core::Status> Cluster::listen() {
  const rpc::PeerAddress* own = own_address();
  auto listener = co_await Listener::open(shard_, core::Address::any(own->address.port));
  if (!listener) co_return std::unexpected(std::move(listener).error());
  listener_ = std::make_unique<rpc::PeerListener>(shard_, std::move(*listener), log_);
  std::map<core::Uuid, consensus::Boot> met;
  for (const consensus::MetDisk& each : directory_.identity().met)
    met.emplace(each.disk_id, each.boot);
  listener_->set_on_met(
      [this](core::Uuid disk, consensus::Boot boot) { return note_met(disk, boot); },
      std::move(met));
  co_return core::Status();
}

core::Task<bool> Cluster::note_met(core::Uuid disk, consensus::Boot boot) {
  const core::Status noted = co_await directory_.note_met(disk, boot);
  // A full disk is no reason to keep others out.
  if (noted || noted.error().code == core::Errc::no_space) co_return true;
  shard_.fail(core::ExitCode::io_failed, noted.error().message);
  co_return false;
}

core::Task<std::vector<Cluster::Asked>> Cluster::ask_all() {
  std::vector<Asked> asked;
  for (const rpc::PeerAddress& peer : options_.peers) {
    if (peer.node_id != self_.node_id) asked.push_back({.peer = peer, .welcome = {}, .error = {}});
  }
  core::TaskScope asking(shard_);
  for (Asked& each : asked) asking.spawn(ask(&each));
  co_await asking.join();
  co_return asked;
}

core::Task<void> Cluster::ask(Asked* asked) {
  auto greeted =
      co_await rpc::greet(shard_, asked->peer, self_.hello(asked->peer.node_id, rpc::kNoShard),
                          shard_.deadline_in(kAskTime), {});
  if (!greeted) {
    asked->error = std::move(greeted).error();
    co_return;
  }
  asked->welcome = std::move(greeted->welcome);
  co_await greeted->socket.shutdown();
  co_await greeted->socket.close();
}

/// Fails when another node says that this one does not belong; false while that may change.
core::Result<bool> Cluster::check_answers(const std::vector<Asked>& asked) {
  bool welcome = true;
  for (const Asked& each : asked) {
    if (!each.error.has_value()) continue;
    const bool duplicate = each.error->refusal == rpc::RefusalCode::duplicate_node;
    if (duplicate && !duplicate_until_.has_value())
      duplicate_until_ = shard_.now() + kDuplicatePatience;
    if (is_final(*each.error) || (duplicate && shard_.now() >= *duplicate_until_))
      return std::unexpected(each.error->error);
    if (duplicate) welcome = false;
  }
  return welcome;
}

core::Task<core::Result<bool>> Cluster::found_or_find(const std::vector<Asked>& asked) {
  for (const Asked& each : asked) {
    if (!each.welcome.has_value() || each.welcome->cluster_id.is_zero()) continue;
    const std::vector<Founder>& founders = each.welcome->founders;
    const Founder self{self_.node_id, self_.disk_id};
    const bool founded = std::ranges::find(founders, self) != founders.end();
    SENTINEL_CO_CHECK(
        co_await directory_.join(each.welcome->cluster_id, founders, founded ? 1 : 0));
    co_return true;
  }
  co_return co_await found(asked);
}

/// Founds a cluster when all are there, and this is the node to do it.
core::Task<core::Result<bool>> Cluster::found(const std::vector<Asked>& asked) {
  std::vector<Founder> founders{{self_.node_id, self_.disk_id}};
  // Who can't be asked yet may know of a cluster that this node is to join.
  const auto answered = [](const Asked& each) { return each.welcome.has_value(); };
  if (!std::ranges::all_of(asked, answered)) co_return false;
  for (const Asked& each : asked) {
    if (each.welcome->peers != self_.peers) {
      co_return core::fail(
          core::Errc::invalid_argument,
          fmt::format("node {} was started with --peers for nodes {}, this one for {}; give all "
                      "the same",
                      each.peer.node_id, fmt::join(each.welcome->peers, ", "),
                      fmt::join(self_.peers, ", ")));
    }
    founders.push_back({each.peer.node_id, each.welcome->disk_id});
  }
  if (self_.node_id != self_.peers.front()) co_return false;
  std::ranges::sort(founders, {}, &Founder::node_id);
  SENTINEL_CO_CHECK(
      co_await directory_.join(core::Uuid::make(shard_.random()), std::move(founders), 1));
  if (log_ != nullptr) {
    log_->write(core::LogLevel::info, "founded cluster {} of nodes {}",
                directory_.identity().cluster_id.to_string(), fmt::join(self_.peers, ", "));
  }
  co_return true;
}

void Cluster::note_waiting(const std::vector<Asked>& asked) {
  std::uint64_t suppressed = 0;
  if (log_ == nullptr || !waiting_lines_.allow(shard_.now(), suppressed)) return;
  std::vector<std::string> missing;
  for (const Asked& each : asked) {
    if (!each.welcome.has_value())
      missing.push_back(fmt::format("{} at {}", each.peer.node_id, each.peer.address.to_string()));
  }
  if (missing.empty()) {
    log_->write(core::LogLevel::info, "waiting for node {} to found the cluster",
                self_.peers.front());
  } else {
    log_->write(core::LogLevel::info, "waiting for node {}", fmt::join(missing, ", node "));
  }
}

// A disk that the cluster does not know.

core::Task<core::Status> Cluster::get_number() {
  if (log_ != nullptr) {
    log_->write(core::LogLevel::info,
                "the cluster does not know this data directory: joining as a new member");
  }
  for (;;) {
    for (const rpc::PeerAddress& peer : options_.peers) {
      if (peer.node_id == self_.node_id) continue;
      auto node = co_await register_from_outside(peer, description());
      if (node) {
        co_return co_await directory_.join(self_.cluster_id, self_.founders, node->numbers.disk);
      }
      if (node.error().code == core::Errc::refused) co_return std::unexpected(node.error());
    }
    co_await core::sleep_for(shard_, kAskPause);
  }
}

core::Task<core::Result<std::int32_t>> Cluster::number_for(std::uint32_t store) {
  for (;;) {
    for (const rpc::PeerAddress& peer : options_.peers) {
      if (peer.node_id == self_.node_id) continue;
      auto node = co_await register_from_outside(peer, description_without(store));
      if (node) co_return node->numbers.number_of(store);
      if (node.error().code == core::Errc::refused) co_return std::unexpected(node.error());
    }
    std::uint64_t suppressed = 0;
    if (log_ != nullptr && waiting_lines_.allow(shard_.now(), suppressed)) {
      log_->write(core::LogLevel::info,
                  "waiting until the other nodes have all that store {} is to have", store);
    }
    co_await core::sleep_for(shard_, kRenewPause);
  }
}

core::Task<consensus::Result<std::int32_t>> Cluster::number_for(ControllerGate& gate,
                                                                std::uint32_t store) {
  const auto node = co_await gate.register_node(shard_, description_without(store));
  if (!node) co_return std::unexpected(node.error());
  co_return node->numbers.number_of(store);
}

core::Task<core::Result<BrokerNode>> Cluster::register_from_outside(rpc::PeerAddress peer,
                                                                    BrokerNode node) {
  const core::Deadline deadline = shard_.deadline_in(kRegisterTime);
  auto greeted = co_await rpc::greet(shard_, peer, self_.hello(peer.node_id, 0), deadline, {});
  if (!greeted) {
    core::Error error = std::move(greeted.error().error);
    if (!is_final(greeted.error())) error.code = core::Errc::closed;
    co_return std::unexpected(std::move(error));
  }
  core::ByteWriter number;
  number.u64(1);
  core::Chain request(number.to_bytes());
  request.append(ControllerGate::encode_registration(node));
  core::Status status = co_await greeted->socket.send(
      rpc::make_frame(rpc::FrameType::request, std::move(request)), deadline);
  core::Result<BrokerNode> registered = core::fail(core::Errc::closed);
  if (status) {
    FrameReader reader(shard_, greeted->socket, rpc::kPeerFrameBytesMax);
    auto frame = co_await reader.next(kRegisterTime, kRegisterTime, {});
    if (frame && frame->has_value()) {
      auto opened = rpc::open_frame((*frame)->bytes);
      const bool whole = opened && opened->type == rpc::FrameType::answer &&
                         opened->body.size() > sizeof(std::uint64_t);
      if (whole) {
        constexpr std::size_t kNumber = sizeof(std::uint64_t);
        const auto known = ControllerGate::decode_registration(
            opened->body.slice(kNumber, opened->body.size() - kNumber));
        if (known) registered = *known;
        if (!known && known.error() == consensus::Errc::stale_disk)
          registered = core::fail(core::Errc::refused,
                                  "this data directory is an old copy; give an empty --data");
        if (!known && known.error() == consensus::Errc::node_removed)
          registered = core::fail(core::Errc::refused, removed_message());
        if (!known && known.error() == consensus::Errc::only_copy)
          registered =
              core::fail(core::Errc::refused, "the other nodes do not have all that is in it");
      }
    }
  }
  co_await greeted->socket.shutdown();
  co_await greeted->socket.close();
  co_return registered;
}

std::string Cluster::removed_message() const {
  return fmt::format(
      "node {} has been removed from the cluster, and {} with it; give an empty --data, and the "
      "node comes in as a new one",
      self_.node_id, directory_.path());
}

BrokerNode Cluster::description() const {
  const rpc::PeerAddress* own = own_address();
  BrokerNode node;
  node.id = NodeId(self_.node_id);
  node.disk_id = self_.disk_id;
  node.numbers = directory_.identity().numbers;
  node.boot = self_.boot;
  node.host = client_address_.host;
  node.port = client_address_.port;
  node.peer_host = own->address.host;
  node.peer_port = own->address.port;
  return node;
}

/// With a store that is to get a number.
BrokerNode Cluster::description_without(std::uint32_t store) const {
  BrokerNode node = description();
  node.numbers.set(store, 0);
  return node;
}

// Running.

consensus::Configuration Cluster::controllers() const {
  consensus::Configuration founders;
  const consensus::Identity& identity = directory_.identity();
  // Who is no founder, or has lost what founders have, learns from the others who takes part.
  if (std::ranges::find(identity.founders, Founder{identity.node_id, identity.disk_id}) ==
          identity.founders.end() ||
      identity.member(consensus::kControllerGroup) !=
          consensus::member_of(NodeId(identity.node_id), 1))
    return founders;
  for (const Founder& each : identity.founders)
    founders.voters.push_back(consensus::member_of(NodeId(each.node_id), 1));
  std::ranges::sort(founders.voters);
  return founders;
}

std::vector<rpc::PeerAddress> Cluster::addresses(const consensus::MetadataImage& image) const {
  std::vector<rpc::PeerAddress> all = options_.peers;
  for (const auto& [id, node] : image.nodes()) {
    if (node.removed) continue;
    if (std::ranges::find(all, id.value(), &rpc::PeerAddress::node_id) != all.end()) continue;
    all.push_back({id.value(), HostPort{.host = node.peer_host, .port = node.peer_port}});
  }
  return all;
}

void Cluster::open_doors(consensus::BrokerShard& broker, std::vector<rpc::Peers*> peers) {
  broker_ = &broker;
  peers_ = std::move(peers);
  listener_->attach(peers_);
}

void Cluster::note_image(const consensus::MetadataImage& image) {
  for (const auto& [id, node] : image.nodes()) listener_->note_boot(node.disk_id, node.boot);
}

core::Task<core::Result<consensus::StoreNumbers>> Cluster::register_self(ControllerGate& gate,
                                                                         HostPort client_address) {
  client_address_ = std::move(client_address);
  for (;;) {
    const auto node = co_await gate.register_node(shard_, description());
    if (node) co_return node->numbers;
    if (node.error() == consensus::Errc::stale_disk) {
      co_return core::fail(
          core::Errc::refused,
          fmt::format("{} is an old copy: the cluster knows a later start of it; give an empty "
                      "--data, and the node gets everything from the others",
                      directory_.path()));
    }
    if (node.error() == consensus::Errc::node_removed)
      co_return core::fail(core::Errc::refused, removed_message());
    note_no_controller();
  }
}

core::Task<void> Cluster::catch_up(ControllerGate& gate) {
  for (;;) {
    const bool caught_up = co_await gate.catch_up(shard_);
    if (caught_up) co_return;
    note_no_controller();
  }
}

void Cluster::note_no_controller() {
  if (log_ != nullptr) {
    log_->write(core::LogLevel::info,
                "waiting for a majority of the nodes that control the cluster");
  }
}

void Cluster::tell_leaders(const std::vector<consensus::GroupLeader>& led) {
  if (broker_ == nullptr) return;  // Told when the others can be reached.
  const core::Bytes note = core::encode_fields(LeadersNote{led});
  for (const rpc::PeerAddress& each : addresses(*broker_->image())) {
    if (each.node_id != self_.node_id) peers_.front()->send_leaders(each.node_id, note);
  }
}

void Cluster::on_link_up(std::int32_t node) {
  if (broker_ == nullptr) return;
  const auto led = broker_->led_here();
  if (!led.empty()) peers_.front()->send_leaders(node, core::encode_fields(LeadersNote{led}));
}

core::Task<void> Cluster::close() {
  if (listener_ != nullptr) co_await listener_->close();
}

core::Task<core::Bytes> ClusterEvents::serve_there(ControllerGate* gate, core::Bytes request) {
  co_return co_await gate->serve(std::move(request));
}

core::Task<core::Bytes> ClusterEvents::on_request(std::int32_t, core::Bytes request) {
  co_return co_await core::call(shard_, front_->shard(), &ClusterEvents::serve_there, gate_,
                                std::move(request));
}

core::Task<void> ClusterEvents::on_leaders(std::int32_t from, core::Bytes note) {
  auto decoded = core::decode_fields<LeadersNote>(note);
  if (!decoded) co_return;
  // Each speaks for itself.
  std::erase_if(decoded->leaders, [&](const auto& each) { return each.leader != NodeId(from); });
  co_await core::call(shard_, front_->shard(), &consensus::BrokerShard::note_leaders, front_,
                      std::move(decoded->leaders));
}

void ClusterEvents::on_link_up(std::int32_t node) {
  if (shard_.id() == 0) cluster_.on_link_up(node);
  if (broker_ != nullptr) broker_->note_link_up();
}

}  // namespace sentinel::net::kafka
