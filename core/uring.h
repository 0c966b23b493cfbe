#pragma once
/// The Ring of production: one io_uring for files, sockets and wake-ups. Linux 6.1 and later; with
/// fewer flags, and slower, on some kernels before.
///
/// Flags (SINGLE_ISSUER, DEFER_TASKRUN): the kernel posts completions only when this thread enters
/// it, so one system call a poll() both submits and collects. Receives and accepts are single-shot:
/// they fill the buffer their caller owns, and each completes exactly once.

#include <liburing.h>

#include <array>
#include <memory>
#include <vector>

#include "core/posix_ops.h"
#include "core/ring.h"

namespace sentinel::core {

class UringRing final : public Ring {
 public:
  /// Created on the thread that will use and destroy it. Fails where the system refuses io_uring;
  /// the message names the likely reasons.
  static Result<std::unique_ptr<UringRing>> create();
  /// Cancels what is in flight and waits until the kernel has let go of it; completions are
  /// dropped.
  ~UringRing() override;

  void submit(Operation& operation) override;
  void cancel(Operation& operation) override;
  void poll(CompletionList& finished, TimePoint until) override;
  void wake(Ring& other) override;
  void notify() override;
  [[nodiscard]] TimePoint now() const override { return monotonic_now(); }
  [[nodiscard]] WallTime wall_now() const override { return wall_clock_now(); }
  [[nodiscard]] Result<Address> local_address(Handle socket) const override;
  [[nodiscard]] Result<Address> peer_address(Handle socket) const override;
  bool register_buffers(std::span<const iovec> buffers) override;
  void detach(Handle socket) override;
  void attach(Handle socket) override;
  [[nodiscard]] std::string_view name() const override { return "uring"; }

 private:
  static constexpr unsigned kEntries = 1024;

  /// What a submission refers to besides its Operation. The kernel reads it while it takes the
  /// entry, so that it belongs to the entry's place in the queue.
  union Scratch {
    Scratch() : message() {}
    msghdr message;
    NativeAddress address;
  };

  UringRing();
  Status open();
  io_uring_sqe& next_entry();
  Scratch& scratch_of(const io_uring_sqe& entry);
  void enter(bool may_sleep, TimePoint until);
  void sleep(TimePoint until);
  void collect();
  void take(const io_uring_cqe& completion);
  std::int64_t conclude(Operation& operation, std::int64_t result);
  void arm_notification();
  void drain();

  void complete_now(Operation& operation, std::int64_t result);
  bool run_in_place(Operation& operation);
  void start(Operation& operation);
  void prepare_file(io_uring_sqe& entry, Operation& operation);
  void prepare_transfer(io_uring_sqe& entry, const Operation& operation);
  void prepare_name(io_uring_sqe& entry, Operation& operation);
  void prepare_send(io_uring_sqe& entry, const Operation& operation);
  void start_connect(Operation& operation);
  void start_close(Operation& operation);
  void add_pending(Handle socket, int change);
  struct statx* take_stat_slot();

  io_uring ring_{};
  bool ring_open_ = false;
  int notify_fd_ = -1;
  std::uint64_t notify_count_ = 0;  // Written by the kernel when notify_fd_ is read.
  bool notify_armed_ = false;

  CompletionList ready_;         // Finished, not handed out yet.
  std::uint64_t in_flight_ = 0;  // Operations the kernel holds or will take.
  std::array<Scratch, kEntries> scratch_;
  std::vector<std::uint16_t> pending_;  // By socket: operations in flight on it.
  std::vector<std::unique_ptr<struct statx>> stat_slots_;
  std::vector<struct statx*> free_stat_slots_;
  HostResolver resolver_{*this};
  BusyYield busy_yield_;
};

}  // namespace sentinel::core
