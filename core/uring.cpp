#include "core/uring.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "core/assert.h"

namespace sentinel::core {

namespace {

// An entry's user_data is the address of its Operation, or one of these.
constexpr std::uint64_t kDropped = 0;       // Doorbells from other rings, answers to cancellations.
constexpr std::uint64_t kNotification = 1;  // The read of the eventfd.
constexpr std::uint64_t kDoorbell = 2;      // Added to the address of the ring that was rung.

// Overflow of the completion queue loses nothing but is slow: room for a burst on many connections.
constexpr unsigned kCompletionEntries = 8 * 1024;

std::uint64_t tag_of(const Operation& operation) {
  return std::bit_cast<std::uintptr_t>(&operation);
}

std::uint32_t clamp_length(std::size_t length) {
  return static_cast<std::uint32_t>(std::min(length, kTransferBytesMax));
}

}  // namespace

namespace {

constexpr std::uint8_t kOpcodesUsed[] = {
    IORING_OP_NOP,          IORING_OP_READV,   IORING_OP_WRITEV,    IORING_OP_READ_FIXED,
    IORING_OP_FSYNC,        IORING_OP_SENDMSG, IORING_OP_RECV,      IORING_OP_WRITE_FIXED,
    IORING_OP_ACCEPT,       IORING_OP_CONNECT, IORING_OP_FALLOCATE, IORING_OP_FADVISE,
    IORING_OP_ASYNC_CANCEL, IORING_OP_OPENAT,  IORING_OP_CLOSE,     IORING_OP_STATX,
    IORING_OP_READ,         IORING_OP_WRITE,   IORING_OP_SEND,      IORING_OP_RENAMEAT,
    IORING_OP_UNLINKAT,     IORING_OP_MKDIRAT, IORING_OP_MSG_RING,
};

std::string setting(const char* path) {
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return "absent";
  char text[16] = {};
  const ssize_t length = ::read(file, text, sizeof text - 1);
  ::close(file);
  if (length <= 0) return "unreadable";
  return std::string(text, static_cast<std::size_t>(length - (text[length - 1] == '\n' ? 1 : 0)));
}

std::unexpected<Error> refused(int error_number, std::string_view what) {
  utsname system{};
  ::uname(&system);
  Error error = error_from_errno(error_number, fmt::format("io_uring: {}", what));
  error.message += fmt::format(
      " (errno {}; kernel {}, 6.1 or later is needed; sysctl kernel.io_uring_disabled = {}; a "
      "seccomp profile, as containers have by default, refuses with EPERM or ENOSYS; a low limit "
      "of locked memory refuses with ENOMEM)",
      error_number, system.release, setting("/proc/sys/kernel/io_uring_disabled"));
  return std::unexpected(std::move(error));
}

int set_up(io_uring& ring, unsigned entries) {
  constexpr unsigned kBasic = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
  constexpr unsigned kCooperative = kBasic | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  constexpr unsigned kFull = kCooperative | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  int result = -EINVAL;
  for (const unsigned flags : {kFull, kCooperative, kBasic}) {
    io_uring_params params{};
    params.flags = flags;
    params.cq_entries = kCompletionEntries;
    result = ::io_uring_queue_init_params(entries, &ring, &params);
    // Only an unknown flag is worth another try: any other refusal would come again.
    if (result != -EINVAL) break;
  }
  return result;
}

}  // namespace

Result<std::unique_ptr<UringRing>> UringRing::create() {
  std::unique_ptr<UringRing> ring(new UringRing);
  SENTINEL_CHECK(ring->open());
  return ring;
}

UringRing::UringRing() = default;

Status UringRing::open() {
  const int result = set_up(ring_, kEntries);
  if (result < 0) return refused(-result, "cannot create a ring");
  ring_open_ = true;
  if ((ring_.features & IORING_FEAT_EXT_ARG) == 0 || (ring_.features & IORING_FEAT_CQE_SKIP) == 0) {
    return refused(EOPNOTSUPP, "the kernel lacks features");
  }
  io_uring_probe* probe = ::io_uring_get_probe_ring(&ring_);
  if (probe == nullptr) return refused(ENOMEM, "cannot ask for the supported operations");
  int missing = -1;
  for (const std::uint8_t opcode : kOpcodesUsed) {
    if (io_uring_opcode_supported(probe, opcode) == 0) missing = opcode;
  }
  ::io_uring_free_probe(probe);
  if (missing >= 0) return refused(EOPNOTSUPP, fmt::format("operation {} is missing", missing));
  notify_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (notify_fd_ < 0) return refused(errno, "cannot create an eventfd");
  return {};
}

UringRing::~UringRing() {
  if (ring_open_) {
    drain();
    ::io_uring_queue_exit(&ring_);
  }
  if (notify_fd_ >= 0) ::close(notify_fd_);
}

void UringRing::drain() {
  if (in_flight_ == 0 && !notify_armed_) return;
  io_uring_sqe& entry = next_entry();
  io_uring_prep_cancel64(&entry, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
  io_uring_sqe_set_data64(&entry, kDropped);
  // The kernel would go on writing into memory that is freed next. What can't be cancelled, a write
  // to a disk, ends by itself; a disk that hangs must not hang the end of the process.
  const TimePoint give_up = now() + std::chrono::seconds(5);
  while ((in_flight_ > 0 || notify_armed_) && now() < give_up) {
    __kernel_timespec limit{.tv_sec = 0, .tv_nsec = 100'000'000};
    io_uring_cqe* first = nullptr;
    const int result = ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN) return;
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* completion = nullptr;
    io_uring_for_each_cqe(&ring_, head, completion) {
      ++count;
      const std::uint64_t tag = io_uring_cqe_get_data64(completion);
      if (tag == kNotification) notify_armed_ = false;
      if (tag != kDropped && (tag & (kNotification | kDoorbell)) == 0) --in_flight_;
    }
    io_uring_cq_advance(&ring_, count);
  }
}

io_uring_sqe& UringRing::next_entry() {
  io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
  while (entry == nullptr) {
    // Full: hand over early. The kernel declines while it is short of memory or completions wait
    // for room; taking those makes room, and nothing is lost.
    const int result = ::io_uring_submit(&ring_);
    SENTINEL_ASSERT(result >= 0 || result == -EAGAIN || result == -EBUSY || result == -EINTR,
                    "io_uring_enter: errno {}", -result);
    if (result < 0) {
      ::io_uring_get_events(&ring_);
      collect();
    }
    entry = ::io_uring_get_sqe(&ring_);
  }
  return *entry;
}

UringRing::Scratch& UringRing::scratch_of(const io_uring_sqe& entry) {
  return scratch_[static_cast<std::size_t>(&entry - ring_.sq.sqes)];
}

void UringRing::poll(CompletionList& finished, TimePoint until) {
  if (!notify_armed_) arm_notification();
  resolver_.collect(ready_);
  enter(ready_.empty() && until != TimePoint::min(), until);
  collect();
  resolver_.collect(ready_);
  while (Operation* operation = ready_.pop()) finished.push(*operation);
}

void UringRing::enter(bool may_sleep, TimePoint until) {
  if (may_sleep && io_uring_cq_ready(&ring_) == 0) return sleep(until);
  int result = 0;
  if (io_uring_sq_ready(&ring_) > 0) {
    result = ::io_uring_submit_and_get_events(&ring_);
  } else {
    const unsigned flags = io_uring_smp_load_acquire(ring_.sq.kflags);
    const bool kernel_has_some = (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    if (kernel_has_some) result = ::io_uring_get_events(&ring_);
  }
  SENTINEL_ASSERT(result >= 0 || result == -EAGAIN || result == -EBUSY || result == -EINTR,
                  "io_uring_enter: errno {}", -result);
  busy_yield_.stayed_awake(now());
}

void UringRing::sleep(TimePoint until) {
  const TimePoint before = now();
  int result = 0;
  if (until == TimePoint::max()) {
    result = ::io_uring_submit_and_wait(&ring_, 1);
  } else {
    const Duration span = std::max(until - before, Duration::zero());
    const auto seconds = std::chrono::floor<std::chrono::seconds>(span);
    __kernel_timespec limit{.tv_sec = seconds.count(), .tv_nsec = (span - seconds).count()};
    io_uring_cqe* first = nullptr;
    result = ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
  }
  SENTINEL_ASSERT(
      result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY,
      "io_uring_enter: errno {}", -result);
  // A wait that found completions at once gave nobody else the CPU.
  constexpr Duration kShortestSleep = std::chrono::microseconds(20);
  const TimePoint after = now();
  if (after - before > kShortestSleep) {
    busy_yield_.slept(after);
  } else {
    busy_yield_.stayed_awake(after);
  }
}

void UringRing::collect() {
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* completion = nullptr;
  io_uring_for_each_cqe(&ring_, head, completion) {
    take(*completion);
    ++count;
  }
  io_uring_cq_advance(&ring_, count);
}

void UringRing::take(const io_uring_cqe& completion) {
  const std::uint64_t tag = completion.user_data;
  if (tag == kDropped) return;
  if (tag == kNotification) {
    notify_armed_ = false;
    return;
  }
  if ((tag & kDoorbell) != 0) {
    // Comes only for a doorbell that failed: a wake-up must not be lost.
    std::bit_cast<UringRing*>(tag & ~kDoorbell)->notify();
    return;
  }
  auto& operation = *std::bit_cast<Operation*>(tag);
  --in_flight_;
  operation.result = conclude(operation, completion.res);
  ready_.push(operation);
}

/// What remains to be done on this side before `result` is the operation's.
std::int64_t UringRing::conclude(Operation& operation, std::int64_t result) {
  if (operation.code == OpCode::accept_tcp || operation.code == OpCode::receive ||
      operation.code == OpCode::send) {
    add_pending(operation.handle, -1);
    if (operation.code == OpCode::accept_tcp && result >= 0) {
      set_no_delay(static_cast<Handle>(result));
    }
  } else if (operation.code == OpCode::connect_tcp) {
    const auto socket = static_cast<Handle>(operation.ring_data);
    if (result < 0) {
      ::close(socket);
      return result;
    }
    set_no_delay(socket);
    return socket;
  } else if (operation.code == OpCode::stat_path) {
    auto* slot = std::bit_cast<struct statx*>(operation.ring_data);
    if (result == 0) {
      *operation.stat = {.size_bytes = slot->stx_size, .is_directory = S_ISDIR(slot->stx_mode)};
    }
    free_stat_slots_.push_back(slot);
  }
  return result;
}

void UringRing::arm_notification() {
  io_uring_sqe& entry = next_entry();
  io_uring_prep_read(&entry, notify_fd_, &notify_count_, sizeof notify_count_, 0);
  io_uring_sqe_set_data64(&entry, kNotification);
  notify_armed_ = true;
}

void UringRing::notify() {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the ring is awake for long.
  (void)!::write(notify_fd_, &one, sizeof one);
}

void UringRing::wake(Ring& other) {
  auto& ring = static_cast<UringRing&>(other);
  io_uring_sqe& entry = next_entry();
  io_uring_prep_msg_ring(&entry, ring.ring_.ring_fd, 0, kDropped, 0);
  io_uring_sqe_set_flags(&entry, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data64(&entry, std::bit_cast<std::uintptr_t>(&ring) | kDoorbell);
}

void UringRing::cancel(Operation& operation) {
  if (operation.code == OpCode::resolve_host) return resolver_.cancel(operation);
  // An operation that is finished already is not found, which is right: its result was faster.
  io_uring_sqe& entry = next_entry();
  io_uring_prep_cancel64(&entry, tag_of(operation), 0);
  io_uring_sqe_set_flags(&entry, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data64(&entry, kDropped);
}

void UringRing::submit(Operation& operation) {
  if (run_in_place(operation)) return;
  if (operation.code == OpCode::connect_tcp) return start_connect(operation);
  if (operation.code == OpCode::close_handle) return start_close(operation);
  start(operation);
}

void UringRing::complete_now(Operation& operation, std::int64_t result) {
  operation.result = result;
  ready_.push(operation);
}

/// Operations that io_uring lacks or that never wait. Those on files run while a store opens, or
/// once a file; they take microseconds and are not worth a thread.
bool UringRing::run_in_place(Operation& operation) {
  constexpr int kTypeFlags = 0;  // Blocking sockets: on others io_uring answers EAGAIN, not waits.
  if (operation.code == OpCode::resolve_host) {
    if (resolver_.submit(operation)) ready_.push(operation);
    return true;
  }
  std::int64_t result = 0;
  if (operation.code == OpCode::truncate) {
    result = truncate_file(operation.handle, operation.offset);
  } else if (operation.code == OpCode::list_directory) {
    result = list_directory_names(operation.path, *operation.names);
  } else if (operation.code == OpCode::lock_file) {
    result = lock_exclusively(operation.handle);
  } else if (operation.code == OpCode::free_space) {
    result = free_bytes(operation.path);
  } else if (operation.code == OpCode::listen_tcp) {
    result = open_listener(*operation.address, operation.flags, kTypeFlags);
  } else if (operation.code == OpCode::shutdown_socket) {
    result = ::shutdown(operation.handle, SHUT_RDWR) == 0 ? 0 : -errno;
  } else if (operation.code != OpCode::nop) {
    return false;
  }
  complete_now(operation, result);
  return true;
}

void UringRing::start(Operation& operation) {
  io_uring_sqe& entry = next_entry();
  switch (operation.code) {
    case OpCode::read:
    case OpCode::write: prepare_transfer(entry, operation); break;
    case OpCode::sync_data:
    case OpCode::sync_all:
    case OpCode::allocate:
    case OpCode::advise_random:
    case OpCode::punch_hole: prepare_file(entry, operation); break;
    case OpCode::open_file:
    case OpCode::rename_file:
    case OpCode::unlink_file:
    case OpCode::make_directory:
    case OpCode::remove_directory:
    case OpCode::stat_path: prepare_name(entry, operation); break;
    case OpCode::accept_tcp:
      io_uring_prep_accept(&entry, operation.handle, nullptr, nullptr, SOCK_CLOEXEC);
      add_pending(operation.handle, 1);
      break;
    case OpCode::receive:
      io_uring_prep_recv(&entry, operation.handle, operation.vectors->iov_base,
                         clamp_length(operation.vectors->iov_len), 0);
      add_pending(operation.handle, 1);
      break;
    case OpCode::send:
      prepare_send(entry, operation);
      add_pending(operation.handle, 1);
      break;
    case OpCode::close_handle:
    case OpCode::truncate:
    case OpCode::list_directory:
    case OpCode::lock_file:
    case OpCode::free_space:
    case OpCode::listen_tcp:
    case OpCode::connect_tcp:
    case OpCode::shutdown_socket:
    case OpCode::resolve_host:
    case OpCode::nop: SENTINEL_ASSERT(false, "{} has its own way", to_string(operation.code));
  }
  io_uring_sqe_set_data64(&entry, tag_of(operation));
  ++in_flight_;
}

void UringRing::prepare_file(io_uring_sqe& entry, Operation& operation) {
  if (operation.code == OpCode::allocate) {
    io_uring_prep_fallocate(&entry, operation.handle, 0, 0, static_cast<off_t>(operation.offset));
    return;
  }
  if (operation.code == OpCode::advise_random) {
    io_uring_prep_fadvise(&entry, operation.handle, 0, 0, POSIX_FADV_RANDOM);
    return;
  }
  if (operation.code == OpCode::punch_hole) {
    io_uring_prep_fallocate(&entry, operation.handle, kPunchHole,
                            static_cast<off_t>(operation.offset),
                            static_cast<off_t>(operation.length));
    return;
  }
  const unsigned flags = operation.code == OpCode::sync_data ? IORING_FSYNC_DATASYNC : 0;
  io_uring_prep_fsync(&entry, operation.handle, flags);
}

void UringRing::prepare_transfer(io_uring_sqe& entry, const Operation& operation) {
  const iovec& first = operation.vectors[0];
  const std::uint32_t length = clamp_length(first.iov_len);
  const unsigned count = std::min(operation.vector_count, kVectorsMax);
  const bool reads = operation.code == OpCode::read;
  if (operation.buffer_index >= 0) {
    const int index = operation.buffer_index;
    if (reads) {
      io_uring_prep_read_fixed(&entry, operation.handle, first.iov_base, length, operation.offset,
                               index);
    } else {
      io_uring_prep_write_fixed(&entry, operation.handle, first.iov_base, length, operation.offset,
                                index);
    }
  } else if (count == 1 && reads) {
    io_uring_prep_read(&entry, operation.handle, first.iov_base, length, operation.offset);
  } else if (count == 1) {
    io_uring_prep_write(&entry, operation.handle, first.iov_base, length, operation.offset);
  } else if (reads) {
    io_uring_prep_readv(&entry, operation.handle, operation.vectors, count, operation.offset);
  } else {
    io_uring_prep_writev(&entry, operation.handle, operation.vectors, count, operation.offset);
  }
}

void UringRing::prepare_name(io_uring_sqe& entry, Operation& operation) {
  if (operation.code == OpCode::open_file) {
    io_uring_prep_openat(&entry, AT_FDCWD, operation.path, native_open_flags(operation.flags),
                         kFileMode);
  } else if (operation.code == OpCode::rename_file) {
    io_uring_prep_renameat(&entry, AT_FDCWD, operation.path, AT_FDCWD, operation.path2, 0);
  } else if (operation.code == OpCode::unlink_file) {
    io_uring_prep_unlinkat(&entry, AT_FDCWD, operation.path, 0);
  } else if (operation.code == OpCode::remove_directory) {
    io_uring_prep_unlinkat(&entry, AT_FDCWD, operation.path, AT_REMOVEDIR);
  } else if (operation.code == OpCode::make_directory) {
    io_uring_prep_mkdirat(&entry, AT_FDCWD, operation.path, kDirectoryMode);
  } else {
    struct statx* slot = take_stat_slot();
    operation.ring_data = std::bit_cast<std::uintptr_t>(slot);
    io_uring_prep_statx(&entry, AT_FDCWD, operation.path, 0, STATX_TYPE | STATX_SIZE, slot);
  }
}

struct statx* UringRing::take_stat_slot() {
  if (free_stat_slots_.empty()) {
    stat_slots_.push_back(std::make_unique<struct statx>());
    free_stat_slots_.push_back(stat_slots_.back().get());
  }
  struct statx* slot = free_stat_slots_.back();
  free_stat_slots_.pop_back();
  return slot;
}

void UringRing::prepare_send(io_uring_sqe& entry, const Operation& operation) {
  if (operation.vector_count == 1) {
    io_uring_prep_send(&entry, operation.handle, operation.vectors->iov_base,
                       clamp_length(operation.vectors->iov_len), MSG_NOSIGNAL);
    return;
  }
  msghdr& message = *std::construct_at(&scratch_of(entry).message);
  message.msg_iov = const_cast<iovec*>(operation.vectors);
  message.msg_iovlen = std::min(operation.vector_count, kVectorsMax);
  io_uring_prep_sendmsg(&entry, operation.handle, &message, MSG_NOSIGNAL);
}

void UringRing::start_connect(Operation& operation) {
  const int socket = open_socket(*operation.address, 0);
  if (socket < 0) return complete_now(operation, socket);
  operation.ring_data = static_cast<std::uintptr_t>(socket);
  io_uring_sqe& entry = next_entry();
  NativeAddress& address =
      *std::construct_at(&scratch_of(entry).address, to_native(*operation.address));
  io_uring_prep_connect(&entry, socket, address.get(), address.length);
  io_uring_sqe_set_data64(&entry, tag_of(operation));
  ++in_flight_;
}

void UringRing::start_close(Operation& operation) {
  const auto index = static_cast<std::size_t>(operation.handle);
  if (operation.handle >= 0 && index < pending_.size() && pending_[index] > 0) {
    // Requests in flight keep the socket open: without this the peer would never hear of the close.
    (void)::shutdown(operation.handle, SHUT_RDWR);
    io_uring_sqe& cancel_all = next_entry();
    io_uring_prep_cancel_fd(&cancel_all, operation.handle, IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(&cancel_all, kDropped);
    // The number may belong to another socket before they have all completed.
    pending_[index] = 0;
  }
  io_uring_sqe& entry = next_entry();
  io_uring_prep_close(&entry, operation.handle);
  io_uring_sqe_set_data64(&entry, tag_of(operation));
  ++in_flight_;
}

void UringRing::add_pending(Handle socket, int change) {
  if (socket < 0) return;
  const auto index = static_cast<std::size_t>(socket);
  if (index >= pending_.size()) pending_.resize(index + 64);
  const int count = pending_[index] + change;
  pending_[index] = static_cast<std::uint16_t>(std::max(count, 0));
}

Result<Address> UringRing::local_address(Handle socket) const { return local_address_of(socket); }
Result<Address> UringRing::peer_address(Handle socket) const { return peer_address_of(socket); }

bool UringRing::register_buffers(std::span<const iovec> buffers) {
  // Counts against the limit of locked memory; ENOMEM is the usual answer in small containers.
  return ::io_uring_register_buffers(&ring_, buffers.data(),
                                     static_cast<unsigned>(buffers.size())) == 0;
}

// A socket is bound to no ring: its requests are.
void UringRing::detach(Handle) {}
void UringRing::attach(Handle) {}

}  // namespace sentinel::core
