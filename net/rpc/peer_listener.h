#pragma once
/// Accepts the connections of other nodes, decides who may come in, and hands them to the shards.

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "core/log.h"
#include "core/scope.h"
#include "net/rpc/peers.h"

namespace sentinel::net::rpc {

class PeerListener {
 public:
  /// On the shard that the listener was opened on. `log` may be null.
  PeerListener(core::Shard& shard, std::unique_ptr<Listener> listener, core::Log* log);
  ~PeerListener();
  core::Task<void> close();
  [[nodiscard]] std::uint16_t port() const { return listener_->port(); }

  /// Who this node is; before it is known nobody comes in.
  void introduce(LocalNode self) { self_ = std::move(self); }
  /// `peers[i]` belongs to shard i. From now on nodes may connect, not only ask.
  void attach(std::vector<Peers*> peers) { peers_ = std::move(peers); }
  /// What is known of a disk: whoever comes with it and has started less often is a copy.
  void note_boot(const core::Uuid& disk, const consensus::Boot& boot);
  /// Stores a start that was not known, before the node is let in: who is started anew must know
  /// from whom it has had messages. False when it can't.
  using OnMet = std::function<core::Task<bool>(core::Uuid, consensus::Boot)>;
  /// `stored` are those that were stored before.
  void set_on_met(OnMet on_met, std::map<core::Uuid, consensus::Boot> stored);

 private:
  struct Connected {
    core::Uuid disk;
    std::size_t count = 0;
  };

  core::Task<void> run();
  core::Task<void> greet(Socket socket);
  core::Task<bool> meet(const Hello& hello);
  core::Task<core::Result<Hello>> receive_hello(Socket* socket);
  [[nodiscard]] std::optional<Refused> check(const Hello& hello) const;
  void report(const Refused& refused, const Hello& hello);

  core::Shard& shard_;
  std::unique_ptr<Listener> listener_;
  core::Log* const log_;
  std::optional<LocalNode> self_;
  std::vector<Peers*> peers_;
  std::map<core::Uuid, consensus::Boot> boots_;
  OnMet on_met_;
  std::map<core::Uuid, consensus::Boot> stored_;
  std::map<std::int32_t, Connected> connected_;
  std::size_t greeting_ = 0;
  core::RateLimit refusals_;
  core::TaskScope scope_;
};

}  // namespace sentinel::net::rpc
