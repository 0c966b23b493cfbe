#include "test/support/sim_ring.h"

#include <cerrno>
#include <charconv>
#include <string_view>
#include <utility>

#include "core/assert.h"

namespace sentinel::test {

using core::Handle;
using core::OpCode;
using core::Operation;

namespace {

constexpr core::Duration kResolveTime = std::chrono::microseconds(200);
// 2026-01-01: record timestamps look like those of a real broker.
constexpr core::WallTime kWallStart{std::chrono::milliseconds(1'767'225'600'000)};

}  // namespace

SimRing::SimRing(SimSchedule& schedule, SimNetwork& network, SimHost& host, std::uint32_t shard)
    : schedule_(schedule),
      network_(network),
      host_(host),
      shard_(shard),
      target_(schedule.add_target(*this)) {}

SimRing::~SimRing() {
  schedule_.forget(*this);
  schedule_.remove_target(target_);
}

void SimRing::submit(Operation& operation) {
  operation.ring_data = 0;
  if (host_.failed) return;
  trace(operation, false);
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[slot].operation = &operation;
  operation.ring_data = slot + 1;
  if (operation.code == OpCode::nop) {
    complete(slot, 0);
  } else if (operation.code == OpCode::close_handle) {
    close_handle(slot);
  } else if (operation.code == OpCode::resolve_host) {
    complete_later(slot, kResolveTime);
  } else if (SimDisk::handles(operation.code)) {
    submit_to_disk(slot);
  } else {
    network_.submit(host_, {.ring = this, .slot = slot, .operation = &operation});
  }
}

void SimRing::submit_to_disk(std::uint32_t slot) {
  Slot& used = slots_[slot];
  const Operation& operation = *used.operation;
  if (operation.buffer_index >= 0 && !names_its_buffer(operation)) return complete(slot, -EFAULT);
  Handle handle = core::kNoHandle;
  if (operation.code == OpCode::open_file) {
    handle = host_.add_handle({.kind = SimHost::Kind::file});
  }
  used.ticket = host_.disk->begin(operation, handle);
  complete_later(slot, used.ticket.latency);
}

bool SimRing::names_its_buffer(const Operation& operation) const {
  const auto index = static_cast<std::size_t>(operation.buffer_index);
  if (index >= buffers_.size() || operation.vector_count != 1) return false;
  const auto* from = static_cast<const std::byte*>(buffers_[index].iov_base);
  const auto* used = static_cast<const std::byte*>(operation.vectors[0].iov_base);
  return used >= from && used + operation.vectors[0].iov_len <= from + buffers_[index].iov_len;
}

void SimRing::close_handle(std::uint32_t slot) {
  const Handle handle = slots_[slot].operation->handle;
  SimHost::Entry* entry = host_.find(handle);
  if (entry == nullptr) return complete(slot, -EBADF);
  if (entry->kind != SimHost::Kind::file) return complete(slot, network_.close(host_, handle));
  entry->kind = SimHost::Kind::closed;
  submit_to_disk(slot);
}

void SimRing::complete_later(std::uint32_t slot, core::Duration delay) {
  schedule_.schedule(schedule_.now() + delay, target_,
                     std::uint64_t{slots_[slot].generation} << 32 | slot);
}

void SimRing::on_event(std::uint64_t tag) {
  const auto slot = static_cast<std::uint32_t>(tag);
  const Slot& used = slots_.at(slot);
  if (used.operation == nullptr || used.generation != tag >> 32) return;
  const Operation& operation = *used.operation;
  complete(slot, operation.code == OpCode::resolve_host
                     ? resolve(operation)
                     : host_.disk->finish(used.ticket, operation));
}

void SimRing::complete(std::uint32_t slot, std::int64_t result) {
  Slot& used = slots_.at(slot);
  Operation& operation = *std::exchange(used.operation, nullptr);
  ++used.generation;
  free_slots_.push_back(slot);
  operation.ring_data = 0;
  operation.result = result;
  trace(operation, true);
  ready_.push(operation);
  schedule_.make_runnable(*this);
}

void SimRing::cancel(Operation& operation) {
  if (operation.ring_data == 0) return;
  const auto slot = static_cast<std::uint32_t>(operation.ring_data - 1);
  SENTINEL_ASSERT(slots_.at(slot).operation == &operation, "an operation of another ring");
  if (operation.code == OpCode::resolve_host) return complete(slot, -ECANCELED);
  // A file operation can't be stopped once the kernel has it.
  if (SimDisk::handles(operation.code)) return;
  network_.cancel(host_, {.ring = this, .slot = slot, .operation = &operation});
}

void SimRing::poll(core::CompletionList& finished, core::TimePoint) {
  while (Operation* operation = ready_.pop()) finished.push(*operation);
}

void SimRing::wake(core::Ring& other) { schedule_.make_runnable(static_cast<SimRing&>(other)); }

core::WallTime SimRing::wall_now() const {
  const core::Duration since_start = now() - core::TimePoint(std::chrono::hours(1));
  return kWallStart +
         std::chrono::floor<std::chrono::milliseconds>(since_start + host_.wall_offset);
}

core::Result<core::Address> SimRing::local_address(Handle socket) const {
  return network_.local_address(host_, socket);
}

core::Result<core::Address> SimRing::peer_address(Handle socket) const {
  return network_.peer_address(host_, socket);
}

bool SimRing::register_buffers(std::span<const iovec> buffers) {
  if (allows_buffers_) buffers_.assign(buffers.begin(), buffers.end());
  return allows_buffers_;
}

void SimRing::detach(Handle socket) {
  SENTINEL_ASSERT(network_.is_idle(host_, socket), "a socket moves with operations pending");
}

void SimRing::attach(Handle socket) {
  SENTINEL_ASSERT(network_.is_idle(host_, socket), "a socket moves with operations pending");
}

std::int64_t SimRing::resolve(const Operation& operation) const {
  std::vector<core::Address>& addresses = *operation.addresses;
  addresses.clear();
  std::string_view host = operation.path;
  if (host == "localhost") {
    core::Address v6{.ip = {}, .v6 = true, .port = 0};
    v6.ip.back() = 1;
    addresses = {core::Address::loopback(0), v6};
    return 0;
  }
  if (auto numeric = core::Address::parse(host, 0)) {
    addresses.push_back(*numeric);
    return 0;
  }
  constexpr std::string_view kPrefix = "node-";
  if (!host.starts_with(kPrefix)) return -EHOSTUNREACH;
  host.remove_prefix(kPrefix.size());
  NodeId node = 0;
  const auto parsed = std::from_chars(host.data(), host.data() + host.size(), node);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == host.data() + host.size();
  if (!whole || node == 0 || node > 255) return -EHOSTUNREACH;
  addresses.push_back(address_of(node, 0));
  return 0;
}

void SimRing::trace(const Operation& operation, bool completion) {
  std::uint64_t length = 0;
  for (unsigned i = 0; i < operation.vector_count; ++i) length += operation.vectors[i].iov_len;
  schedule_.trace({.node = host_.id,
                   .shard = shard_,
                   .code = operation.code,
                   .completion = completion,
                   .handle = operation.handle,
                   .offset = operation.offset,
                   .length = length,
                   .path = operation.path == nullptr ? std::string_view() : operation.path,
                   .result = completion ? operation.result : 0});
}

}  // namespace sentinel::test
