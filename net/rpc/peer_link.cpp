#include "net/rpc/peer_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "net/frame_reader.h"

namespace sentinel::net::rpc {

namespace {

using namespace std::chrono_literals;

constexpr core::Duration kConnectTime = 2s;
constexpr core::Duration kPauseMin = 20ms;
constexpr core::Duration kPauseMax = 1s;
/// A connection on which nothing leaves says so often that it is there.
constexpr core::Duration kHeartbeat = 200ms;
/// Long enough for a node that is paused or busy; what it would get later is of no use any more.
constexpr core::Duration kSendTime = 10s;
constexpr std::size_t kQueueBytesMax = std::size_t{16} << 20;
// Control messages are small and few; so many wait only for a node that takes none.
constexpr std::size_t kQueueMax = std::size_t{1} << 16;
constexpr std::size_t kPartsPerSend = 256;
constexpr core::Duration kForever = std::chrono::hours(24 * 365);

core::Status ended(std::string_view what) {
  return core::fail(core::Errc::closed, std::string(what));
}

core::Chain numbered(std::uint64_t number, core::Bytes body) {
  core::ByteWriter head;
  head.u64(number);
  core::Chain chain(head.to_bytes());
  chain.append(std::move(body));
  return chain;
}

}  // namespace

core::Task<core::Result<Greeted, HandshakeError>> greet(core::Shard& shard, PeerAddress to,
                                                        Hello hello, core::Deadline deadline,
                                                        core::CancelToken token) {
  auto connected = co_await Socket::connect(shard, to.address, deadline, token);
  if (!connected) co_return std::unexpected(HandshakeError{std::move(connected).error(), {}});
  Socket socket = std::move(*connected);
  core::Chain frame = make_frame(FrameType::hello, core::Chain(core::encode_fields(hello)));
  core::Status status = co_await socket.send(std::move(frame), deadline, token);
  std::optional<RefusalCode> refusal;
  Welcome welcome;
  if (status) {
    FrameReader reader(shard, socket, kPeerFrameBytesMax);
    const core::Duration left = std::max<core::Duration>(deadline.at() - shard.now(), 1ms);
    auto answer = co_await reader.next(left, left, token);
    if (!answer) {
      status = std::unexpected(std::move(answer).error());
    } else if (!answer->has_value()) {
      status = ended("the connection ended without an answer");
    } else if (auto opened = open_frame((*answer)->bytes); !opened) {
      status = std::unexpected(std::move(opened).error());
    } else if (opened->type == FrameType::refused) {
      const auto refused = core::decode_fields<Refused>(opened->body);
      if (refused) refusal = refused->code;
      status = core::fail(core::Errc::refused, refused ? refused->message : "it refused");
    } else if (opened->type == FrameType::welcome) {
      auto decoded = core::decode_fields<Welcome>(opened->body);
      if (decoded) welcome = std::move(*decoded);
      if (!decoded) status = std::unexpected(std::move(decoded).error());
    } else {
      status = core::fail(core::Errc::corruption, "no answer to a handshake");
    }
  }
  if (status && (welcome.node_id != to.node_id || welcome.shards == 0 || welcome.stores == 0)) {
    refusal = RefusalCode::wrong_node;
    status = core::fail(core::Errc::refused, fmt::format("node {} answers", welcome.node_id));
  }
  if (!status) {
    co_await socket.close();
    core::Error error = std::move(status).error();
    error.message =
        fmt::format("node {} at {}: {}", to.node_id, to.address.to_string(), error.message);
    co_return std::unexpected(HandshakeError{std::move(error), refusal});
  }
  co_return Greeted{std::move(socket), std::move(welcome)};
}

PeerLink::PeerLink(core::Shard& shard, const LocalNode& self, PeerAddress to,
                   std::uint32_t to_shard, Owner& owner, core::Log* log)
    : shard_(shard),
      self_(self),
      to_(std::move(to)),
      to_shard_(to_shard),
      owner_(owner),
      log_(log),
      failures_(10s),
      pause_(kPauseMin),
      queued_(shard),
      scope_(shard) {
  scope_.spawn(run());
}

PeerLink::~PeerLink() = default;

core::Task<void> PeerLink::close() {
  break_off({core::Errc::closed, "this node is stopping"});
  co_await scope_.close();
}

/// Half of it is chance, so that nodes that lost each other do not come back together.
core::Duration PeerLink::next_pause() {
  const core::Duration pause = pause_;
  pause_ = std::min(pause_ * 2, kPauseMax);
  const auto half = static_cast<std::uint64_t>(pause.count() / 2);
  return core::Duration(static_cast<std::int64_t>(half + shard_.random().below(half + 1)));
}

core::Task<void> PeerLink::run() {
  co_await core::yield(shard_);
  while (!scope_.cancelled()) {
    auto greeted = co_await greet(shard_, to_, self_.hello(to_.node_id, to_shard_),
                                  shard_.deadline_in(kConnectTime), scope_.token());
    if (greeted) {
      pause_ = kPauseMin;
      socket_ = std::move(greeted->socket);
      broken_ = false;
      up_ = true;
      owner_.on_link_up(*this, greeted->welcome);
      co_await serve();
    } else if (greeted.error().error.code != core::Errc::cancelled) {
      report(greeted.error());
    }
    if (!scope_.cancelled()) co_await core::sleep_for(shard_, next_pause(), scope_.token());
  }
}

/// Until the connection breaks or the link is closed.
core::Task<void> PeerLink::serve() {
  core::TaskScope reading(shard_);
  reading.spawn(read());
  co_await write();
  co_await socket_.shutdown();
  co_await reading.join();
  co_await socket_.close();
}

core::Task<void> PeerLink::write() {
  while (!broken_ && !scope_.cancelled()) {
    if (queue_.empty()) {
      const core::Wake wake = co_await queued_.wait(shard_.deadline_in(kHeartbeat), scope_.token());
      if (wake == core::Wake::timed_out)
        send(FrameType::heartbeat, consensus::PeerTransport::Kind::control, {});
      continue;
    }
    core::Chain batch;
    while (!queue_.empty() && batch.parts().size() < kPartsPerSend) {
      queued_bytes_ -= queue_.front().size();
      for (const core::Bytes& part : queue_.front().parts()) batch.append(part);
      queue_.pop_front();
    }
    core::Status sent =
        co_await socket_.send(std::move(batch), shard_.deadline_in(kSendTime), scope_.token());
    if (!sent) break_off(std::move(sent).error());
  }
  if (!broken_) break_off({core::Errc::closed, "this node is stopping"});
}

/// What comes back are answers; an end is noticed here.
core::Task<void> PeerLink::read() {
  FrameReader reader(shard_, socket_, kPeerFrameBytesMax);
  while (!broken_) {
    auto frame = co_await reader.next(kForever, kSendTime, scope_.token());
    core::Status status;
    if (!frame) {
      status = std::unexpected(std::move(frame).error());
    } else if (!frame->has_value()) {
      status = ended("it closed the connection");
    } else {
      status = take((*frame)->bytes);
    }
    if (!status) break_off(std::move(status).error());
  }
}

core::Status PeerLink::take(const core::Bytes& frame) {
  SENTINEL_TRY(opened, open_frame(frame));
  core::ByteReader in(opened.body);
  const std::uint64_t number = in.u64();
  if (opened.type != FrameType::answer || in.failed())
    return core::fail(core::Errc::corruption, "a frame that is no answer");
  const auto found = waiting_.find(number);
  if (found == waiting_.end()) return {};  // Given up meanwhile.
  found->second->answer = opened.body.slice_of(in.rest());
  found->second->answered.notify_all();
  return {};
}

void PeerLink::break_off(core::Error error) {
  if (broken_) return;
  broken_ = true;
  up_ = false;
  queue_.clear();
  queued_bytes_ = 0;
  queued_.notify_all();
  for (auto& [number, waiting] : waiting_) {
    waiting->answer = std::unexpected(core::Error{core::Errc::closed, error.message});
    waiting->answered.notify_all();
  }
  std::uint64_t suppressed = 0;
  const bool told =
      log_ != nullptr && !scope_.cancelled() && failures_.allow(shard_.now(), suppressed);
  if (told) {
    log_->write(core::LogLevel::info, "lost the connection to node {} at {}: {}", to_.node_id,
                to_.address.to_string(), error.message);
  }
}

void PeerLink::report(const HandshakeError& error) {
  std::uint64_t suppressed = 0;
  if (log_ == nullptr || error.refusal == RefusalCode::not_ready) return;
  if (failures_.allow(shard_.now(), suppressed))
    log_->write(core::LogLevel::warn, "cannot connect: {}", error.error.message);
}

void PeerLink::send(FrameType type, consensus::PeerTransport::Kind kind, core::Chain body) {
  if (!up_) return;
  const bool entries = kind == consensus::PeerTransport::Kind::entries;
  if (entries && queued_bytes_ > 0 && queued_bytes_ + body.size() > kQueueBytesMax) return;
  if (queue_.size() >= kQueueMax)
    return break_off({core::Errc::timed_out, "it does not take what is sent"});
  queue_.push_back(make_frame(type, std::move(body)));
  queued_bytes_ += queue_.back().size();
  queued_.notify_all();
}

core::Task<core::Result<core::Bytes>> PeerLink::call(core::Bytes request, core::Deadline deadline) {
  if (!up_) {
    co_return core::fail(core::Errc::unreachable,
                         fmt::format("node {} cannot be reached", to_.node_id));
  }
  const std::uint64_t number = ++calls_;
  Waiting waiting(shard_);
  waiting_.emplace(number, &waiting);
  send(FrameType::request, consensus::PeerTransport::Kind::control,
       numbered(number, std::move(request)));
  while (!waiting.answer.has_value()) {
    const core::Wake wake = co_await waiting.answered.wait(deadline);
    if (wake != core::Wake::signalled && !waiting.answer.has_value())
      waiting.answer =
          core::fail(core::Errc::timed_out, fmt::format("node {} does not answer", to_.node_id));
  }
  waiting_.erase(number);
  co_return std::move(*waiting.answer);
}

}  // namespace sentinel::net::rpc
