#pragma once
/// The simulator's Ring: files go to the node's SimDisk, sockets to the SimNetwork, time is
/// virtual.

#include <vector>

#include "core/ring.h"
#include "test/support/sim_disk.h"
#include "test/support/sim_network.h"
#include "test/support/sim_schedule.h"

namespace sentinel::test {

class SimRing final : public core::Ring, private EventTarget {
 public:
  /// All but `shard`, a number for the trace, outlive the ring.
  SimRing(SimSchedule& schedule, SimNetwork& network, SimHost& host, std::uint32_t shard);
  /// Operations in progress are forgotten: their memory may be gone.
  ~SimRing() override;
  SimRing(const SimRing&) = delete;
  SimRing& operator=(const SimRing&) = delete;

  void submit(core::Operation& operation) override;
  void cancel(core::Operation& operation) override;
  /// Never sleeps: the world moves time when nothing is left to do.
  void poll(core::CompletionList& finished, core::TimePoint until) override;
  void wake(core::Ring& other) override;
  void notify() override { schedule_.make_runnable(*this); }
  [[nodiscard]] core::TimePoint now() const override { return host_.local(schedule_.now()); }
  [[nodiscard]] core::WallTime wall_now() const override;
  [[nodiscard]] core::Result<core::Address> local_address(core::Handle socket) const override;
  [[nodiscard]] core::Result<core::Address> peer_address(core::Handle socket) const override;
  bool register_buffers(std::span<const iovec> buffers) override;
  void detach(core::Handle socket) override;
  void attach(core::Handle socket) override;
  [[nodiscard]] std::string_view name() const override { return "sim"; }

  /// Whether poll() would hand out something.
  [[nodiscard]] bool has_finished() const { return !ready_.empty(); }
  /// Never reused within one schedule.
  [[nodiscard]] std::uint32_t id() const { return target_; }
  /// Whether register_buffers() declines.
  void set_register_buffers(bool allowed) { allows_buffers_ = allowed; }
  /// For SimNetwork.
  void complete(std::uint32_t slot, std::int64_t result);

 private:
  friend class SimSchedule;
  struct Slot {
    core::Operation* operation = nullptr;  // Null: free.
    std::uint32_t generation = 0;
    SimDisk::Ticket ticket;
  };
  void on_event(std::uint64_t tag) override;
  void submit_to_disk(std::uint32_t slot);
  void close_handle(std::uint32_t slot);
  void complete_later(std::uint32_t slot, core::Duration delay);
  [[nodiscard]] std::int64_t resolve(const core::Operation& operation) const;
  [[nodiscard]] bool names_its_buffer(const core::Operation& operation) const;
  void trace(const core::Operation& operation, bool completion);

  SimSchedule& schedule_;
  SimNetwork& network_;
  SimHost& host_;
  const std::uint32_t shard_;
  const std::uint32_t target_;
  bool listed_ = false;  // On the schedule's list of runnable rings.
  bool allows_buffers_ = true;
  std::vector<iovec> buffers_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  core::CompletionList ready_;
};

}  // namespace sentinel::test
