#include "net/kafka/connection_host.h"

#include <algorithm>

#include "core/call.h"

namespace sentinel::net::kafka {

namespace {

constexpr core::Duration kLogInterval = std::chrono::seconds(1);
// After a failed accept, as when descriptors run out: long enough not to spin, short enough not to
// be noticed.
constexpr core::Duration kAcceptPause = std::chrono::milliseconds(100);

}  // namespace

ConnectionHost::ConnectionHost(const BrokerConfig& config, consensus::BrokerShard& broker,
                               core::Log* log)
    : shard_(broker.shard()),
      config_(config),
      broker_(broker),
      log_(log),
      budgets_{.requests = FlowBudget(shard_, config.memory.requests),
               .responses = FlowBudget(shard_, config.memory.responses)},
      bad_clients_(kLogInterval),
      scope_(shard_) {}

ConnectionHost::~ConnectionHost() = default;

core::Task<bool> ConnectionHost::adopt(ConnectionHost* self, core::Handle handle) {
  self->shard_.ring().attach(handle);
  Socket socket(self->shard_, handle);
  if (self->closing_ || self->connections_.size() >= self->config_.memory.connections) {
    co_await socket.close();
    co_return false;
  }
  self->scope_.spawn(self->serve(std::move(socket)));
  co_return true;
}

core::Task<void> ConnectionHost::serve(Socket socket) {
  HostPort endpoint = endpoint_of(socket);
  Connection connection(config_, broker_, std::move(socket), std::move(endpoint), budgets_,
                        limits_);
  connections_.push_back(&connection);
  const ConnectionEnd end = co_await connection.run();
  std::erase(connections_, &connection);
  if (!end.error.empty()) report(connection.socket(), end.error);
  if (end.move_to.has_value() && !closing_) {
    co_await move(&connection.socket(), *end.move_to);
    co_return;
  }
  co_await connection.socket().shutdown();
  co_await connection.socket().close();
}

core::Task<void> ConnectionHost::move(Socket* socket, core::Shard::Id to) {
  ConnectionHost* there = peers_.at(to);
  const core::Handle handle = socket->release();
  co_await core::call(shard_, there->shard_, &ConnectionHost::adopt, there, handle);
}

HostPort ConnectionHost::endpoint_of(const Socket& socket) const {
  const auto local = socket.local_address();
  // A connection that is gone already has no address, and nobody to tell it to.
  HostPort endpoint{.host = local ? local->host() : "localhost",
                    .port = local ? local->port : std::uint16_t{0}};
  if (!config_.advertise.has_value()) return endpoint;
  endpoint.host = config_.advertise->host;
  if (config_.advertise->port != 0) endpoint.port = config_.advertise->port;
  return endpoint;
}

void ConnectionHost::report(const Socket& socket, const std::string& error) {
  std::uint64_t suppressed = 0;
  if (log_ == nullptr || !bad_clients_.allow(shard_.now(), suppressed)) return;
  const auto peer = socket.peer_address();
  log_->write(core::LogLevel::warn, "closed the connection of {}: {}{}",
              peer ? peer->to_string() : "a client that is gone", error,
              suppressed > 0 ? fmt::format(" ({} more such lines suppressed)", suppressed) : "");
}

core::Task<void> ConnectionHost::close() {
  closing_ = true;
  for (Connection* connection : connections_) connection->stop();
  co_await scope_.close();
}

Acceptor::Acceptor(core::Shard& shard, std::unique_ptr<Listener> listener,
                   std::vector<ConnectionHost*> hosts, core::Log* log)
    : shard_(shard),
      listener_(std::move(listener)),
      hosts_(std::move(hosts)),
      log_(log),
      refused_(kLogInterval),
      scope_(shard) {
  scope_.spawn(run());
}

Acceptor::~Acceptor() = default;

core::Task<void> Acceptor::run() {
  while (!scope_.cancelled()) {
    auto socket = co_await listener_->accept(scope_.token());
    if (!socket) {
      if (socket.error().code == core::Errc::cancelled) co_return;
      std::uint64_t suppressed = 0;
      if (log_ != nullptr && refused_.allow(shard_.now(), suppressed)) {
        log_->write(core::LogLevel::warn, "cannot take a new connection: {}",
                    socket.error().message);
      }
      co_await core::sleep_for(shard_, kAcceptPause, scope_.token());
      continue;
    }
    ConnectionHost* host = hosts_[next_host_++ % hosts_.size()];
    const core::Handle handle = socket->release();
    co_await core::call(shard_, host->shard(), &ConnectionHost::adopt, host, handle);
  }
}

core::Task<void> Acceptor::close() {
  co_await scope_.close();
  co_await listener_->close();
}

}  // namespace sentinel::net::kafka
