#pragma once
/// The network between simulated nodes: TCP connections as in-order byte streams with drawn
/// segments and delays, bounded buffers, and links that can be cut in either direction.
///
/// Node i has the address 10.0.0.i; loopback addresses mean the node itself. A cut link loses
/// nothing of a connection that is open: what was sent arrives when the link heals, as with TCP.

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "core/random.h"
#include "core/ring.h"
#include "test/support/sim_schedule.h"

namespace sentinel::test {

class SimDisk;
class SimRing;

using NodeId = std::uint32_t;  ///< From 1.

/// What all rings of one node share.
struct SimHost {
  enum class Kind : std::uint8_t { closed, file, listener, connection };
  struct Entry {
    Kind kind = Kind::closed;
    std::uint8_t end = 0;     ///< Of a connection: 0 for the side that connected.
    std::uint32_t index = 0;  ///< Of the listener or connection.
  };

  NodeId id = 0;
  SimDisk* disk = nullptr;
  core::Duration wall_offset{};
  bool powered = true;  ///< False: nothing answers, not even with a reset.
  bool failed = false;  ///< The node has failed: what it submits is not carried out any more.
  /// Handles are never reused within a life, so that a use after close is always found.
  std::vector<Entry> handles;
  std::uint16_t next_port = 32768;

  /// The node's own time, which may run at another rate than the world's.
  [[nodiscard]] core::TimePoint local(core::TimePoint world) const {
    return local_since + scaled(world - rate_since, rate);
  }
  /// When the node's time will be at least that.
  [[nodiscard]] core::TimePoint world(core::TimePoint at) const {
    if (at == core::TimePoint::max()) return at;
    return rate_since + scaled(at - local_since, 1 / rate) +
           core::Duration(rate == 1.0 ? 0 : 2);  // Rounded down on the way back.
  }
  void set_rate(core::TimePoint now, double new_rate) {
    local_since = local(now);
    rate_since = now;
    rate = new_rate;
  }

  static constexpr core::Handle kFirstHandle = 3;
  core::Handle add_handle(Entry entry);
  [[nodiscard]] Entry* find(core::Handle handle);

 private:
  static core::Duration scaled(core::Duration duration, double by) {
    if (by == 1.0) return duration;
    return core::Duration(
        static_cast<core::Duration::rep>(static_cast<double>(duration.count()) * by));
  }
  double rate = 1;
  core::TimePoint rate_since{std::chrono::hours(1)};
  core::TimePoint local_since{std::chrono::hours(1)};
};

core::Address address_of(NodeId node, std::uint16_t port);

struct NetworkOptions {
  LatencyModel delay{.least = std::chrono::microseconds(20),
                     .mean = std::chrono::microseconds(80),
                     .stall_max = {}};
  std::size_t segment_bytes_min = 1;
  std::size_t segment_bytes_max = 64 * 1024;
  double small_segment_probability = 0.05;  ///< Of a segment of any size; the others are full.
  double short_send_probability = 0.02;     ///< Of a send that takes less than there is room for.
  std::size_t buffer_bytes = 256 * 1024;    ///< Sent and not yet received, of one direction.
  double bytes_per_nanosecond = 1.25;
};

class SimNetwork final : private EventTarget {
 public:
  explicit SimNetwork(SimSchedule& schedule);
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  /// Free for the test to change at any time.
  NetworkOptions options;

  // Faults.

  /// Stops what travels from one node to another; the other direction is a link of its own.
  void cut(NodeId from, NodeId to);
  void heal(NodeId from, NodeId to);
  void cut_both(NodeId a, NodeId b);
  void heal_all();
  [[nodiscard]] bool is_cut(NodeId from, NodeId to) const;
  /// Breaks all connections between two nodes.
  void reset_connections(NodeId a, NodeId b);
  [[nodiscard]] std::size_t open_connections() const;

  // For SimWorld and SimRing.

  void add_host(SimHost& host);
  /// The process has ended: its sockets close. Without power the peers see nothing until the node
  /// is back. Operations in progress are forgotten without completing.
  void host_down(SimHost& host, bool powered);
  void host_up(SimHost& host);

  /// An operation in progress, by its slot in its ring.
  struct Pending {
    SimRing* ring = nullptr;
    std::uint32_t slot = 0;
    core::Operation* operation = nullptr;
    friend bool operator==(const Pending& a, const Pending& b) {
      return a.operation == b.operation;
    }
  };
  void submit(SimHost& host, Pending pending);
  void cancel(SimHost& host, Pending pending);
  std::int64_t close(SimHost& host, core::Handle handle);
  [[nodiscard]] core::Result<core::Address> local_address(SimHost& host, core::Handle handle) const;
  [[nodiscard]] core::Result<core::Address> peer_address(SimHost& host, core::Handle handle) const;
  [[nodiscard]] bool is_idle(SimHost& host, core::Handle handle) const;

 private:
  struct Listener {
    NodeId host = 0;
    core::Address address;
    std::size_t backlog = 0;
    bool open = true;
    std::deque<std::uint32_t> waiting;  ///< Connections that nobody has accepted.
    std::deque<Pending> accepts;
  };
  struct End {
    NodeId host = 0;
    core::Address address;
    bool open = false;
    bool ended = false;  ///< The other side has sent its end.
    bool reset = false;
    bool shut = false;  ///< This side has sent its end.
    std::deque<Pending> receives;
    std::deque<Pending> sends;
  };
  struct Segment {
    enum class Kind : std::uint8_t { bytes, end, reset };
    core::TimePoint arrives;
    Kind kind = Kind::bytes;
    std::size_t length = 0;
  };
  /// What travels to one end.
  struct Flow {
    std::vector<std::byte> bytes;  ///< From `head`: first what has arrived, then what travels.
    std::size_t head = 0;
    std::size_t arrived = 0;
    std::deque<Segment> segments;
    core::TimePoint last_arrival{};
    bool scheduled = false;
    bool stalled = false;
    [[nodiscard]] std::size_t size() const { return bytes.size() - head; }
  };
  struct Connection {
    std::array<End, 2> ends;
    std::array<Flow, 2> flows;  ///< flows[i] leads to ends[i].
    Pending connecting;
    int events = 0;  ///< Scheduled and not yet delivered.
    int attempts = 0;
  };
  enum class Step : std::uint8_t { flow_to_0, flow_to_1, arrive, establish, refuse };

  void on_event(std::uint64_t tag) override;
  void schedule(core::TimePoint at, std::uint32_t connection, Step step);
  [[nodiscard]] core::TimePoint after_delay() {
    return schedule_.now() + options.delay.draw(random_);
  }

  std::int64_t listen(SimHost& host, const core::Operation& operation);
  void accept(SimHost& host, Pending pending);
  void connect(SimHost& host, Pending pending);
  void receive(SimHost& host, Pending pending);
  void send(SimHost& host, Pending pending);
  std::int64_t shut_down(SimHost& host, core::Handle handle);

  void arrive(std::uint32_t index);
  void establish(std::uint32_t index);
  void retry_or_time_out(std::uint32_t index);
  [[nodiscard]] SimHost* host_at(const core::Address& address, NodeId from);
  Listener* listener_at(NodeId host, const core::Address& address);
  void serve_accepts(std::uint32_t listener);

  [[nodiscard]] std::int64_t try_receive(Connection& connection, std::size_t end,
                                         const core::Operation& operation);
  [[nodiscard]] std::int64_t try_send(std::uint32_t index, std::size_t end,
                                      const core::Operation& operation);
  void serve_receives(std::uint32_t index, std::size_t end);
  void serve_sends(std::uint32_t index, std::size_t end);
  void push_segment(std::uint32_t index, std::size_t to, Segment::Kind kind, std::size_t length);
  void schedule_flow(std::uint32_t index, std::size_t to);
  void deliver_flow(std::uint32_t index, std::size_t to);
  void deliver(std::uint32_t index, std::size_t to, const Segment& segment);
  void break_end(End& end);
  void close_end(std::uint32_t index, std::size_t end, bool silently);
  void close_listener(Listener& listener);
  void resume_stalled();
  [[nodiscard]] bool can_pass(NodeId from, NodeId to) const;
  void free_if_over(std::uint32_t index);
  [[nodiscard]] SimHost& host(NodeId id) const { return *hosts_.at(id - 1); }
  std::uint16_t free_port(SimHost& host);
  static void complete(const Pending& pending, std::int64_t result);

  SimSchedule& schedule_;
  const std::uint32_t target_;
  core::Random random_;
  std::vector<SimHost*> hosts_;
  std::vector<Listener> listeners_;
  std::vector<std::unique_ptr<Connection>> connections_;  // Null once over.
  std::set<std::pair<NodeId, NodeId>> cuts_;
};

}  // namespace sentinel::test
