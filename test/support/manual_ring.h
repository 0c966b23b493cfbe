#pragma once
/// A ring for tests of what stands on top of it: time moves when the test moves it, and a nop is
/// the only operation. Sleeping is a defect of the test, so that it moves time to the next timer
/// instead.

#include <cerrno>

#include "core/ring.h"

namespace sentinel::test {

class ManualRing final : public core::Ring {
 public:
  void submit(core::Operation& operation) override {
    operation.result = operation.code == core::OpCode::nop ? 0 : -ENOSYS;
    ready_.push(operation);
  }
  void cancel(core::Operation&) override {}
  void poll(core::CompletionList& finished, core::TimePoint until) override {
    while (core::Operation* operation = ready_.pop()) finished.push(*operation);
    if (finished.empty() && until > now_ && until != core::TimePoint::max()) now_ = until;
  }
  void wake(core::Ring&) override {}
  void notify() override {}
  [[nodiscard]] core::TimePoint now() const override { return now_; }
  [[nodiscard]] core::WallTime wall_now() const override { return {}; }
  [[nodiscard]] core::Result<core::Address> local_address(core::Handle) const override {
    return core::fail(core::Errc::unsupported);
  }
  [[nodiscard]] core::Result<core::Address> peer_address(core::Handle) const override {
    return core::fail(core::Errc::unsupported);
  }
  bool register_buffers(std::span<const iovec>) override { return false; }
  void detach(core::Handle) override {}
  void attach(core::Handle) override {}
  [[nodiscard]] std::string_view name() const override { return "manual"; }

  void advance(core::Duration by) { now_ += by; }

 private:
  core::TimePoint now_{std::chrono::hours(1)};
  core::CompletionList ready_;
};

}  // namespace sentinel::test
