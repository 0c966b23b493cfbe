#include "core/mailbox.h"

#include "core/assert.h"

namespace sentinel::core {

void MailboxLane::push(Message& message) {
  const std::size_t tail = tail_.load(std::memory_order_relaxed);
  if (tail - head_seen_ == kCapacity) {
    head_seen_ = head_.load(std::memory_order_acquire);
    SENTINEL_ASSERT(tail - head_seen_ < kCapacity, "call() bounds what is in flight");
  }
  slots_[tail % kCapacity] = &message;
  tail_.store(tail + 1, std::memory_order_release);
}

Message* MailboxLane::pop() {
  if (empty()) return nullptr;
  const std::size_t head = head_.load(std::memory_order_relaxed);
  Message* message = slots_[head % kCapacity];
  head_.store(head + 1, std::memory_order_release);
  return message;
}

void Mailbox::open_lanes(std::size_t shard_count) {
  for (std::size_t i = 0; i < shard_count; ++i) lanes_.push_back(std::make_unique<MailboxLane>());
}

bool Mailbox::push(std::uint32_t from, Message& message) {
  lanes_.at(from)->push(message);
  // Pairs with the fence in prepare_sleep(): either this side sees the flag, or the receiver sees
  // the message.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return asleep_.load(std::memory_order_relaxed) &&
         asleep_.exchange(false, std::memory_order_relaxed);
}

void Mailbox::inject(Message& message) {
  const std::lock_guard lock(injected_mutex_);
  injected_.push_back(&message);
  injected_any_.store(true, std::memory_order_release);
}

bool Mailbox::deliver() {
  bool any = false;
  for (auto& lane : lanes_) {
    while (Message* message = lane->pop()) {
      message->deliver_(*message);
      any = true;
    }
  }
  if (injected_any_.load(std::memory_order_acquire)) {
    std::vector<Message*> messages;
    {
      const std::lock_guard lock(injected_mutex_);
      messages.swap(injected_);
      injected_any_.store(false, std::memory_order_relaxed);
    }
    for (Message* message : messages) message->deliver_(*message);
    any |= !messages.empty();
  }
  return any;
}

bool Mailbox::has_messages() const {
  for (const auto& lane : lanes_) {
    if (!lane->empty()) return true;
  }
  return injected_any_.load(std::memory_order_acquire);
}

bool Mailbox::prepare_sleep() {
  asleep_.store(true, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return !has_messages();
}

}  // namespace sentinel::core
