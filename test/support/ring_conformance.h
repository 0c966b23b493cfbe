#pragma once
/// One script of operations that every Ring must answer in the same way: UringRing, AsioRing and
/// the simulator's. Code above the seam relies on nothing that is not checked here.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/ring.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::test {

/// One kind of ring and the place where its scripts work.
struct RingFactory {
  std::string name;
  /// An existing, empty directory as the rings see it.
  std::string directory;
  /// Rings that reach each other's sockets. Several may live at the same time, on one thread.
  std::function<std::unique_ptr<core::Ring>()> make;
  /// Turns the shards until `done` says so. Empty: they turn on this thread, one after the other.
  std::function<void(std::span<core::Shard* const>, const std::function<bool()>& done)> drive;
};

/// What a script saw, one line a step: "open a missing file -> ENOENT".
class Transcript {
 public:
  void note(std::string_view step, std::string_view outcome);
  /// Counts as they are, errors by name.
  void note(std::string_view step, std::int64_t result);
  /// "ok" for a handle, errors by name.
  void note_handle(std::string_view step, std::int64_t result);
  [[nodiscard]] std::string text() const { return text_; }

 private:
  std::string text_;
};

/// Turns `shards` as the factory wants until `done` says so.
void drive_until(const RingFactory& factory, std::span<core::Shard* const> shards,
                 const std::function<bool()>& done);
/// Runs a coroutine on a shard of its own until it has ended.
void run_on_ring(const RingFactory& factory, core::Task<void> (*body)(core::Shard&, Transcript&),
                 Transcript& transcript);

/// The parts of the script; each returns its transcript.
std::string run_file_script(const RingFactory& factory);
std::string run_name_script(const RingFactory& factory);
std::string run_socket_script(const RingFactory& factory);
std::string run_cancel_script(const RingFactory& factory);
std::string run_transfer_script(const RingFactory& factory);
std::string run_timer_script(const RingFactory& factory);
std::string run_handover_script(const RingFactory& factory);

/// Runs all parts and compares them with what is written down in ring_conformance.cpp.
void check_ring_conformance(const RingFactory& factory);

}  // namespace sentinel::test
