#include "test/support/sim_network.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/assert.h"
#include "test/support/sim_ring.h"

namespace sentinel::test {

using core::Address;
using core::Handle;
using core::OpCode;
using core::Operation;

namespace {

// A lost connection request is repeated as Linux does it: after 1, 2, 4, ... seconds, six times.
constexpr core::Duration kFirstRetry = std::chrono::seconds(1);
constexpr int kAttemptsMax = 7;
constexpr std::uint16_t kFirstFreePort = 32768;

bool is_loopback(const Address& address) {
  Address v6{.ip = {}, .v6 = true, .port = address.port};
  v6.ip.back() = 1;
  return address == v6 || (!address.v6 && address.ip[0] == 127);
}

bool is_any(const Address& address) { return address.ip == std::array<std::uint8_t, 16>{}; }

}  // namespace

// Hosts.

Address address_of(NodeId node, std::uint16_t port) {
  return Address{.ip = {10, 0, 0, static_cast<std::uint8_t>(node)}, .v6 = false, .port = port};
}

Handle SimHost::add_handle(Entry entry) {
  handles.push_back(entry);
  return static_cast<Handle>(handles.size() - 1) + kFirstHandle;
}

SimHost::Entry* SimHost::find(Handle handle) {
  const auto index = static_cast<std::size_t>(handle - kFirstHandle);
  if (handle < kFirstHandle || index >= handles.size()) return nullptr;
  return handles[index].kind == Kind::closed ? nullptr : &handles[index];
}

SimNetwork::SimNetwork(SimSchedule& schedule)
    : schedule_(schedule), target_(schedule.add_target(*this)), random_(schedule.stream("net")) {}

SimNetwork::~SimNetwork() { schedule_.remove_target(target_); }

void SimNetwork::add_host(SimHost& host) {
  hosts_.push_back(&host);
  host.id = static_cast<NodeId>(hosts_.size());
}

void SimNetwork::host_down(SimHost& host, bool powered) {
  host.powered = powered;
  for (Listener& listener : listeners_) {
    if (listener.host != host.id || !listener.open) continue;
    listener.accepts.clear();
    close_listener(listener);
  }
  for (std::uint32_t i = 0; i < connections_.size(); ++i) {
    for (std::size_t end = 0; end < 2 && connections_[i] != nullptr; ++end) {
      End& gone = connections_[i]->ends[end];
      if (gone.host != host.id) continue;
      gone.receives.clear();
      gone.sends.clear();
      if (end == 0) connections_[i]->connecting = {};
      close_end(i, end, !powered);
    }
  }
  host.handles.clear();
}

void SimNetwork::host_up(SimHost& host) {
  host.powered = true;
  host.failed = false;
  resume_stalled();
}

std::uint16_t SimNetwork::free_port(SimHost& host) {
  for (;;) {
    const std::uint16_t port = host.next_port;
    host.next_port = port == UINT16_MAX ? kFirstFreePort : static_cast<std::uint16_t>(port + 1);
    const bool taken = std::ranges::any_of(listeners_, [&](const Listener& each) {
      return each.open && each.host == host.id && each.address.port == port;
    });
    if (!taken) return port;
  }
}

SimHost* SimNetwork::host_at(const Address& address, NodeId from) {
  if (is_loopback(address) || is_any(address)) return &host(from);
  const bool ours = !address.v6 && address.ip[0] == 10 && address.ip[1] == 0 && address.ip[2] == 0;
  const NodeId node = address.ip[3];
  return ours && node >= 1 && node <= hosts_.size() ? &host(node) : nullptr;
}

// Links.

bool SimNetwork::is_cut(NodeId from, NodeId to) const {
  return !cuts_.empty() && cuts_.contains({from, to});
}

bool SimNetwork::can_pass(NodeId from, NodeId to) const {
  return host(to).powered && !is_cut(from, to);
}

void SimNetwork::cut(NodeId from, NodeId to) {
  if (from != to) cuts_.insert({from, to});
}

void SimNetwork::cut_both(NodeId a, NodeId b) {
  cut(a, b);
  cut(b, a);
}

void SimNetwork::heal(NodeId from, NodeId to) {
  cuts_.erase({from, to});
  resume_stalled();
}

void SimNetwork::heal_all() {
  cuts_.clear();
  resume_stalled();
}

void SimNetwork::resume_stalled() {
  for (std::uint32_t i = 0; i < connections_.size(); ++i) {
    if (connections_[i] == nullptr) continue;
    for (std::size_t to = 0; to < 2; ++to) {
      Flow& flow = connections_[i]->flows[to];
      if (!flow.stalled) continue;
      flow.stalled = false;
      schedule_flow(i, to);
    }
  }
}

void SimNetwork::reset_connections(NodeId a, NodeId b) {
  for (std::uint32_t i = 0; i < connections_.size(); ++i) {
    if (connections_[i] == nullptr) continue;
    const NodeId x = connections_[i]->ends[0].host;
    const NodeId y = connections_[i]->ends[1].host;
    if (!(x == a && y == b) && !(x == b && y == a)) continue;
    push_segment(i, 0, Segment::Kind::reset, 0);
    push_segment(i, 1, Segment::Kind::reset, 0);
  }
}

std::size_t SimNetwork::open_connections() const {
  return static_cast<std::size_t>(std::ranges::count_if(connections_, [](const auto& each) {
    return each != nullptr && (each->ends[0].open || each->ends[1].open);
  }));
}

// Events.

void SimNetwork::schedule(core::TimePoint at, std::uint32_t connection, Step step) {
  ++connections_[connection]->events;
  schedule_.schedule(at, target_,
                     std::uint64_t{connection} << 8 | static_cast<std::uint64_t>(step));
}

void SimNetwork::on_event(std::uint64_t tag) {
  const auto index = static_cast<std::uint32_t>(tag >> 8);
  Connection& connection = *connections_.at(index);
  --connection.events;
  switch (static_cast<Step>(tag & 0xff)) {
    case Step::flow_to_0: deliver_flow(index, 0); break;
    case Step::flow_to_1: deliver_flow(index, 1); break;
    case Step::arrive: arrive(index); break;
    case Step::establish: establish(index); break;
    case Step::refuse: complete(std::exchange(connection.connecting, {}), -ECONNREFUSED); break;
  }
  free_if_over(index);
}

void SimNetwork::free_if_over(std::uint32_t index) {
  const Connection& connection = *connections_[index];
  const bool open = connection.ends[0].open || connection.ends[1].open;
  if (open || connection.events > 0 || connection.connecting.ring != nullptr) return;
  connections_[index].reset();
}

void SimNetwork::complete(const Pending& pending, std::int64_t result) {
  if (pending.ring != nullptr) pending.ring->complete(pending.slot, result);
}

// Operations.

void SimNetwork::submit(SimHost& host, Pending pending) {
  const Operation& operation = *pending.operation;
  switch (operation.code) {
    case OpCode::listen_tcp: return complete(pending, listen(host, operation));
    case OpCode::accept_tcp: return accept(host, pending);
    case OpCode::connect_tcp: return connect(host, pending);
    case OpCode::receive: return receive(host, pending);
    case OpCode::send: return send(host, pending);
    case OpCode::shutdown_socket: return complete(pending, shut_down(host, operation.handle));
    case OpCode::open_file:
    case OpCode::close_handle:
    case OpCode::read:
    case OpCode::write:
    case OpCode::sync_data:
    case OpCode::sync_all:
    case OpCode::allocate:
    case OpCode::truncate:
    case OpCode::punch_hole:
    case OpCode::advise_random:
    case OpCode::rename_file:
    case OpCode::unlink_file:
    case OpCode::make_directory:
    case OpCode::remove_directory:
    case OpCode::list_directory:
    case OpCode::stat_path:
    case OpCode::lock_file:
    case OpCode::free_space:
    case OpCode::resolve_host:
    case OpCode::nop: break;
  }
  SENTINEL_ASSERT(false, "{} is not an operation of a network", to_string(operation.code));
}

void SimNetwork::cancel(SimHost& host, Pending pending) {
  const Operation& operation = *pending.operation;
  if (operation.code == OpCode::connect_tcp) {
    // The newest are the likeliest to be still connecting.
    for (std::size_t i = connections_.size(); i-- > 0;) {
      Connection* connection = connections_[i].get();
      if (connection == nullptr || connection->connecting != pending) continue;
      connection->connecting = {};
      break;
    }
  } else if (const SimHost::Entry* entry = host.find(operation.handle); entry != nullptr) {
    if (entry->kind == SimHost::Kind::listener) {
      std::erase(listeners_[entry->index].accepts, pending);
    } else {
      End& end = connections_[entry->index]->ends[entry->end];
      std::erase(operation.code == OpCode::send ? end.sends : end.receives, pending);
    }
  }
  complete(pending, -ECANCELED);
}

std::int64_t SimNetwork::close(SimHost& host, Handle handle) {
  SimHost::Entry* entry = host.find(handle);
  const SimHost::Entry closed = std::exchange(*entry, {});
  if (closed.kind == SimHost::Kind::listener) {
    close_listener(listeners_[closed.index]);
  } else {
    close_end(closed.index, closed.end, false);
  }
  return 0;
}

core::Result<Address> SimNetwork::local_address(SimHost& host, Handle handle) const {
  const SimHost::Entry* entry = host.find(handle);
  if (entry == nullptr || entry->kind == SimHost::Kind::file) {
    return core::fail(core::Errc::invalid_argument);
  }
  if (entry->kind == SimHost::Kind::listener) return listeners_[entry->index].address;
  return connections_[entry->index]->ends[entry->end].address;
}

core::Result<Address> SimNetwork::peer_address(SimHost& host, Handle handle) const {
  const SimHost::Entry* entry = host.find(handle);
  if (entry == nullptr || entry->kind != SimHost::Kind::connection) {
    return core::fail(core::Errc::closed);
  }
  return connections_[entry->index]->ends[1U - entry->end].address;
}

bool SimNetwork::is_idle(SimHost& host, Handle handle) const {
  const SimHost::Entry* entry = host.find(handle);
  if (entry == nullptr || entry->kind != SimHost::Kind::connection) return false;
  const End& end = connections_[entry->index]->ends[entry->end];
  return end.receives.empty() && end.sends.empty();
}

// Listening and connecting.

std::int64_t SimNetwork::listen(SimHost& host, const Operation& operation) {
  Address address = *operation.address;
  const bool local = is_any(address) || host_at(address, host.id) == &host;
  if (!local) return -EADDRNOTAVAIL;
  if (address.port == 0) address.port = free_port(host);
  for (const Listener& each : listeners_) {
    const bool same = each.address == address || is_any(each.address) || is_any(address);
    if (each.open && each.host == host.id && each.address.port == address.port && same) {
      return -EADDRINUSE;
    }
  }
  listeners_.emplace_back();
  Listener& listener = listeners_.back();
  listener.host = host.id;
  listener.address = address;
  listener.backlog = std::max<std::size_t>(operation.flags, 1);
  return host.add_handle({.kind = SimHost::Kind::listener,
                          .index = static_cast<std::uint32_t>(listeners_.size() - 1)});
}

void SimNetwork::accept(SimHost& host, Pending pending) {
  const SimHost::Entry* entry = host.find(pending.operation->handle);
  if (entry == nullptr) return complete(pending, -EBADF);
  if (entry->kind != SimHost::Kind::listener || !listeners_[entry->index].open) {
    return complete(pending, -EINVAL);
  }
  listeners_[entry->index].accepts.push_back(pending);
  serve_accepts(entry->index);
}

void SimNetwork::serve_accepts(std::uint32_t listener_index) {
  Listener& listener = listeners_[listener_index];
  while (!listener.accepts.empty() && !listener.waiting.empty()) {
    const Pending pending = listener.accepts.front();
    const std::uint32_t index = listener.waiting.front();
    listener.accepts.pop_front();
    listener.waiting.pop_front();
    complete(pending,
             host(listener.host)
                 .add_handle({.kind = SimHost::Kind::connection, .end = 1, .index = index}));
  }
}

SimNetwork::Listener* SimNetwork::listener_at(NodeId host, const Address& address) {
  const auto found = std::ranges::find_if(listeners_, [&](const Listener& each) {
    return each.open && each.host == host && each.address.port == address.port &&
           (each.address == address || is_any(each.address));
  });
  return found == listeners_.end() ? nullptr : &*found;
}

void SimNetwork::connect(SimHost& host, Pending pending) {
  const Address to = *pending.operation->address;
  SimHost* target = host_at(to, host.id);
  if (target == nullptr) return complete(pending, -EHOSTUNREACH);
  const auto index = static_cast<std::uint32_t>(connections_.size());
  connections_.push_back(std::make_unique<Connection>());
  Connection& connection = *connections_.back();
  const std::uint16_t port = free_port(host);
  const bool inside = target == &host && is_loopback(to);
  connection.ends[0].host = host.id;
  connection.ends[0].address = inside ? Address::loopback(port) : address_of(host.id, port);
  connection.ends[1].host = target->id;
  connection.ends[1].address = to;
  connection.connecting = pending;
  schedule(after_delay(), index, Step::arrive);
}

void SimNetwork::arrive(std::uint32_t index) {
  Connection& connection = *connections_[index];
  const NodeId from = connection.ends[0].host;
  const NodeId to = connection.ends[1].host;
  if (connection.connecting.ring == nullptr) return;
  if (!can_pass(from, to)) return retry_or_time_out(index);
  Listener* listener = listener_at(to, connection.ends[1].address);
  if (listener == nullptr) {
    if (is_cut(to, from)) return retry_or_time_out(index);
    return schedule(after_delay(), index, Step::refuse);
  }
  if (listener->waiting.size() >= listener->backlog) return retry_or_time_out(index);
  connection.ends[1].open = true;
  listener->waiting.push_back(index);
  schedule(after_delay(), index, Step::establish);
  serve_accepts(static_cast<std::uint32_t>(listener - listeners_.data()));
}

void SimNetwork::retry_or_time_out(std::uint32_t index) {
  Connection& connection = *connections_[index];
  if (++connection.attempts == kAttemptsMax) {
    return complete(std::exchange(connection.connecting, {}), -ETIMEDOUT);
  }
  schedule(schedule_.now() + kFirstRetry * (1 << (connection.attempts - 1)), index, Step::arrive);
}

void SimNetwork::establish(std::uint32_t index) {
  Connection& connection = *connections_[index];
  const NodeId from = connection.ends[1].host;
  const NodeId to = connection.ends[0].host;
  if (connection.connecting.ring == nullptr) {
    // The caller has given up: the side that was accepted learns it.
    return push_segment(index, 1, Segment::Kind::reset, 0);
  }
  if (!can_pass(from, to)) return schedule(schedule_.now() + kFirstRetry, index, Step::establish);
  connection.ends[0].open = true;
  const Handle handle =
      host(to).add_handle({.kind = SimHost::Kind::connection, .end = 0, .index = index});
  complete(std::exchange(connection.connecting, {}), handle);
}

// Bytes.

void SimNetwork::receive(SimHost& host, Pending pending) {
  const SimHost::Entry* entry = host.find(pending.operation->handle);
  if (entry == nullptr || entry->kind == SimHost::Kind::file) return complete(pending, -EBADF);
  if (entry->kind == SimHost::Kind::listener) return complete(pending, -ENOTCONN);
  const std::uint32_t index = entry->index;
  const std::size_t end = entry->end;
  connections_[index]->ends[end].receives.push_back(pending);
  serve_receives(index, end);
}

void SimNetwork::serve_receives(std::uint32_t index, std::size_t end) {
  Connection& connection = *connections_[index];
  std::deque<Pending>& receives = connection.ends[end].receives;
  bool took = false;
  while (!receives.empty()) {
    const std::int64_t result = try_receive(connection, end, *receives.front().operation);
    if (result == -EAGAIN) break;
    took |= result > 0;
    const Pending pending = receives.front();
    receives.pop_front();
    complete(pending, result);
  }
  if (took) serve_sends(index, 1 - end);
}

std::int64_t SimNetwork::try_receive(Connection& connection, std::size_t end_index,
                                     const Operation& operation) {
  End& end = connection.ends[end_index];
  Flow& flow = connection.flows[end_index];
  if (flow.arrived == 0) {
    if (end.reset) return -ECONNRESET;
    return end.ended || end.shut ? 0 : -EAGAIN;
  }
  std::size_t done = 0;
  for (unsigned i = 0; i < operation.vector_count && flow.arrived > 0; ++i) {
    const std::size_t part = std::min(operation.vectors[i].iov_len, flow.arrived);
    std::memcpy(operation.vectors[i].iov_base, flow.bytes.data() + flow.head, part);
    flow.head += part;
    flow.arrived -= part;
    done += part;
  }
  if (flow.head == flow.bytes.size()) {
    flow.bytes.clear();
    flow.head = 0;
  } else if (flow.head > options.buffer_bytes) {
    flow.bytes.erase(flow.bytes.begin(),
                     flow.bytes.begin() + static_cast<std::ptrdiff_t>(flow.head));
    flow.head = 0;
  }
  return static_cast<std::int64_t>(done);
}

void SimNetwork::send(SimHost& host, Pending pending) {
  const SimHost::Entry* entry = host.find(pending.operation->handle);
  if (entry == nullptr || entry->kind == SimHost::Kind::file) return complete(pending, -EBADF);
  if (entry->kind == SimHost::Kind::listener) return complete(pending, -ENOTCONN);
  const std::uint32_t index = entry->index;
  const std::size_t end = entry->end;
  connections_[index]->ends[end].sends.push_back(pending);
  serve_sends(index, end);
}

void SimNetwork::serve_sends(std::uint32_t index, std::size_t end) {
  std::deque<Pending>& sends = connections_[index]->ends[end].sends;
  while (!sends.empty()) {
    const std::int64_t result = try_send(index, end, *sends.front().operation);
    if (result == -EAGAIN) return;
    const Pending pending = sends.front();
    sends.pop_front();
    complete(pending, result);
  }
}

std::int64_t SimNetwork::try_send(std::uint32_t index, std::size_t end,
                                  const Operation& operation) {
  Connection& connection = *connections_[index];
  if (connection.ends[end].shut) return -EPIPE;
  if (connection.ends[end].reset) return -ECONNRESET;
  Flow& flow = connection.flows[1 - end];
  std::size_t room = options.buffer_bytes - std::min(options.buffer_bytes, flow.size());
  if (room == 0) return -EAGAIN;
  std::size_t wanted = 0;
  for (unsigned i = 0; i < operation.vector_count; ++i) wanted += operation.vectors[i].iov_len;
  room = std::min(room, wanted);
  if (room > 1 && random_.chance(options.short_send_probability))
    room = 1 + random_.below(room - 1);
  std::size_t left = room;
  for (unsigned i = 0; i < operation.vector_count && left > 0; ++i) {
    const auto* from = static_cast<const std::byte*>(operation.vectors[i].iov_base);
    const std::size_t part = std::min(operation.vectors[i].iov_len, left);
    flow.bytes.insert(flow.bytes.end(), from, from + part);
    left -= part;
  }
  for (left = room; left > 0;) {
    std::size_t length = std::min(left, options.segment_bytes_max);
    if (length > options.segment_bytes_min && random_.chance(options.small_segment_probability)) {
      length = random_.between(options.segment_bytes_min, length);
    }
    push_segment(index, 1 - end, Segment::Kind::bytes, length);
    left -= length;
  }
  return static_cast<std::int64_t>(room);
}

void SimNetwork::push_segment(std::uint32_t index, std::size_t to, Segment::Kind kind,
                              std::size_t length) {
  Flow& flow = connections_[index]->flows[to];
  const auto on_the_wire =
      core::Duration(1 + static_cast<core::Duration::rep>(static_cast<double>(length) /
                                                          options.bytes_per_nanosecond));
  flow.last_arrival = std::max(flow.last_arrival, after_delay()) + on_the_wire;
  flow.segments.push_back({flow.last_arrival, kind, length});
  schedule_flow(index, to);
}

void SimNetwork::schedule_flow(std::uint32_t index, std::size_t to) {
  Flow& flow = connections_[index]->flows[to];
  if (flow.scheduled || flow.stalled || flow.segments.empty()) return;
  flow.scheduled = true;
  schedule(flow.segments.front().arrives, index, to == 0 ? Step::flow_to_0 : Step::flow_to_1);
}

void SimNetwork::deliver_flow(std::uint32_t index, std::size_t to) {
  Connection& connection = *connections_[index];
  Flow& flow = connection.flows[to];
  flow.scheduled = false;
  if (!can_pass(connection.ends[1 - to].host, connection.ends[to].host)) {
    flow.stalled = true;
    return;
  }
  const Segment segment = flow.segments.front();
  flow.segments.pop_front();
  deliver(index, to, segment);
  schedule_flow(index, to);
}

void SimNetwork::deliver(std::uint32_t index, std::size_t to, const Segment& segment) {
  Connection& connection = *connections_[index];
  End& end = connection.ends[to];
  Flow& flow = connection.flows[to];
  // The side that connected may get bytes before it knows that it is connected.
  const bool exists = end.open || (to == 0 && connection.connecting.ring != nullptr);
  if (!exists) {
    if (segment.kind == Segment::Kind::bytes) {
      flow.head += segment.length;
      if (flow.head == flow.bytes.size()) {
        flow.bytes.clear();
        flow.head = 0;
      }
      if (connection.ends[1 - to].open) push_segment(index, 1 - to, Segment::Kind::reset, 0);
    }
    return;
  }
  switch (segment.kind) {
    case Segment::Kind::bytes: flow.arrived += segment.length; break;
    case Segment::Kind::end: end.ended = true; break;
    case Segment::Kind::reset:
      // Bytes that nobody has received are lost with the connection.
      flow.head += flow.arrived;
      flow.arrived = 0;
      return break_end(end);
  }
  serve_receives(index, to);
}

void SimNetwork::break_end(End& end) {
  end.reset = true;
  for (std::deque<Pending>* list : {&end.receives, &end.sends}) {
    while (!list->empty()) {
      const Pending pending = list->front();
      list->pop_front();
      complete(pending, -ECONNRESET);
    }
  }
}

// Ends.

std::int64_t SimNetwork::shut_down(SimHost& host, Handle handle) {
  const SimHost::Entry* entry = host.find(handle);
  if (entry == nullptr) return -EBADF;
  if (entry->kind == SimHost::Kind::file) return -ENOTSOCK;
  if (entry->kind == SimHost::Kind::listener) {
    Listener& listener = listeners_[entry->index];
    while (!listener.accepts.empty()) {
      complete(listener.accepts.front(), -EINVAL);
      listener.accepts.pop_front();
    }
    close_listener(listener);
    return 0;
  }
  const std::uint32_t index = entry->index;
  const std::size_t which = entry->end;
  End& end = connections_[index]->ends[which];
  if (end.reset) return -ENOTCONN;
  if (!end.shut) push_segment(index, 1 - which, Segment::Kind::end, 0);
  end.shut = true;
  serve_receives(index, which);
  serve_sends(index, which);
  return 0;
}

void SimNetwork::close_listener(Listener& listener) {
  listener.open = false;
  while (!listener.accepts.empty()) {
    complete(listener.accepts.front(), -ECANCELED);
    listener.accepts.pop_front();
  }
  while (!listener.waiting.empty()) {
    const std::uint32_t index = listener.waiting.front();
    listener.waiting.pop_front();
    if (connections_[index] == nullptr) continue;
    connections_[index]->ends[1].open = false;
    push_segment(index, 0, Segment::Kind::reset, 0);
  }
}

void SimNetwork::close_end(std::uint32_t index, std::size_t which, bool silently) {
  Connection& connection = *connections_[index];
  End& end = connection.ends[which];
  for (std::deque<Pending>* list : {&end.receives, &end.sends}) {
    while (!list->empty()) {
      const Pending pending = list->front();
      list->pop_front();
      complete(pending, -ECANCELED);
    }
  }
  if (std::exchange(end.open, false) && !silently) {
    // Closing with bytes unread tells the other side that they were not taken.
    const bool unread = connection.flows[which].arrived > 0;
    if (unread) {
      push_segment(index, 1 - which, Segment::Kind::reset, 0);
    } else if (!end.shut && !end.reset) {
      push_segment(index, 1 - which, Segment::Kind::end, 0);
    }
  }
  free_if_over(index);
}

}  // namespace sentinel::test
