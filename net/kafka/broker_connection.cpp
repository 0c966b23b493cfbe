#include "net/kafka/broker_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace sentinel::net::kafka {

namespace {

// Requests that may wait for the socket before send() does.
constexpr std::size_t kOutgoingMax = 64;
// A connection without requests may be silent for as long as the broker allows.
constexpr core::Duration kIdle = std::chrono::hours(24 * 365);
// Between the first and the last byte of one response.
constexpr core::Duration kWholeFrame = std::chrono::seconds(60);
constexpr std::size_t kCorrelationIdBytes = 4;
// The newest version that asks for nothing this client needs. Brokers that don't know it answer in
// version 0.
constexpr std::int16_t kNegotiationVersion = 3;

}  // namespace

BrokerConnection::BrokerConnection(core::Shard& shard, HostPort address, std::string client_id)
    : shard_(shard),
      address_(std::move(address)),
      client_id_(std::move(client_id)),
      connecting_(shard, 1),
      has_outgoing_(shard),
      has_room_(shard) {}

BrokerConnection::~BrokerConnection() {
  SENTINEL_ASSERT(!socket_.is_open() || shard_.abandoned(),
                  "a connection is closed before it is destroyed");
}

core::Task<core::Status> BrokerConnection::connect(core::Deadline deadline) {
  // Who comes later must not overtake those that wait for the connection: requests leave in order.
  if (state_ == State::connected && connect_waiters_ == 0) co_return core::Status();
  ++connect_waiters_;
  const bool my_turn = co_await connecting_.acquire(1, deadline);
  core::Status status;
  if (!my_turn) {
    status = core::fail(core::Errc::timed_out,
                        fmt::format("no connection to {} in time", address_.to_string()));
  } else {
    if (state_ == State::disconnected) status = co_await establish(deadline);
    if (state_ == State::closed) {
      status = core::fail(core::Errc::closed,
                          fmt::format("the connection to {} was closed", address_.to_string()));
    }
    connecting_.release(1);
  }
  --connect_waiters_;
  co_return status;
}

core::Task<core::Status> BrokerConnection::establish(core::Deadline deadline) {
  core::Status status;
  for (const std::int16_t version : {kNegotiationVersion, std::int16_t{0}}) {
    co_await tear_down();
    SENTINEL_CO_TRY(socket, co_await Socket::connect(shard_, address_, deadline));
    socket_ = std::move(socket);
    tasks_.emplace(shard_);
    tasks_->spawn(write_loop());
    tasks_->spawn(read_loop());
    status = co_await negotiate(version, deadline);
    if (status && state_ == State::disconnected) state_ = State::connected;
    // An old broker answers version 0 only, or hangs up on anything else.
    const bool maybe_old = !status && (status.error().code == core::Errc::unsupported ||
                                       status.error().code == core::Errc::reset);
    if (!maybe_old || state_ == State::closed) break;
  }
  if (!status) co_await tear_down();
  co_return status;
}

core::Task<core::Status> BrokerConnection::negotiate(std::int16_t version,
                                                     core::Deadline deadline) {
  ApiVersionsRequest request;
  request.client_software_name = "sentinel";
  request.client_software_version = SENTINEL_VERSION;
  const std::int32_t correlation_id = next_correlation_id_++;
  SENTINEL_CO_TRY(encoded, encode_request(request, version, correlation_id, client_id_));
  SENTINEL_CO_TRY(frame, co_await exchange(std::move(encoded), correlation_id, deadline));
  SENTINEL_CO_TRY(body, response_body(frame, ApiKey::api_versions, version));
  // The error stands first in every version; with it the rest is in the layout of version 0.
  core::ByteReader error_reader(body);
  if (error_reader.i16() == static_cast<std::int16_t>(ErrorCode::unsupported_version)) {
    co_return core::fail(core::Errc::unsupported, fmt::format("{} does not speak ApiVersions {}",
                                                              address_.to_string(), version));
  }
  auto response = decode<ApiVersionsResponse>(body, version);
  if (!response) co_return std::unexpected(explain(std::move(response).error()));
  if (response->error_code != ErrorCode::none) {
    co_return core::fail(core::Errc::io_error,
                         fmt::format("{} answers ApiVersions with {}", address_.to_string(),
                                     to_string(response->error_code)));
  }
  versions_.clear();
  for (const ApiVersion& api : response->api_keys)
    versions_[api.api_key] = {api.min_version, api.max_version};
  co_return core::Status();
}

core::Result<std::int16_t> BrokerConnection::choose_version(ApiKey key,
                                                            std::int16_t version_max) const {
  const SupportedApi& api = *find_api(key);
  const auto found = versions_.find(std::to_underlying(key));
  if (found == versions_.end()) {
    return core::fail(core::Errc::unsupported, fmt::format("the broker at {} does not offer {}",
                                                           address_.to_string(), api.name));
  }
  const VersionRange offered = found->second;
  const std::int16_t version = std::min({api.max, offered.max, version_max});
  if (version < std::max(api.min_served, offered.min)) {
    return core::fail(
        core::Errc::unsupported,
        fmt::format("the broker at {} speaks {} versions {} to {}, this client {} to {}",
                    address_.to_string(), api.name, offered.min, offered.max, api.min_served,
                    std::min(api.max, version_max)));
  }
  return version;
}

core::Task<core::Result<core::Bytes>> BrokerConnection::exchange(core::Chain frame,
                                                                 std::int32_t correlation_id,
                                                                 core::Deadline deadline) {
  Waiting waiting(shard_);
  unanswered_.push_back({correlation_id, &waiting});
  outgoing_.push_back(std::move(frame));
  has_outgoing_.notify_one();
  while (!waiting.frame) {
    const core::Wake wake = co_await waiting.answered.wait(deadline);
    if (wake == core::Wake::signalled || waiting.frame) continue;
    // What a broker owes in order can't be skipped: the requests behind this one would wait for it
    // as well.
    break_off(core::Error{core::Errc::timed_out, "no answer in time"});
  }
  co_return std::move(*waiting.frame);
}

core::Task<core::Status> BrokerConnection::post(core::Chain frame, core::Deadline deadline) {
  while (outgoing_.size() >= kOutgoingMax) {
    const core::Wake wake = co_await has_room_.wait(deadline);
    if (wake == core::Wake::timed_out) {
      co_return core::fail(core::Errc::timed_out,
                           fmt::format("{} takes no more requests", address_.to_string()));
    }
  }
  if (state_ != State::connected) {
    co_return core::fail(core::Errc::reset,
                         fmt::format("the connection to {} broke", address_.to_string()));
  }
  outgoing_.push_back(std::move(frame));
  has_outgoing_.notify_one();
  co_return core::Status();
}

core::Result<core::Bytes> BrokerConnection::response_body(const core::Bytes& frame, ApiKey key,
                                                          std::int16_t version) const {
  core::ByteReader in(frame);
  auto header = decode_response_header(in, *find_api(key), version);
  if (!header) return std::unexpected(explain(std::move(header).error()));
  return frame.slice(in.consumed(), in.remaining());
}

core::Task<void> BrokerConnection::write_loop() {
  const core::CancelToken token = tasks_->token();
  while (!token.cancelled()) {
    if (outgoing_.empty()) {
      co_await has_outgoing_.wait({}, token);
      continue;
    }
    core::Chain batch;
    for (const core::Chain& frame : outgoing_) {
      for (const core::Bytes& part : frame.parts()) batch.append(part);
    }
    outgoing_.clear();
    has_room_.notify_all();
    auto sent = co_await socket_.send(std::move(batch), {}, token);
    if (!sent) break_off(std::move(sent).error());
  }
}

core::Task<void> BrokerConnection::read_loop() {
  const core::CancelToken token = tasks_->token();
  FrameReader reader(shard_, socket_, kFrameBytesMax);
  while (!token.cancelled()) {
    auto frame = co_await reader.next(kIdle, kWholeFrame, token);
    core::Status status;
    if (!frame) {
      status = std::unexpected(std::move(frame).error());
    } else if (!frame->has_value()) {
      status = core::fail(core::Errc::reset, "the broker closed the connection");
    } else {
      status = deliver(std::move((*frame)->bytes));
    }
    if (!status) break_off(std::move(status).error());
  }
}

/// Hands a response to the oldest request.
core::Status BrokerConnection::deliver(core::Bytes frame) {
  if (frame.size() < kCorrelationIdBytes || unanswered_.empty()) {
    return core::fail(core::Errc::corruption, "a response that belongs to no request");
  }
  const Slot slot = unanswered_.front();
  const auto correlation_id = core::load_be<std::int32_t>(frame.data());
  if (correlation_id != slot.correlation_id) {
    return core::fail(core::Errc::corruption, fmt::format("response {} came where {} was due",
                                                          correlation_id, slot.correlation_id));
  }
  unanswered_.pop_front();
  slot.waiting->frame.emplace(std::move(frame));
  slot.waiting->answered.notify_all();
  return {};
}

/// Fails what is in flight. The socket is closed by the next connect() or by close().
void BrokerConnection::break_off(core::Error error) {
  if (tasks_->cancelled()) return;
  if (state_ == State::connected) state_ = State::disconnected;
  if (error.code == core::Errc::closed) error.code = core::Errc::reset;
  const core::Error explained = explain(std::move(error));
  tasks_->cancel();
  outgoing_.clear();
  has_room_.notify_all();
  for (const Slot& slot : std::exchange(unanswered_, {})) {
    slot.waiting->frame.emplace(std::unexpected(explained));
    slot.waiting->answered.notify_all();
  }
}

core::Error BrokerConnection::explain(core::Error error) const {
  error.message = fmt::format("broker {}: {}", address_.to_string(), error.message);
  return error;
}

core::Task<void> BrokerConnection::tear_down() {
  if (tasks_) {
    break_off(core::Error{core::Errc::closed, "the connection was closed"});
    co_await tasks_->close();
    tasks_.reset();
  }
  co_await socket_.close();
}

core::Task<void> BrokerConnection::close() {
  state_ = State::closed;
  if (tasks_) break_off(core::Error{core::Errc::closed, "the connection was closed"});
  // Whoever is connecting gives up first.
  co_await connecting_.acquire(1);
  co_await tear_down();
  connecting_.release(1);
}

}  // namespace sentinel::net::kafka
