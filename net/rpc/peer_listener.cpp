#include "net/rpc/peer_listener.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/call.h"
#include "net/frame_reader.h"

namespace sentinel::net::rpc {

namespace {

using namespace std::chrono_literals;

constexpr core::Duration kHandshakeTime = 5s;
constexpr core::Duration kAcceptPause = 100ms;
constexpr std::size_t kGreetingMax = 256;
constexpr std::uint32_t kHelloBytesMax = 4096;

}  // namespace

PeerListener::PeerListener(core::Shard& shard, std::unique_ptr<Listener> listener, core::Log* log)
    : shard_(shard), listener_(std::move(listener)), log_(log), refusals_(10s), scope_(shard) {
  scope_.spawn(run());
}

PeerListener::~PeerListener() = default;

core::Task<void> PeerListener::close() {
  co_await scope_.close();
  co_await listener_->close();
}

void PeerListener::note_boot(const core::Uuid& disk, const consensus::Boot& boot) {
  consensus::Boot& known = boots_[disk];
  if (known.allows(boot)) known = boot;
}

void PeerListener::set_on_met(OnMet on_met, std::map<core::Uuid, consensus::Boot> stored) {
  on_met_ = std::move(on_met);
  stored_ = std::move(stored);
  for (const auto& [disk, boot] : stored_) note_boot(disk, boot);
}

core::Task<void> PeerListener::run() {
  while (!scope_.cancelled()) {
    auto socket = co_await listener_->accept(scope_.token());
    if (!socket) {
      if (!scope_.cancelled()) co_await core::sleep_for(shard_, kAcceptPause, scope_.token());
      continue;
    }
    if (greeting_ >= kGreetingMax) {
      co_await socket->close();
      continue;
    }
    scope_.spawn(greet(std::move(*socket)));
  }
}

core::Task<core::Result<Hello>> PeerListener::receive_hello(Socket* socket) {
  FrameReader reader(shard_, *socket, kHelloBytesMax);
  SENTINEL_CO_TRY(frame, co_await reader.next(kHandshakeTime, kHandshakeTime, scope_.token()));
  if (!frame.has_value()) co_return core::fail(core::Errc::closed);
  SENTINEL_CO_TRY(opened, open_frame(frame->bytes));
  if (opened.type != FrameType::hello) co_return core::fail(core::Errc::corruption, "no handshake");
  SENTINEL_CO_TRY(hello, core::decode_fields<Hello>(opened.body));
  if (hello.magic != kHelloMagic) co_return core::fail(core::Errc::corruption, "no handshake");
  co_return hello;
}

core::Task<void> PeerListener::greet(Socket socket) {
  ++greeting_;
  const auto hello = co_await receive_hello(&socket);
  bool enters = false;
  if (hello) {
    const std::optional<Refused> refused = check(*hello);
    enters = !refused.has_value() && hello->to_shard != kNoShard;
    core::Chain answer =
        refused.has_value()
            ? make_frame(FrameType::refused, core::Chain(core::encode_fields(*refused)))
            : make_frame(FrameType::welcome, core::Chain(core::encode_fields(self_->welcome())));
    if (refused.has_value()) report(*refused, *hello);
    if (enters) enters = co_await meet(*hello);
    const core::Status sent =
        co_await socket.send(std::move(answer), shard_.deadline_in(kHandshakeTime), scope_.token());
    enters = enters && sent.has_value();
  }
  --greeting_;
  if (!enters || scope_.cancelled()) {
    co_await socket.shutdown();
    co_await socket.close();
    co_return;
  }
  Connected& connected = connected_[hello->node_id];
  connected.disk = hello->disk_id;
  ++connected.count;
  Peers* there = peers_[hello->to_shard % peers_.size()];
  core::Shard& home = there->shard();
  const core::Handle handle = socket.release();
  co_await core::call(shard_, home, &Peers::serve, there, handle, hello->node_id);
  --connected_[hello->node_id].count;
}

core::Task<bool> PeerListener::meet(const Hello& hello) {
  // The metadata may tell of it before it comes, and are stored later.
  const auto known = stored_.find(hello.disk_id);
  if (on_met_ && (known == stored_.end() || known->second != hello.boot)) {
    const bool stored = co_await on_met_(hello.disk_id, hello.boot);
    if (!stored) co_return false;
    stored_[hello.disk_id] = hello.boot;
  }
  note_boot(hello.disk_id, hello.boot);
  // A later one may have come meanwhile.
  co_return boots_.at(hello.disk_id) == hello.boot;
}

std::optional<Refused> PeerListener::check(const Hello& hello) const {
  if (!self_.has_value()) return Refused{RefusalCode::not_ready, "it is starting"};
  const LocalNode& self = *self_;
  if (hello.version_min > kProtocolMax || hello.version_max < kProtocolMin) {
    return Refused{RefusalCode::version,
                   fmt::format("it speaks versions {} to {} of the protocol between nodes, not {} "
                               "to {}; use releases that are at most one apart",
                               kProtocolMin, kProtocolMax, hello.version_min, hello.version_max)};
  }
  if (hello.to_node != self.node_id) {
    return Refused{RefusalCode::wrong_node, fmt::format("it is node {}, not {}; correct --peers",
                                                        self.node_id, hello.to_node)};
  }
  if (!hello.cluster_id.is_zero() && !self.cluster_id.is_zero() &&
      hello.cluster_id != self.cluster_id) {
    return Refused{RefusalCode::foreign_cluster,
                   fmt::format("it belongs to cluster {}, and this data directory to cluster {}; "
                               "correct --peers or --data",
                               self.cluster_id.to_string(), hello.cluster_id.to_string())};
  }
  const auto connected = connected_.find(hello.node_id);
  const bool other_is_here = connected != connected_.end() && connected->second.count > 0 &&
                             connected->second.disk != hello.disk_id;
  if (other_is_here || hello.node_id == self.node_id) {
    return Refused{
        RefusalCode::duplicate_node,
        fmt::format("another server runs as node {}; choose another --node-id", hello.node_id)};
  }
  const auto boot = boots_.find(hello.disk_id);
  if (boot != boots_.end() && !boot->second.allows(hello.boot)) {
    return Refused{
        RefusalCode::stale_disk,
        "this data directory is an old copy: another one has been started since; give an empty "
        "--data, and the node gets everything from the others"};
  }
  if (hello.to_shard != kNoShard && (peers_.empty() || hello.cluster_id != self.cluster_id))
    return Refused{RefusalCode::not_ready, "it is starting"};
  return std::nullopt;
}

void PeerListener::report(const Refused& refused, const Hello& hello) {
  std::uint64_t suppressed = 0;
  if (log_ == nullptr || refused.code == RefusalCode::not_ready) return;
  if (refusals_.allow(shard_.now(), suppressed))
    log_->write(core::LogLevel::warn, "refused node {}: {}", hello.node_id, refused.message);
}

}  // namespace sentinel::net::rpc
