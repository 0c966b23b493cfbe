#pragma once
/// The Ring for hosts and containers that refuse io_uring: Boost.Asio's epoll reactor for sockets,
/// two threads for files. Slower than UringRing, with the same results.

#include <memory>

#include "core/posix_ops.h"
#include "core/ring.h"

namespace sentinel::core {

class AsioRing final : public Ring {
 public:
  static Result<std::unique_ptr<AsioRing>> create();
  /// Waits for file operations that run; the completions of all operations in flight are dropped.
  ~AsioRing() override;

  void submit(Operation& operation) override;
  void cancel(Operation& operation) override;
  void poll(CompletionList& finished, TimePoint until) override;
  void wake(Ring& other) override;
  void notify() override;
  [[nodiscard]] TimePoint now() const override { return monotonic_now(); }
  [[nodiscard]] WallTime wall_now() const override { return wall_clock_now(); }
  [[nodiscard]] Result<Address> local_address(Handle socket) const override;
  [[nodiscard]] Result<Address> peer_address(Handle socket) const override;
  /// Always false: there is nothing to register with.
  bool register_buffers(std::span<const iovec> buffers) override;
  void detach(Handle socket) override;
  void attach(Handle socket) override;
  [[nodiscard]] std::string_view name() const override { return "asio"; }

 private:
  struct Core;  // Keeps Asio's headers out of this one.
  AsioRing();

  std::unique_ptr<Core> core_;
};

}  // namespace sentinel::core
