#pragma once
/// What UringRing and AsioRing share: the translation between the Ring's terms and those of the
/// operating system, and the calls that run in place in both.
///
/// Functions that can fail return a negative errno, as Operation::result does.

#include <fcntl.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "core/ring.h"

namespace sentinel::core {

/// The O_* flags for open_flags.
int native_open_flags(std::uint32_t flags);
inline constexpr unsigned kFileMode = 0644;
inline constexpr unsigned kDirectoryMode = 0755;
/// One read, write, receive or send moves at most this much: what one system call does.
inline constexpr std::size_t kTransferBytesMax = 0x7ffff000;
/// One vectored call takes at most this many vectors (IOV_MAX).
inline constexpr unsigned kVectorsMax = 1024;

struct NativeAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};
NativeAddress to_native(const Address& address);
Address from_native(const sockaddr_storage& storage);
Result<Address> local_address_of(Handle socket);
Result<Address> peer_address_of(Handle socket);

/// A listening socket with SO_REUSEADDR. Address::any() listens for both families, or for IPv4
/// alone where IPv6 is switched off. `type_flags`: SOCK_NONBLOCK or 0.
int open_listener(const Address& address, std::uint32_t backlog, int type_flags);
/// An unconnected TCP socket of the family of `address`.
int open_socket(const Address& address, int type_flags);
/// Small replies leave at once instead of waiting for the acknowledgement of the one before.
void set_no_delay(Handle socket);

/// The mode of fallocate() that gives space back.
inline constexpr int kPunchHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

std::int64_t truncate_file(Handle file, std::uint64_t size_bytes);
std::int64_t list_directory_names(const char* path, std::vector<std::string>& names);
std::int64_t lock_exclusively(Handle file);
std::int64_t free_bytes(const char* path);

TimePoint monotonic_now();
WallTime wall_clock_now();

/// Gives the kernel's workers a turn on a CPU whose shard never sleeps. The sync part of a direct
/// write runs in a worker of the CPU that takes the disk's interrupt; behind a busy thread it waits
/// for the end of a scheduler slice, which turns a commit of 0.2 ms into one of 6 ms.
class BusyYield {
 public:
  /// The thread slept, or could have.
  void slept(TimePoint now) { awake_since_ = now; }
  /// One more round without sleep.
  void stayed_awake(TimePoint now);

 private:
  TimePoint awake_since_ = TimePoint::min();
};

/// Answers resolve_host. Numeric addresses and "localhost" are answered in place; other names go to
/// getaddrinfo on one thread, started with the first of them.
class HostResolver {
 public:
  /// Calls `ring.notify()` when answers wait for collect().
  explicit HostResolver(Ring& ring);
  /// Does not wait for a lookup that hangs; its answer is dropped.
  ~HostResolver();
  HostResolver(const HostResolver&) = delete;
  HostResolver& operator=(const HostResolver&) = delete;

  /// Whether `operation` was answered in place; otherwise collect() hands it out later.
  bool submit(Operation& operation);
  /// Ends the wait of `operation` if it is not answered yet.
  void cancel(Operation& operation);
  /// Moves answered operations to `finished`.
  void collect(CompletionList& finished);

 private:
  struct State;
  static void run(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
  bool thread_started_ = false;
  std::size_t waiting_ = 0;
};

}  // namespace sentinel::core
