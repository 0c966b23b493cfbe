#pragma once
/// Messages between shards: for each pair and direction one bounded ring with a single producer and
/// a single consumer. The consumer is woken through its ring only when it sleeps.
///
/// call() runs a coroutine function on another shard and awaits its result. The request lives in
/// the caller's frame; nothing is allocated but the frame of the function that runs there.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace sentinel::core {

/// Something to be delivered to another shard. The sender keeps it alive until deliver_ has run
/// there.
class Message {
 protected:
  using Deliver = void (*)(Message&);
  ~Message() = default;
  Deliver deliver_ = nullptr;

 private:
  friend class Mailbox;
};

/// One direction between two shards.
class MailboxLane {
 public:
  /// Calls in flight from one shard to another at most; callers beyond wait for their turn. The
  /// ring also holds the answers to as many calls of the other direction, so it can't overflow.
  static constexpr std::size_t kCallsMax = 1024;
  static constexpr std::size_t kCapacity = 2 * kCallsMax;

  void push(Message& message);
  Message* pop();
  [[nodiscard]] bool empty() const {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_acquire);
  }

 private:
  std::array<Message*, kCapacity> slots_{};
  alignas(64) std::atomic<std::size_t> tail_{0};  // Written by the producer.
  std::size_t head_seen_ = 0;
  alignas(64) std::atomic<std::size_t> head_{0};  // Written by the consumer.
};

/// The receiving side of one shard.
class Mailbox {
 public:
  void open_lanes(std::size_t shard_count);

  /// Called on the sender's thread. Returns whether the receiver must be woken.
  bool push(std::uint32_t from, Message& message);
  /// For threads that are no shard: signals and start-up. Takes a lock. The caller wakes the
  /// receiver with Ring::notify().
  void inject(Message& message);

  /// Delivers everything that has arrived; returns whether there was anything.
  bool deliver();
  [[nodiscard]] bool has_messages() const;
  /// Announces sleep. False when a message arrived meanwhile: do not sleep then.
  bool prepare_sleep();
  void awake() { asleep_.store(false, std::memory_order_relaxed); }

 private:
  std::vector<std::unique_ptr<MailboxLane>> lanes_;
  std::atomic<bool> asleep_{false};
  std::atomic<bool> injected_any_{false};
  std::mutex injected_mutex_;
  std::vector<Message*> injected_;
};

}  // namespace sentinel::core
