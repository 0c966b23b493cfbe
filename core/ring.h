#pragma once
/// The one seam between this program and the world: files, sockets, time and wake-ups, at the level
/// of ring operations.
///
/// Three implementations stand behind it: UringRing (production), AsioRing (hosts that refuse
/// io_uring) and the simulator's SimRing. Code above can't tell which it runs on;
/// test/support/ring_conformance.h holds all three to one script.
///
/// An Operation lives in the frame of the coroutine that awaits it and is itself the request:
/// submitting allocates nothing. From submit() until its completion is handed out by poll() the
/// ring owns it and every buffer it names, also after cancel().

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/result.h"

namespace sentinel::core {

/// An IPv4 or IPv6 address and a port.
struct Address {
  std::array<std::uint8_t, 16> ip{};  ///< An IPv4 address uses the first four bytes.
  bool v6 = false;
  std::uint16_t port = 0;

  friend bool operator==(const Address&, const Address&) = default;
  /// "127.0.0.1:9092", "[::1]:9092". IPv6-mapped IPv4 addresses print as IPv4.
  [[nodiscard]] std::string to_string() const;
  /// The same without the port and without brackets.
  [[nodiscard]] std::string host() const;
  static Address loopback(std::uint16_t port);
  /// Every interface, both families.
  static Address any(std::uint16_t port);
  /// A numeric address, or nothing.
  static Result<Address> parse(std::string_view host, std::uint16_t port);
};

/// An open file, directory or socket of one ring. Negative when none.
using Handle = int;
inline constexpr Handle kNoHandle = -1;

enum class OpCode : std::uint8_t {
  // Files. Offsets and lengths in bytes.
  open_file,       ///< path, flags (OpenFlags) -> handle
  close_handle,    ///< handle; also sockets and directories
  read,            ///< handle, offset, vectors -> bytes read, 0 at the end of the file
  write,           ///< handle, offset, vectors -> bytes written, may be short
  sync_data,       ///< handle: contents and what is needed to read them back are durable
  sync_all,        ///< handle, file or directory: everything is durable
  allocate,        ///< handle, offset = new size: reserves space; the file reads as zeros there
  truncate,        ///< handle, offset = new size
  punch_hole,      ///< handle, offset, length: gives space back; it reads as zeros, the size stays
  advise_random,   ///< handle: the system reads nothing ahead; whoever reads knows better
  rename_file,     ///< path, path2: replaces an existing path2
  unlink_file,     ///< path
  make_directory,  ///< path
  remove_directory,  ///< path, of an empty one
  list_directory,    ///< path -> *names, sorted, without "." and ".."
  stat_path,         ///< path -> *stat
  lock_file,         ///< handle: exclusive lock that dies with the process; -EWOULDBLOCK when held
  free_space,        ///< path -> bytes free for this process
  // Sockets.
  listen_tcp,       ///< *address, flags = backlog -> handle
  accept_tcp,       ///< handle -> handle of the connection
  connect_tcp,      ///< *address -> handle
  receive,          ///< handle, one vector -> bytes, 0 when the other side ended
  send,             ///< handle, vectors -> bytes, may be short
  shutdown_socket,  ///< handle: pending and later receive and send end
  resolve_host,     ///< path = host name -> *addresses with port 0
  // Neither.
  nop,  ///< completes at the next poll
};

std::string_view to_string(OpCode code);

namespace open_flags {
inline constexpr std::uint32_t read = 1;
inline constexpr std::uint32_t write = 2;
inline constexpr std::uint32_t create = 4;
inline constexpr std::uint32_t exclusive = 8;  ///< With create: fails if the file exists.
inline constexpr std::uint32_t truncate = 16;
inline constexpr std::uint32_t direct =
    32;  ///< Past the page cache: memory, offsets and lengths in multiples of 4096.
inline constexpr std::uint32_t data_sync = 64;  ///< Every write is durable when it completes.
inline constexpr std::uint32_t directory = 128;
}  // namespace open_flags

struct FileStat {
  std::uint64_t size_bytes = 0;
  bool is_directory = false;
};

/// One request to the ring. Fields that an OpCode does not name are ignored.
struct Operation {
  OpCode code = OpCode::nop;
  Handle handle = kNoHandle;
  std::uint32_t flags = 0;
  std::int32_t buffer_index =
      -1;  ///< read, write: the registered buffer that holds vectors[0], or -1.
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  const iovec* vectors = nullptr;
  unsigned vector_count = 0;
  const char* path = nullptr;
  const char* path2 = nullptr;
  Address* address = nullptr;
  FileStat* stat = nullptr;
  std::vector<std::string>* names = nullptr;
  std::vector<Address>* addresses = nullptr;

  std::int64_t result = 0;  ///< What the table above says, or a negative errno.
  void (*completed)(Operation&) =
      nullptr;                ///< Called by the shard once the result is in; never from submit().
  Operation* next = nullptr;  ///< Belongs to the ring, then to the completion list.
  std::uintptr_t ring_data = 0;  ///< Belongs to the ring.
};

/// Finished operations in the order in which they finished.
class CompletionList {
 public:
  void push(Operation& operation) {
    operation.next = nullptr;
    *tail_ = &operation;
    tail_ = &operation.next;
  }
  Operation* pop() {
    Operation* first = head_;
    if (first == nullptr) return nullptr;
    head_ = first->next;
    if (head_ == nullptr) tail_ = &head_;
    return first;
  }
  [[nodiscard]] bool empty() const { return head_ == nullptr; }
  CompletionList() = default;
  CompletionList(const CompletionList&) = delete;
  CompletionList& operator=(const CompletionList&) = delete;

 private:
  Operation* head_ = nullptr;
  Operation** tail_ = &head_;
};

/// One shard's door to the world. All members but notify() are called on the shard's thread only.
class Ring {
 public:
  virtual ~Ring() = default;

  /// Queues `operation`; it reaches the kernel at the next poll() at the latest.
  virtual void submit(Operation& operation) = 0;
  /// Asks a submitted operation to end early. It still completes: with -ECANCELED, or with its
  /// result if that was faster.
  virtual void cancel(Operation& operation) = 0;
  /// Hands over what was submitted and moves what has finished to `finished`. Sleeps while there is
  /// nothing, until `until` at the latest; does not sleep when `until` has passed. May return early
  /// with nothing after a wake-up.
  virtual void poll(CompletionList& finished, TimePoint until) = 0;

  /// Ends the sleep of `other`, a ring of the same kind on another thread. Called by this ring's
  /// thread.
  virtual void wake(Ring& other) = 0;
  /// Ends this ring's sleep. The only member that any thread may call.
  virtual void notify() = 0;

  [[nodiscard]] virtual TimePoint now() const = 0;
  [[nodiscard]] virtual WallTime wall_now() const = 0;

  /// The address a socket is bound to, or its peer's.
  [[nodiscard]] virtual Result<Address> local_address(Handle socket) const = 0;
  [[nodiscard]] virtual Result<Address> peer_address(Handle socket) const = 0;
  /// Pins `buffers` for reads and writes that name them by index. False when the system declines;
  /// then index -1 is used instead.
  virtual bool register_buffers(std::span<const iovec> buffers) = 0;
  /// Gives up, or takes over, a connection that moves to another shard's ring of the same kind. No
  /// operation on it may be pending.
  virtual void detach(Handle socket) = 0;
  virtual void attach(Handle socket) = 0;

  /// "uring", "asio" or "sim".
  [[nodiscard]] virtual std::string_view name() const = 0;
};

}  // namespace sentinel::core
