#pragma once
/// Memory that the messages of clients take on one shard, in bytes.
///
/// Who waits for memory waits for a message to leave or to be served. One that does neither,
/// because its client stopped sending or reading in the middle, would hold up all the others: such
/// a client loses its connection, and it can come back. Nobody is dropped while there is memory for
/// all.

#include <cstdint>

#include "core/clock.h"
#include "core/intrusive_list.h"
#include "core/shard.h"
#include "core/sync.h"

namespace sentinel::net {

struct PassageTag;

class FlowBudget {
 public:
  /// A client whose message may take too long.
  class Peer {
   public:
    /// Ends the connection. Called once a passage at most.
    virtual void too_slow() = 0;

   protected:
    ~Peer() = default;
  };

  /// A message that holds memory and moves only as fast as its client does: for as long as it is
  /// being received or sent.
  class Passage : public core::ListHook<PassageTag> {
   public:
    /// Both outlive the passage.
    Passage(FlowBudget& budget, Peer& peer);

   private:
    friend class FlowBudget;
    const core::TimePoint since_;
    Peer& peer_;
  };

  FlowBudget(core::Shard& shard, std::uint64_t total) : shard_(shard), units_(shard, total) {}

  bool try_acquire(std::uint64_t units) { return units_.try_acquire(units); }
  /// Takes `units`, at most the total. False when the deadline passed or the token was cancelled;
  /// then nothing was taken.
  core::Task<bool> acquire(std::uint64_t units, core::Deadline deadline, core::CancelToken token);
  /// Takes `units` that are in use already: what is missing is a debt that later ones wait for.
  void overdraw(std::uint64_t units) { units_.overdraw(units); }
  void release(std::uint64_t units) { units_.release(units); }
  [[nodiscard]] std::uint64_t available() const { return units_.available(); }
  [[nodiscard]] std::uint64_t total() const { return units_.total(); }

 private:
  core::Task<void> drop_the_slow(core::CancelToken token);

  core::Shard& shard_;
  core::Semaphore units_;
  core::IntrusiveList<Passage, PassageTag> passages_;  // Oldest first.
};

}  // namespace sentinel::net
