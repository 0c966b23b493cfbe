#pragma once
/// One client connection: frames in, answers out in the same order.
///
/// Requests are read ahead and served concurrently, so that those a client pipelines share a
/// commit; each starts in order, and answers wait for their turn. Everything is bounded: requests
/// in flight, bytes in flight on the shard, the time a frame may take. A connection that is over a
/// bound is not read until there is room again. A connection whose requests are all served by one
/// other shard moves there: a hop between sleeping cores costs 20 to 30 us.

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "core/scope.h"
#include "core/sync.h"
#include "net/frame_reader.h"
#include "net/kafka/context.h"
#include "net/socket.h"

namespace sentinel::net::kafka {

struct ConnectionLimits {
  std::size_t requests_max = 64;
  core::Duration idle = std::chrono::minutes(10);
  core::Duration frame = std::chrono::seconds(30);
  core::Duration send = std::chrono::seconds(60);
};

/// What the connections of a shard share, in bytes.
struct ConnectionBudgets {
  FlowBudget requests;   ///< Of large frames being received or served.
  FlowBudget responses;  ///< Of records on their way out.
};

/// How a connection ended.
struct ConnectionEnd {
  std::optional<core::Shard::Id>
      move_to;        ///< Not ended but to go on there; the socket is still open.
  std::string error;  ///< What the client did wrong; empty for an ordinary end.
};

class Connection final : private FlowBudget::Peer {
 public:
  /// References outlive the connection.
  Connection(const BrokerConfig& config, consensus::BrokerShard& broker, Socket socket,
             HostPort endpoint, ConnectionBudgets& budgets, const ConnectionLimits& limits);
  ~Connection();

  /// Serves until the client goes, misbehaves, or `stop` is called; all work for the client has
  /// ended when it resolves.
  core::Task<ConnectionEnd> run();
  /// Makes run() end.
  void stop();
  /// After run(): the socket, to be closed or moved.
  Socket& socket() { return socket_; }

 private:
  struct Slot;

  void too_slow() override;
  core::Task<void> read_requests();
  core::Task<void> serve(Slot* slot, Frame frame);
  core::Task<void> write_responses();
  core::Task<bool> send(core::Chain data, std::uint64_t response_bytes);
  void note_served_by(const Reply& reply);
  [[nodiscard]] bool wants_to_move() const;

  core::Shard& shard_;
  const BrokerConfig& config_;
  consensus::BrokerShard& broker_;
  Socket socket_;
  const HostPort endpoint_;
  ConnectionBudgets& budgets_;
  const ConnectionLimits& limits_;
  FrameReader reader_;

  std::deque<std::unique_ptr<Slot>> slots_;  // Requests in flight, oldest first.
  core::Signal slot_done_;
  core::Signal slot_freed_;
  AnswerOrder order_;
  std::uint64_t next_number_ = 0;
  bool reading_ = true;

  core::Shard::Id favoured_shard_ = 0;
  std::uint32_t favoured_count_ = 0;
  ConnectionEnd end_;
  core::CancelSource polls_;  // Long polls end when the client does; other requests are finished.
  core::TaskScope scope_;
};

}  // namespace sentinel::net::kafka
