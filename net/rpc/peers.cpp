#include "net/rpc/peers.h"

#include <algorithm>
#include <utility>

#include "net/frame_reader.h"

namespace sentinel::net::rpc {

namespace {

using namespace std::chrono_literals;

/// What is being received from other nodes, apart from what clients send.
constexpr std::uint64_t kBudgetBytes = std::uint64_t{kPeerFrameBytesMax} + (8u << 20);
/// A connection that is silent for so long is dead: the other side sends heartbeats.
constexpr core::Duration kIdle = 5s;
constexpr core::Duration kWhole = 10s;
constexpr core::Duration kSendTime = 10s;
constexpr std::size_t kRequestsMax = 256;

}  // namespace

/// A connection that another node has made.
class Peers::Inbound final : private FlowBudget::Peer {
 public:
  Inbound(Peers& peers, Socket socket, std::int32_t node)
      : peers_(peers),
        socket_(std::move(socket)),
        node_(node),
        reader_(peers.shard_, socket_, kPeerFrameBytesMax, &peers.budget_, this),
        sending_(peers.shard_, 1),
        scope_(peers.shard_) {}

  core::Task<void> run() {
    session_ = peers_.raft_->open_session(consensus::NodeId(node_));
    core::Status status;
    while (status && !scope_.cancelled()) {
      auto frame = co_await reader_.next(kIdle, kWhole, scope_.token());
      if (!frame) {
        status = std::unexpected(std::move(frame).error());
      } else if (!frame->has_value()) {
        break;
      } else {
        status = co_await take((*frame)->bytes);
        if ((*frame)->reserved > 0) peers_.budget_.release((*frame)->reserved);
      }
    }
    const bool timed_out = !status && status.error().code == core::Errc::timed_out;
    if (!status && status.error().code == core::Errc::corruption) report(status.error());
    // A process that is gone has its connections closed by its system.
    peers_.raft_->close_session(session_, !timed_out && !peers_.closing_);
    co_await scope_.close();
    co_await socket_.shutdown();
    co_await socket_.close();
  }
  void stop() { scope_.cancel(); }

 private:
  core::Task<core::Status> take(core::Bytes frame) {
    SENTINEL_CO_TRY(opened, open_frame(frame));
    switch (opened.type) {
      case FrameType::heartbeat: peers_.raft_->note_heard(session_); break;
      case FrameType::group: {
        SENTINEL_CO_TRY(message, consensus::decode_peer_message(opened.body));
        peers_.raft_->deliver(session_, std::move(message));
        break;
      }
      case FrameType::leaders:
        peers_.raft_->note_heard(session_);
        co_await peers_.events_.on_leaders(node_, std::move(opened.body));
        break;
      case FrameType::request:
        peers_.raft_->note_heard(session_);
        if (scope_.active() >= kRequestsMax)
          co_return core::fail(core::Errc::too_large, "too many requests at once");
        scope_.spawn(answer(std::move(opened.body)));
        break;
      case FrameType::hello:
      case FrameType::welcome:
      case FrameType::refused:
      case FrameType::answer: co_return core::fail(core::Errc::corruption, "a frame out of place");
    }
    co_return core::Status();
  }

  core::Task<void> answer(core::Bytes frame) {
    core::ByteReader in(frame);
    const std::uint64_t number = in.u64();
    if (in.failed()) co_return;
    core::Bytes answered = co_await peers_.events_.on_request(node_, frame.slice_of(in.rest()));
    core::ByteWriter head;
    head.u64(number);
    core::Chain body(head.to_bytes());
    body.append(std::move(answered));
    co_await sending_.acquire(1);
    // Who asked learns from the end of the connection.
    const core::Status sent =
        co_await socket_.send(make_frame(FrameType::answer, std::move(body)),
                              peers_.shard_.deadline_in(kSendTime), scope_.token());
    sending_.release(1);
    if (!sent) scope_.cancel();
  }

  void too_slow() override { scope_.cancel(); }

  void report(const core::Error& error) {
    std::uint64_t suppressed = 0;
    if (peers_.log_ != nullptr && peers_.bad_peers_.allow(peers_.shard_.now(), suppressed)) {
      peers_.log_->write(core::LogLevel::warn, "closed the connection of node {}: {}", node_,
                         error.message);
    }
  }

  Peers& peers_;
  Socket socket_;
  const std::int32_t node_;
  FrameReader reader_;
  consensus::SessionId session_;
  core::Semaphore sending_;
  core::TaskScope scope_;
};

Peers::Peers(core::Shard& shard, LocalNode self, PeerEvents& events, core::Log* log)
    : shard_(shard),
      self_(std::move(self)),
      events_(events),
      log_(log),
      budget_(shard, kBudgetBytes),
      inbound_ended_(shard),
      bad_peers_(1s) {}

Peers::~Peers() = default;

void Peers::connect(const std::vector<PeerAddress>& addresses) {
  for (const PeerAddress& each : addresses) {
    if (each.node_id == self_.node_id || closing_) continue;
    addresses_[each.node_id] = each.address;
    for (auto& [key, link] : links_) {
      if (key.first == each.node_id) link->set_address(each.address);
    }
    link_to(each.node_id, shard_.id());
  }
}

core::Task<void> Peers::close() {
  closing_ = true;
  for (auto& [key, link] : links_) co_await link->close();
  for (Inbound* each : inbound_) each->stop();
  while (!inbound_.empty()) co_await inbound_ended_.wait();
}

PeerLink* Peers::link_to(std::int32_t node, std::uint32_t shard) {
  const auto key = std::pair(node, shard);
  if (const auto found = links_.find(key); found != links_.end()) return found->second.get();
  const auto address = addresses_.find(node);
  if (address == addresses_.end() || closing_) return nullptr;
  auto link = std::make_unique<PeerLink>(shard_, self_, PeerAddress{node, address->second}, shard,
                                         *this, log_);
  return links_.emplace(key, std::move(link)).first->second.get();
}

void Peers::on_link_up(PeerLink& link, const Welcome& welcome) {
  layouts_[link.to_node()] = {welcome.shards, welcome.stores};
  raft_->note_link_up(consensus::NodeId(link.to_node()));
  if (link.to_shard() == shard_.id()) events_.on_link_up(link.to_node());
}

void Peers::send(consensus::NodeId to, consensus::GroupId group, Kind kind, core::Chain message) {
  // Until the first connection has told how groups are spread there, nothing can be sent.
  const auto layout = layouts_.find(to.value());
  if (layout == layouts_.end()) return;
  const std::uint64_t store = group.value() % layout->second.stores;
  const auto shard = static_cast<std::uint32_t>(store % layout->second.shards);
  // The connection to "the shard with this one's number" may be to that shard.
  const std::uint32_t same = shard_.id() % layout->second.shards;
  PeerLink* link = link_to(to.value(), shard == same ? shard_.id() : shard);
  if (link != nullptr) link->send(FrameType::group, kind, std::move(message));
}

void Peers::send_leaders(std::int32_t to, core::Bytes note) {
  PeerLink* link = link_to(to, shard_.id());
  if (link != nullptr) link->send(FrameType::leaders, Kind::control, core::Chain(std::move(note)));
}

core::Task<core::Result<core::Bytes>> Peers::call(std::int32_t to, core::Bytes request,
                                                  core::Deadline deadline) {
  PeerLink* link = link_to(to, shard_.id());
  if (link == nullptr) co_return core::fail(core::Errc::not_found, "a node of unknown address");
  co_return co_await link->call(std::move(request), deadline);
}

core::Task<bool> Peers::serve(Peers* self, core::Handle handle, std::int32_t node) {
  self->shard_.ring().attach(handle);
  Socket socket(self->shard_, handle);
  if (self->closing_ || self->raft_ == nullptr) {
    co_await socket.close();
    co_return false;
  }
  Inbound connection(*self, std::move(socket), node);
  self->inbound_.push_back(&connection);
  co_await connection.run();
  std::erase(self->inbound_, &connection);
  self->inbound_ended_.notify_all();
  co_return true;
}

}  // namespace sentinel::net::rpc
