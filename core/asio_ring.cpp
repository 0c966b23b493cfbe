#include "core/asio_ring.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/assert.h"

namespace sentinel::core {

namespace asio = boost::asio;

namespace {

struct SocketWait;

/// A socket in the reactor. Reads and writes go past it: Asio only says when to try again.
struct Socket {
  explicit Socket(asio::io_context& context) : descriptor(context) {}
  asio::posix::stream_descriptor descriptor;
  std::vector<SocketWait*> waits;
};

/// One operation that waits for its socket.
struct SocketWait {
  Operation* operation = nullptr;
  Socket* socket = nullptr;  // Null once the socket is closed.
  bool cancelled = false;
};

bool is_socket_wait(OpCode code) {
  return code == OpCode::accept_tcp || code == OpCode::connect_tcp || code == OpCode::receive ||
         code == OpCode::send;
}

std::int64_t or_errno(std::int64_t result) { return result < 0 ? -errno : result; }

/// Whether a connection under way has been made; -EAGAIN while it is not decided.
std::int64_t connect_outcome(Handle socket) {
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
  if (error != 0) return -error;
  if (!peer_address_of(socket)) return -EAGAIN;
  set_no_delay(socket);
  return socket;
}

std::int64_t try_accept(Handle listener) {
  const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket < 0) return -errno;
  set_no_delay(socket);
  return socket;
}

std::int64_t try_send(const Operation& operation) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(operation.vectors);
  message.msg_iovlen = std::min(operation.vector_count, kVectorsMax);
  return or_errno(::sendmsg(operation.handle, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
}

/// The result, or -EAGAIN when the socket has to become ready first.
std::int64_t attempt(const Operation& operation, Handle socket) {
  for (;;) {
    std::int64_t result = 0;
    if (operation.code == OpCode::accept_tcp) {
      result = try_accept(socket);
    } else if (operation.code == OpCode::connect_tcp) {
      result = connect_outcome(socket);
    } else if (operation.code == OpCode::receive) {
      const iovec& into = operation.vectors[0];
      result = or_errno(::recv(socket, into.iov_base, into.iov_len, MSG_DONTWAIT));
    } else {
      result = try_send(operation);
    }
    if (result != -EINTR) return result;
  }
}

std::int64_t stat_in_place(const Operation& operation) {
  struct stat found{};
  if (::stat(operation.path, &found) != 0) return -errno;
  *operation.stat = {.size_bytes = static_cast<std::uint64_t>(found.st_size),
                     .is_directory = S_ISDIR(found.st_mode)};
  return 0;
}

std::int64_t transfer(const Operation& operation) {
  const auto count = static_cast<int>(std::min(operation.vector_count, kVectorsMax));
  const auto offset = static_cast<off_t>(operation.offset);
  if (operation.code == OpCode::read) {
    return or_errno(::preadv(operation.handle, operation.vectors, count, offset));
  }
  return or_errno(::pwritev(operation.handle, operation.vectors, count, offset));
}

std::int64_t run_on_name(const Operation& operation) {
  const char* path = operation.path;
  if (operation.code == OpCode::open_file) {
    return or_errno(::open(path, native_open_flags(operation.flags), kFileMode));
  }
  if (operation.code == OpCode::rename_file) return or_errno(::rename(path, operation.path2));
  if (operation.code == OpCode::unlink_file) return or_errno(::unlink(path));
  if (operation.code == OpCode::make_directory) return or_errno(::mkdir(path, kDirectoryMode));
  if (operation.code == OpCode::remove_directory) return or_errno(::rmdir(path));
  if (operation.code == OpCode::list_directory) return list_directory_names(path, *operation.names);
  if (operation.code == OpCode::stat_path) return stat_in_place(operation);
  return free_bytes(path);
}

std::int64_t run_file_operation(const Operation& operation) {
  const Handle file = operation.handle;
  switch (operation.code) {
    case OpCode::close_handle: return or_errno(::close(file));
    case OpCode::read:
    case OpCode::write: return transfer(operation);
    case OpCode::sync_data: return or_errno(::fdatasync(file));
    case OpCode::sync_all: return or_errno(::fsync(file));
    case OpCode::allocate:
      return or_errno(::fallocate(file, 0, 0, static_cast<off_t>(operation.offset)));
    case OpCode::truncate: return truncate_file(file, operation.offset);
    case OpCode::advise_random: return -::posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
    case OpCode::punch_hole:
      return or_errno(::fallocate(file, kPunchHole, static_cast<off_t>(operation.offset),
                                  static_cast<off_t>(operation.length)));
    case OpCode::lock_file: return lock_exclusively(file);
    case OpCode::open_file:
    case OpCode::rename_file:
    case OpCode::unlink_file:
    case OpCode::make_directory:
    case OpCode::remove_directory:
    case OpCode::list_directory:
    case OpCode::stat_path:
    case OpCode::free_space: return run_on_name(operation);
    case OpCode::listen_tcp:
    case OpCode::accept_tcp:
    case OpCode::connect_tcp:
    case OpCode::receive:
    case OpCode::send:
    case OpCode::shutdown_socket:
    case OpCode::resolve_host:
    case OpCode::nop: break;
  }
  SENTINEL_ASSERT(false, "{} is not for files", to_string(operation.code));
  return -EINVAL;
}

}  // namespace

struct AsioRing::Core {
  explicit Core(Ring& ring) : resolver(ring) {}

  void complete_now(Operation& operation, std::int64_t result);
  void start_file(Operation& operation);
  void start_on_socket(Operation& operation);
  void start_listen(Operation& operation);
  void start_connect(Operation& operation);
  void close(Operation& operation);
  std::int64_t add_socket(Handle handle);
  std::int64_t adopt(std::int64_t handle);
  void drop_socket(Handle handle);
  void wait_for_socket(Operation& operation, Handle handle);
  void arm(SocketWait& wait);
  void resume(SocketWait& wait, const boost::system::error_code& error);
  std::int64_t conclude(Operation& operation, Handle socket, std::int64_t result);
  void sleep(TimePoint until);

  // Destroyed from the last to the first: sockets and waits refer to the context.
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::vector<std::unique_ptr<SocketWait>> waits;
  std::vector<SocketWait*> free_waits;
  std::unordered_map<Handle, std::unique_ptr<Socket>> sockets;
  CompletionList ready;
  HostResolver resolver;
  BusyYield busy_yield;
  asio::thread_pool files{2};
};

Result<std::unique_ptr<AsioRing>> AsioRing::create() {
  try {
    return std::unique_ptr<AsioRing>(new AsioRing);
  } catch (const std::system_error& error) {
    return std::unexpected(
        error_from_errno(error.code().value(), "cannot create an epoll reactor"));
  }
}

AsioRing::AsioRing() : core_(std::make_unique<Core>(*this)) {}

AsioRing::~AsioRing() { core_->files.join(); }

void AsioRing::poll(CompletionList& finished, TimePoint until) {
  Core& core = *core_;
  core.resolver.collect(core.ready);
  if (core.ready.empty() && until != TimePoint::min()) {
    core.sleep(until);
  } else {
    core.busy_yield.stayed_awake(now());
  }
  core.context.poll();
  core.resolver.collect(core.ready);
  while (Operation* operation = core.ready.pop()) finished.push(*operation);
}

void AsioRing::Core::sleep(TimePoint until) {
  const TimePoint before = monotonic_now();
  if (until == TimePoint::max()) {
    context.run_one();
  } else {
    using Steady = std::chrono::steady_clock;
    context.run_one_until(
        Steady::time_point(std::chrono::duration_cast<Steady::duration>(until.time_since_epoch())));
  }
  // A wait that found something at once gave nobody else the CPU.
  constexpr Duration kShortestSleep = std::chrono::microseconds(20);
  const TimePoint after = monotonic_now();
  if (after - before > kShortestSleep) {
    busy_yield.slept(after);
  } else {
    busy_yield.stayed_awake(after);
  }
}

void AsioRing::notify() {
  asio::post(core_->context, [] {});
}

void AsioRing::wake(Ring& other) { other.notify(); }

void AsioRing::submit(Operation& operation) {
  operation.ring_data = 0;
  Core& core = *core_;
  switch (operation.code) {
    case OpCode::nop: return core.complete_now(operation, 0);
    case OpCode::resolve_host:
      if (core.resolver.submit(operation)) core.ready.push(operation);
      return;
    case OpCode::listen_tcp: return core.start_listen(operation);
    case OpCode::connect_tcp: return core.start_connect(operation);
    case OpCode::accept_tcp:
    case OpCode::receive:
    case OpCode::send: return core.start_on_socket(operation);
    case OpCode::shutdown_socket:
      return core.complete_now(operation, or_errno(::shutdown(operation.handle, SHUT_RDWR)));
    case OpCode::close_handle: return core.close(operation);
    case OpCode::open_file:
    case OpCode::read:
    case OpCode::write:
    case OpCode::sync_data:
    case OpCode::sync_all:
    case OpCode::allocate:
    case OpCode::truncate:
    case OpCode::punch_hole:
    case OpCode::advise_random:
    case OpCode::rename_file:
    case OpCode::unlink_file:
    case OpCode::make_directory:
    case OpCode::remove_directory:
    case OpCode::list_directory:
    case OpCode::stat_path:
    case OpCode::lock_file:
    case OpCode::free_space: return core.start_file(operation);
  }
}

void AsioRing::cancel(Operation& operation) {
  if (operation.code == OpCode::resolve_host) return core_->resolver.cancel(operation);
  // File operations run to their end: a thread inside a system call can't be called back.
  if (!is_socket_wait(operation.code) || operation.ring_data == 0) return;
  auto& wait = *std::bit_cast<SocketWait*>(operation.ring_data);
  wait.cancelled = true;
  // Ends all waits on the socket; those that nobody cancelled are taken up again.
  boost::system::error_code error;
  if (wait.socket != nullptr) wait.socket->descriptor.cancel(error);
}

void AsioRing::Core::complete_now(Operation& operation, std::int64_t result) {
  operation.result = result;
  ready.push(operation);
}

void AsioRing::Core::start_file(Operation& operation) {
  asio::post(files, [this, &operation] {
    operation.result = run_file_operation(operation);
    asio::post(context, [this, &operation] { ready.push(operation); });
  });
}

void AsioRing::Core::start_listen(Operation& operation) {
  complete_now(operation, adopt(open_listener(*operation.address, operation.flags, SOCK_NONBLOCK)));
}

void AsioRing::Core::start_connect(Operation& operation) {
  const std::int64_t result = adopt(open_socket(*operation.address, SOCK_NONBLOCK));
  if (result < 0) return complete_now(operation, result);
  const auto socket = static_cast<Handle>(result);
  NativeAddress address = to_native(*operation.address);
  const std::int64_t connected = or_errno(::connect(socket, address.get(), address.length));
  if (connected == -EINPROGRESS || connected == -EINTR) return wait_for_socket(operation, socket);
  const std::int64_t outcome = connected == 0 ? connect_outcome(socket) : connected;
  complete_now(operation, conclude(operation, socket, outcome));
}

void AsioRing::Core::start_on_socket(Operation& operation) {
  const std::int64_t result = attempt(operation, operation.handle);
  if (result == -EAGAIN) return wait_for_socket(operation, operation.handle);
  complete_now(operation, conclude(operation, operation.handle, result));
}

void AsioRing::Core::close(Operation& operation) {
  if (!sockets.contains(operation.handle)) return start_file(operation);
  drop_socket(operation.handle);
  complete_now(operation, 0);
}

/// What remains to be done before `result` is the operation's.
std::int64_t AsioRing::Core::conclude(Operation& operation, Handle socket, std::int64_t result) {
  if (operation.code == OpCode::connect_tcp && result < 0) drop_socket(socket);
  return operation.code == OpCode::accept_tcp ? adopt(result) : result;
}

/// Adds a socket that was just made, and closes it when that fails. Passes errors on.
std::int64_t AsioRing::Core::adopt(std::int64_t handle) {
  if (handle < 0) return handle;
  const std::int64_t added = add_socket(static_cast<Handle>(handle));
  if (added < 0) ::close(static_cast<Handle>(handle));
  return added;
}

std::int64_t AsioRing::Core::add_socket(Handle handle) {
  auto socket = std::make_unique<Socket>(context);
  boost::system::error_code error;
  socket->descriptor.assign(handle, error);
  if (error) return -error.value();
  sockets[handle] = std::move(socket);
  return handle;
}

void AsioRing::Core::drop_socket(Handle handle) {
  const auto found = sockets.find(handle);
  SENTINEL_ASSERT(found != sockets.end(), "socket {} is not of this ring", handle);
  Socket& socket = *found->second;
  for (SocketWait* wait : socket.waits) wait->socket = nullptr;
  if (!socket.waits.empty()) (void)::shutdown(handle, SHUT_RDWR);
  boost::system::error_code error;
  socket.descriptor.close(error);
  sockets.erase(found);
}

void AsioRing::Core::wait_for_socket(Operation& operation, Handle handle) {
  const auto found = sockets.find(handle);
  SENTINEL_ASSERT(found != sockets.end(), "socket {} is not of this ring", handle);
  if (free_waits.empty()) {
    waits.push_back(std::make_unique<SocketWait>());
    free_waits.push_back(waits.back().get());
  }
  SocketWait& wait = *free_waits.back();
  free_waits.pop_back();
  wait.operation = &operation;
  wait.socket = found->second.get();
  wait.cancelled = false;
  wait.socket->waits.push_back(&wait);
  operation.ring_data = std::bit_cast<std::uintptr_t>(&wait);
  arm(wait);
}

void AsioRing::Core::arm(SocketWait& wait) {
  using Descriptor = asio::posix::stream_descriptor;
  const OpCode code = wait.operation->code;
  const bool input = code == OpCode::accept_tcp || code == OpCode::receive;
  wait.socket->descriptor.async_wait(
      input ? Descriptor::wait_read : Descriptor::wait_write,
      [this, &wait](const boost::system::error_code& error) { resume(wait, error); });
}

void AsioRing::Core::resume(SocketWait& wait, const boost::system::error_code& error) {
  Operation& operation = *wait.operation;
  std::int64_t result = -ECANCELED;
  if (wait.socket != nullptr) {
    const Handle handle = wait.socket->descriptor.native_handle();
    result = attempt(operation, handle);
    const bool disturbed = error == asio::error::operation_aborted;
    if (result == -EAGAIN && !wait.cancelled && (!error || disturbed)) return arm(wait);
    if (result == -EAGAIN) result = wait.cancelled ? -ECANCELED : -error.value();
    std::erase(wait.socket->waits, &wait);
    result = conclude(operation, handle, result);
  }
  operation.ring_data = 0;
  free_waits.push_back(&wait);
  complete_now(operation, result);
}

Result<Address> AsioRing::local_address(Handle socket) const { return local_address_of(socket); }
Result<Address> AsioRing::peer_address(Handle socket) const { return peer_address_of(socket); }
bool AsioRing::register_buffers(std::span<const iovec>) { return false; }

void AsioRing::detach(Handle socket) {
  const auto found = core_->sockets.find(socket);
  SENTINEL_ASSERT(found != core_->sockets.end(), "socket {} is not of this ring", socket);
  SENTINEL_ASSERT(found->second->waits.empty(), "operations are pending on socket {}", socket);
  found->second->descriptor.release();
  core_->sockets.erase(found);
}

void AsioRing::attach(Handle socket) {
  // Without room in the reactor the connection ends; nothing ever waits for it.
  if (core_->add_socket(socket) < 0) (void)::shutdown(socket, SHUT_RDWR);
}

}  // namespace sentinel::core
