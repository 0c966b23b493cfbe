#pragma once
/// The client's side of one broker: a connection that is made when it is needed and made again
/// after it broke.
///
/// Requests are pipelined: one task writes what is queued, one reads responses and hands each to
/// the oldest request that waits. A connection that fails, or a broker that lets a deadline pass,
/// fails all requests in flight; the next call connects anew. Calls leave in the order in which
/// they were started.
///
/// Source: the Kafka protocol guide; KIP-35 and KIP-511 for the choice of versions.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "core/bytes.h"
#include "core/result.h"
#include "core/scope.h"
#include "core/shard.h"
#include "core/sync.h"
#include "core/task.h"
#include "net/frame_reader.h"
#include "net/kafka/messages/api_versions.h"
#include "net/kafka/wire.h"
#include "net/socket.h"

namespace sentinel::net::kafka {

/// A decoded response and the bytes that its strings and records point into.
template <Response T>
struct Answer {
  core::Bytes body;
  T message;
};

class BrokerConnection {
 public:
  /// Does not connect yet. `client_id` travels in every request.
  BrokerConnection(core::Shard& shard, HostPort address, std::string client_id);
  /// Asserts that close() has finished.
  ~BrokerConnection();
  BrokerConnection(const BrokerConnection&) = delete;
  BrokerConnection& operator=(const BrokerConnection&) = delete;

  [[nodiscard]] const HostPort& address() const { return address_; }
  [[nodiscard]] bool connected() const { return state_ == State::connected; }

  /// Connects and agrees on versions unless that is done. Errors name the address.
  core::Task<core::Status> connect(core::Deadline deadline);

  /// Sends `request` at the highest version that both sides speak, `version_max` at most, and waits
  /// for its response. What the request's strings point to stays valid until the call has ended.
  ///
  /// Errors    refused, unreachable, reset, closed, timed_out (the broker may still carry the
  /// request out); unsupported when the
  ///           versions don't meet; corruption for a response that can't be decoded.
  template <Response R, Request Q>
  core::Task<core::Result<Answer<R>>> call(Q request, core::Deadline deadline,
                                           std::int16_t version_max = kNoVersionMax);

  /// Sends a request that the broker does not answer: Produce with acks=0. Resolves when it has
  /// been queued; waits while many others are.
  template <Request Q>
  core::Task<core::Status> send(Q request, core::Deadline deadline);

  /// Ends the connection. Calls in flight fail with Errc::closed; await them before the object is
  /// destroyed.
  core::Task<void> close();

  static constexpr std::int16_t kNoVersionMax = INT16_MAX;

 private:
  enum class State : std::uint8_t { disconnected, connected, closed };

  /// One call that waits for its response. Lives in the caller's frame.
  struct Waiting {
    explicit Waiting(core::Shard& shard) : answered(shard) {}
    core::Signal answered;
    std::optional<core::Result<core::Bytes>> frame;
  };
  /// The place of a request in the order of responses.
  struct Slot {
    std::int32_t correlation_id = 0;
    Waiting* waiting = nullptr;
  };
  struct VersionRange {
    std::int16_t min = 0;
    std::int16_t max = 0;
  };

  core::Task<core::Status> establish(core::Deadline deadline);
  core::Task<core::Status> negotiate(std::int16_t version, core::Deadline deadline);
  core::Task<void> tear_down();

  [[nodiscard]] core::Result<std::int16_t> choose_version(ApiKey key,
                                                          std::int16_t version_max) const;
  core::Task<core::Result<core::Bytes>> exchange(core::Chain frame, std::int32_t correlation_id,
                                                 core::Deadline deadline);
  core::Task<core::Status> post(core::Chain frame, core::Deadline deadline);
  [[nodiscard]] core::Result<core::Bytes> response_body(const core::Bytes& frame, ApiKey key,
                                                        std::int16_t version) const;
  core::Task<void> write_loop();
  core::Task<void> read_loop();
  core::Status deliver(core::Bytes frame);
  void break_off(core::Error error);
  [[nodiscard]] core::Error explain(core::Error error) const;

  core::Shard& shard_;
  const HostPort address_;
  const std::string client_id_;

  State state_ = State::disconnected;
  core::Semaphore connecting_;  // One at a time, in order of arrival.
  std::size_t connect_waiters_ = 0;

  // Of the present connection.
  Socket socket_;
  std::optional<core::TaskScope> tasks_;
  std::map<std::int16_t, VersionRange> versions_;
  std::deque<core::Chain> outgoing_;
  core::Signal has_outgoing_;
  core::Signal has_room_;
  std::deque<Slot> unanswered_;
  std::int32_t next_correlation_id_ = 0;
};

template <Response R, Request Q>
core::Task<core::Result<Answer<R>>> BrokerConnection::call(Q request, core::Deadline deadline,
                                                           std::int16_t version_max) {
  SENTINEL_CO_CHECK(co_await connect(deadline));
  SENTINEL_CO_TRY(version, choose_version(Q::kKey, version_max));
  const std::int32_t correlation_id = next_correlation_id_++;
  SENTINEL_CO_TRY(encoded, encode_request(request, version, correlation_id, client_id_));
  SENTINEL_CO_TRY(frame, co_await exchange(std::move(encoded), correlation_id, deadline));
  SENTINEL_CO_TRY(body, response_body(frame, Q::kKey, version));
  auto message = decode<R>(body, version);
  if (!message) co_return std::unexpected(explain(std::move(message).error()));
  Answer<R> answer;
  answer.body = std::move(body);
  answer.message = std::move(*message);
  co_return answer;
}

template <Request Q>
core::Task<core::Status> BrokerConnection::send(Q request, core::Deadline deadline) {
  SENTINEL_CO_CHECK(co_await connect(deadline));
  SENTINEL_CO_TRY(version, choose_version(Q::kKey, kNoVersionMax));
  SENTINEL_CO_TRY(encoded, encode_request(request, version, next_correlation_id_++, client_id_));
  co_return co_await post(std::move(encoded), deadline);
}

}  // namespace sentinel::net::kafka
