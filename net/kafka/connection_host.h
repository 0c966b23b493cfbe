#pragma once
/// The client connections of one shard, and the listener that deals them out.

#include <memory>
#include <vector>

#include "core/log.h"
#include "core/scope.h"
#include "core/sync.h"
#include "net/kafka/connection.h"

namespace sentinel::net::kafka {

class ConnectionHost {
 public:
  /// References outlive the host; `log` may be null.
  ConnectionHost(const BrokerConfig& config, consensus::BrokerShard& broker, core::Log* log);
  ~ConnectionHost();
  /// `peers[i]` belongs to shard i. Before the first connection.
  void connect(std::vector<ConnectionHost*> peers) { peers_ = std::move(peers); }

  /// Takes over a connection that no ring owns at the moment. False when this shard has too many;
  /// the socket is closed then.
  static core::Task<bool> adopt(ConnectionHost* self, core::Handle handle);
  /// Ends all connections and waits until their work has ended.
  core::Task<void> close();
  [[nodiscard]] std::size_t connection_count() const { return connections_.size(); }
  [[nodiscard]] core::Shard& shard() { return shard_; }

 private:
  core::Task<void> serve(Socket socket);
  core::Task<void> move(Socket* socket, core::Shard::Id to);
  [[nodiscard]] HostPort endpoint_of(const Socket& socket) const;
  void report(const Socket& socket, const std::string& error);

  core::Shard& shard_;
  const BrokerConfig& config_;
  consensus::BrokerShard& broker_;
  core::Log* const log_;
  const ConnectionLimits limits_;
  std::vector<ConnectionHost*> peers_;
  ConnectionBudgets budgets_;
  core::RateLimit bad_clients_;
  bool closing_ = false;
  std::vector<Connection*> connections_;
  core::TaskScope scope_;
};

/// Accepts connections on one port and deals them to the shards in turn.
class Acceptor {
 public:
  /// On the shard that the listener was opened on; `hosts` as for ConnectionHost::connect().
  Acceptor(core::Shard& shard, std::unique_ptr<Listener> listener,
           std::vector<ConnectionHost*> hosts, core::Log* log);
  ~Acceptor();
  [[nodiscard]] std::uint16_t port() const { return listener_->port(); }
  core::Task<void> close();

 private:
  core::Task<void> run();

  core::Shard& shard_;
  std::unique_ptr<Listener> listener_;
  const std::vector<ConnectionHost*> hosts_;
  core::Log* const log_;
  core::RateLimit refused_;
  std::size_t next_host_ = 0;
  core::TaskScope scope_;
};

}  // namespace sentinel::net::kafka
