#include "core/posix_ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <limits>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

namespace sentinel::core {

int native_open_flags(std::uint32_t flags) {
  int native = O_CLOEXEC;
  const bool reads = (flags & open_flags::read) != 0;
  const bool writes = (flags & open_flags::write) != 0;
  if (writes) native |= reads ? O_RDWR : O_WRONLY;
  if ((flags & open_flags::create) != 0) native |= O_CREAT;
  if ((flags & open_flags::exclusive) != 0) native |= O_EXCL;
  if ((flags & open_flags::truncate) != 0) native |= O_TRUNC;
  if ((flags & open_flags::direct) != 0) native |= O_DIRECT;
  if ((flags & open_flags::data_sync) != 0) native |= O_DSYNC;
  if ((flags & open_flags::directory) != 0) native |= O_DIRECTORY;
  return native;
}

std::int64_t truncate_file(Handle file, std::uint64_t size_bytes) {
  if (size_bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return -EFBIG;
  return ::ftruncate(file, static_cast<off_t>(size_bytes)) == 0 ? 0 : -errno;
}

std::int64_t list_directory_names(const char* path, std::vector<std::string>& names) {
  names.clear();
  DIR* directory = ::opendir(path);
  if (directory == nullptr) return -errno;
  std::int64_t result = 0;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr) {
      result = -errno;
      break;
    }
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  std::ranges::sort(names);
  return result;
}

std::int64_t lock_exclusively(Handle file) {
  return ::flock(file, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
}

std::int64_t free_bytes(const char* path) {
  struct statvfs found{};
  if (::statvfs(path, &found) != 0) return -errno;
  return static_cast<std::int64_t>(found.f_bavail * found.f_frsize);
}

NativeAddress to_native(const Address& address) {
  NativeAddress native;
  if (address.v6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    std::memcpy(&v6.sin6_addr, address.ip.data(), sizeof v6.sin6_addr);
    std::memcpy(&native.storage, &v6, sizeof v6);
    native.length = sizeof v6;
  } else {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    std::memcpy(&v4.sin_addr, address.ip.data(), sizeof v4.sin_addr);
    std::memcpy(&native.storage, &v4, sizeof v4);
    native.length = sizeof v4;
  }
  return native;
}

Address from_native(const sockaddr_storage& storage) {
  Address address;
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    address.v6 = true;
    address.port = ntohs(v6.sin6_port);
    std::memcpy(address.ip.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
  } else {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    address.port = ntohs(v4.sin_port);
    std::memcpy(address.ip.data(), &v4.sin_addr, sizeof v4.sin_addr);
  }
  return address;
}

Result<Address> local_address_of(Handle socket) {
  NativeAddress native;
  native.length = sizeof native.storage;
  if (::getsockname(socket, native.get(), &native.length) != 0) {
    return std::unexpected(error_from_errno(errno, "read the address of a socket"));
  }
  return from_native(native.storage);
}

Result<Address> peer_address_of(Handle socket) {
  NativeAddress native;
  native.length = sizeof native.storage;
  if (::getpeername(socket, native.get(), &native.length) != 0) {
    return std::unexpected(error_from_errno(errno, "read the peer's address of a socket"));
  }
  return from_native(native.storage);
}

int open_socket(const Address& address, int type_flags) {
  const int family = address.v6 ? AF_INET6 : AF_INET;
  const int socket = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | type_flags, 0);
  return socket >= 0 ? socket : -errno;
}

void set_no_delay(Handle socket) {
  const int on = 1;
  // A connection that broke meanwhile refuses this; its next operation says so.
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

namespace {

int listen_at(const Address& address, std::uint32_t backlog, int type_flags) {
  const int socket = open_socket(address, type_flags);
  if (socket < 0) return socket;
  const int on = 1;
  const int v6_only = address == Address::any(address.port) ? 0 : 1;
  NativeAddress native = to_native(address);
  const auto length = static_cast<int>(std::min<std::uint32_t>(backlog, SOMAXCONN));
  bool ok = ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
  if (ok && address.v6) {
    ok = ::setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) == 0;
  }
  ok = ok && ::bind(socket, native.get(), native.length) == 0 && ::listen(socket, length) == 0;
  if (ok) return socket;
  const int error = errno;
  ::close(socket);
  return -error;
}

}  // namespace

int open_listener(const Address& address, std::uint32_t backlog, int type_flags) {
  const int socket = listen_at(address, backlog, type_flags);
  const bool no_ipv6 = socket == -EAFNOSUPPORT || socket == -EADDRNOTAVAIL;
  if (!no_ipv6 || address != Address::any(address.port)) return socket;
  return listen_at(Address{.ip = {}, .v6 = false, .port = address.port}, backlog, type_flags);
}

TimePoint monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return TimePoint(std::chrono::seconds(now.tv_sec) + Duration(now.tv_nsec));
}

WallTime wall_clock_now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

void BusyYield::stayed_awake(TimePoint now) {
  constexpr Duration kYieldAfter = std::chrono::microseconds(100);
  if (now - kYieldAfter < awake_since_) return;
  ::sched_yield();
  awake_since_ = now;
}

namespace {

/// One lookup. `operation` belongs to the ring's thread, the rest to the resolver's until it is
/// done.
struct Lookup {
  Operation* operation = nullptr;
  std::string host;
  std::vector<Address> addresses;
  std::int64_t result = 0;
};

std::int64_t look_up(const std::string& host, std::vector<Address>& addresses) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failure = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (failure == EAI_SYSTEM) return -errno;
  if (failure == EAI_MEMORY) return -ENOMEM;
  if (failure != 0) return -EHOSTUNREACH;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, each->ai_addr, std::min<std::size_t>(each->ai_addrlen, sizeof storage));
    addresses.push_back(from_native(storage));
  }
  ::freeaddrinfo(found);
  return addresses.empty() ? -EHOSTUNREACH : 0;
}

}  // namespace

struct HostResolver::State {
  std::mutex mutex;
  std::condition_variable asked;
  Ring* ring = nullptr;  // Null when the ring is gone.
  std::vector<std::unique_ptr<Lookup>> questions;
  std::vector<std::unique_ptr<Lookup>> answers;
  Lookup* in_progress = nullptr;
};

HostResolver::HostResolver(Ring& ring) : state_(std::make_shared<State>()) { state_->ring = &ring; }

HostResolver::~HostResolver() {
  const std::lock_guard lock(state_->mutex);
  state_->ring = nullptr;
  state_->asked.notify_all();
}

bool HostResolver::submit(Operation& operation) {
  std::vector<Address>& addresses = *operation.addresses;
  addresses.clear();
  const std::string_view host = operation.path;
  operation.result = 0;
  if (host == "localhost") {
    Address v6{.ip = {}, .v6 = true, .port = 0};
    v6.ip.back() = 1;
    addresses.push_back(Address::loopback(0));
    addresses.push_back(v6);
    return true;
  }
  if (auto numeric = Address::parse(host, 0)) {
    addresses.push_back(*numeric);
    return true;
  }
  auto lookup = std::make_unique<Lookup>();
  lookup->operation = &operation;
  lookup->host = host;
  ++waiting_;
  {
    const std::lock_guard lock(state_->mutex);
    state_->questions.push_back(std::move(lookup));
    state_->asked.notify_one();
  }
  if (!std::exchange(thread_started_, true)) {
    // Detached: getaddrinfo can't be interrupted, and the end of the ring does not wait for it.
    std::thread([state = state_] { run(state); }).detach();
  }
  return false;
}

void HostResolver::run(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  for (;;) {
    state->asked.wait(lock, [&] { return state->ring == nullptr || !state->questions.empty(); });
    if (state->ring == nullptr) return;
    std::unique_ptr<Lookup> lookup = std::move(state->questions.front());
    state->questions.erase(state->questions.begin());
    state->in_progress = lookup.get();
    lock.unlock();
    lookup->result = look_up(lookup->host, lookup->addresses);
    lock.lock();
    state->in_progress = nullptr;
    state->answers.push_back(std::move(lookup));
    if (state->ring != nullptr) state->ring->notify();
  }
}

void HostResolver::cancel(Operation& operation) {
  if (waiting_ == 0) return;
  const std::lock_guard lock(state_->mutex);
  const auto is_it = [&](const std::unique_ptr<Lookup>& each) {
    return each->operation == &operation;
  };
  const auto queued = std::ranges::find_if(state_->questions, is_it);
  std::unique_ptr<Lookup> ended;
  if (queued != state_->questions.end()) {
    ended = std::move(*queued);
    state_->questions.erase(queued);
  } else if (state_->in_progress != nullptr && state_->in_progress->operation == &operation) {
    // The thread finishes its lookup for nobody.
    state_->in_progress->operation = nullptr;
    ended = std::make_unique<Lookup>();
    ended->operation = &operation;
  } else {
    return;
  }
  ended->result = -ECANCELED;
  state_->answers.push_back(std::move(ended));
  state_->ring->notify();
}

void HostResolver::collect(CompletionList& finished) {
  if (waiting_ == 0) return;
  const std::lock_guard lock(state_->mutex);
  for (const auto& lookup : state_->answers) {
    if (lookup->operation == nullptr) continue;
    *lookup->operation->addresses = std::move(lookup->addresses);
    lookup->operation->result = lookup->result;
    finished.push(*lookup->operation);
    --waiting_;
  }
  state_->answers.clear();
}

}  // namespace sentinel::core
