#pragma once
/// The way from one shard to one shard of another node: a connection that is kept up, on which
/// messages leave in order.
///
/// While a send is under way what comes next is gathered for the following one. What can't be sent
/// because the connection is down, or broke, is lost; the protocol on top makes up for it. Entries
/// are also left out when too many bytes wait already.

#include <deque>
#include <functional>
#include <map>
#include <string>

#include "consensus/multi_raft.h"
#include "core/log.h"
#include "core/scope.h"
#include "core/sync.h"
#include "net/rpc/frame.h"
#include "net/rpc/handshake.h"
#include "net/socket.h"

namespace sentinel::net::rpc {

/// A node that can be connected to.
struct PeerAddress {
  std::int32_t node_id = 0;
  HostPort address;
};

/// Why a handshake failed: Errc::refused, with a code, when the other node said no.
struct HandshakeError {
  core::Error error;
  std::optional<RefusalCode> refusal;
};

struct Greeted {
  Socket socket;
  Welcome welcome;
};
/// Connects to a node and exchanges Hello and Welcome.
core::Task<core::Result<Greeted, HandshakeError>> greet(core::Shard& shard, PeerAddress to,
                                                        Hello hello, core::Deadline deadline,
                                                        core::CancelToken token);

class PeerLink {
 public:
  /// Told when the connection is up. Outlives the link.
  class Owner {
   public:
    virtual void on_link_up(PeerLink& link, const Welcome& welcome) = 0;

   protected:
    ~Owner() = default;
  };

  /// References outlive the link; `log` may be null.
  PeerLink(core::Shard& shard, const LocalNode& self, PeerAddress to, std::uint32_t to_shard,
           Owner& owner, core::Log* log);
  ~PeerLink();
  core::Task<void> close();

  [[nodiscard]] std::int32_t to_node() const { return to_.node_id; }
  [[nodiscard]] std::uint32_t to_shard() const { return to_shard_; }
  [[nodiscard]] bool is_up() const { return up_; }
  /// From the next attempt on.
  void set_address(HostPort address) { to_.address = std::move(address); }

  void send(FrameType type, consensus::PeerTransport::Kind kind, core::Chain body);
  /// Asks the other node something. Errc::unreachable when the connection is down; closed when it
  /// breaks: it may have been carried out; timed_out.
  core::Task<core::Result<core::Bytes>> call(core::Bytes request, core::Deadline deadline);

 private:
  struct Waiting {
    explicit Waiting(core::Shard& shard) : answered(shard) {}
    core::Signal answered;
    std::optional<core::Result<core::Bytes>> answer;
  };

  core::Task<void> run();
  core::Task<void> serve();
  core::Task<void> write();
  core::Task<void> read();
  core::Status take(const core::Bytes& frame);
  void break_off(core::Error error);
  void report(const HandshakeError& error);
  core::Duration next_pause();

  core::Shard& shard_;
  const LocalNode& self_;
  PeerAddress to_;
  const std::uint32_t to_shard_;
  Owner& owner_;
  core::Log* const log_;
  core::RateLimit failures_;
  core::Duration pause_;

  Socket socket_;
  bool up_ = false;
  bool broken_ = false;
  std::deque<core::Chain> queue_;
  std::size_t queued_bytes_ = 0;
  core::Signal queued_;
  std::map<std::uint64_t, Waiting*> waiting_;
  std::uint64_t calls_ = 0;
  core::TaskScope scope_;
};

}  // namespace sentinel::net::rpc
