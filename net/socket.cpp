#include "net/socket.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>

#include "core/sync.h"

namespace sentinel::net {

namespace {

constexpr unsigned kListenBacklog = 1024;
// The kernel takes a killed process's ring apart after the process is gone, and with it the sockets
// that it waits on: whoever is started again at once finds its own port in use for a moment.
constexpr core::Duration kPortPatience = std::chrono::seconds(1);
constexpr core::Duration kPortPause = std::chrono::milliseconds(20);
// Slices handed to one vectored send; the kernel takes up to 1024.
constexpr std::size_t kVectorsMax = 64;

std::unexpected<core::Error> failed(std::int64_t result, std::string_view what) {
  return std::unexpected(core::error_from_errno(static_cast<int>(-result), what));
}

}  // namespace

core::Result<HostPort> HostPort::parse(std::string_view text, std::uint16_t default_port) {
  HostPort parsed{.host = std::string(text), .port = default_port};
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos)
      return core::fail(core::Errc::invalid_argument, fmt::format("'{}' lacks a ']'", text));
    parsed.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && port.front() != ':')
      return core::fail(core::Errc::invalid_argument, fmt::format("'{}' is no host:port", text));
    if (!port.empty()) port.remove_prefix(1);
  } else if (const std::size_t colon = text.rfind(':');
             colon != std::string_view::npos && text.find(':') == colon) {
    parsed.host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), parsed.port);
    if (error != std::errc() || end != port.data() + port.size()) {
      return core::fail(core::Errc::invalid_argument,
                        fmt::format("'{}' is no port in '{}'", port, text));
    }
  }
  if (parsed.host.empty() || parsed.port == 0) {
    return core::fail(core::Errc::invalid_argument, fmt::format("'{}' is no host:port", text));
  }
  return parsed;
}

std::string HostPort::to_string() const {
  return host.find(':') != std::string::npos ? fmt::format("[{}]:{}", host, port)
                                             : fmt::format("{}:{}", host, port);
}

Socket& Socket::operator=(Socket&& other) noexcept {
  SENTINEL_ASSERT(!is_open(), "a socket is closed before it is replaced");
  shard_ = other.shard_;
  handle_ = std::exchange(other.handle_, core::kNoHandle);
  return *this;
}

Socket::~Socket() { SENTINEL_ASSERT(!is_open() || shard_->abandoned(), "a socket was not closed"); }

core::Task<core::Result<Socket>> Socket::connect(core::Shard& shard, HostPort to,
                                                 core::Deadline deadline, core::CancelToken token) {
  std::vector<core::Address> addresses;
  core::Io resolve(shard, core::OpCode::resolve_host, deadline, token);
  resolve.path = to.host.c_str();
  resolve.addresses = &addresses;
  std::int64_t result = co_await resolve;
  if (result < 0) co_return failed(result, fmt::format("cannot resolve {}", to.host));
  result = -EHOSTUNREACH;
  for (core::Address& address : addresses) {
    address.port = to.port;
    core::Io connect(shard, core::OpCode::connect_tcp, deadline, token);
    connect.address = &address;
    result = co_await connect;
    if (result >= 0) co_return Socket(shard, static_cast<core::Handle>(result));
  }
  co_return failed(result, fmt::format("cannot connect to {}", to.to_string()));
}

core::Task<core::Result<std::size_t>> Socket::receive(std::span<std::byte> into,
                                                      core::Deadline deadline,
                                                      core::CancelToken token) {
  core::Io io(*shard_, core::OpCode::receive, deadline, token);
  io.handle = handle_;
  io.buffer = {into.data(), into.size()};
  const std::int64_t result = co_await io;
  if (result < 0) co_return failed(result, "receive");
  co_return static_cast<std::size_t>(result);
}

core::Task<core::Status> Socket::send(core::Chain data, core::Deadline deadline,
                                      core::CancelToken token) {
  std::array<iovec, kVectorsMax> vectors;
  std::size_t part = 0;
  std::size_t part_done = 0;
  const auto& parts = data.parts();
  while (part < parts.size()) {
    unsigned count = 0;
    for (std::size_t i = part; i < parts.size() && count < kVectorsMax; ++i, ++count) {
      const std::size_t skip = i == part ? part_done : 0;
      vectors[count] = {parts[i].stamp() + skip, parts[i].size() - skip};
    }
    core::Io io(*shard_, core::OpCode::send, deadline, token);
    io.handle = handle_;
    io.vectors = vectors.data();
    io.vector_count = count;
    const std::int64_t result = co_await io;
    if (result < 0) co_return failed(result, "send");
    auto sent = static_cast<std::size_t>(result);
    while (part < parts.size() && sent >= parts[part].size() - part_done) {
      sent -= parts[part].size() - part_done;
      part_done = 0;
      ++part;
    }
    part_done += sent;
  }
  co_return core::Status();
}

core::Task<void> Socket::shutdown() {
  if (!is_open()) co_return;
  core::Io io(*shard_, core::OpCode::shutdown_socket);
  io.handle = handle_;
  co_await io;
}

core::Task<void> Socket::close() {
  if (!is_open()) co_return;
  core::Io io(*shard_, core::OpCode::close_handle);
  io.handle = std::exchange(handle_, core::kNoHandle);
  co_await io;
}

core::Handle Socket::release() {
  shard_->ring().detach(handle_);
  return std::exchange(handle_, core::kNoHandle);
}

core::Result<core::Address> Socket::local_address() const {
  return shard_->ring().local_address(handle_);
}
core::Result<core::Address> Socket::peer_address() const {
  return shard_->ring().peer_address(handle_);
}

core::Task<core::Result<std::unique_ptr<Listener>>> Listener::open(core::Shard& shard,
                                                                   core::Address address) {
  const core::Deadline patience = shard.deadline_in(kPortPatience);
  std::int64_t result = 0;
  for (;;) {
    core::Io io(shard, core::OpCode::listen_tcp);
    io.address = &address;
    io.flags = kListenBacklog;
    result = co_await io;
    if (result != -EADDRINUSE || patience.passed(shard.now())) break;
    co_await core::sleep_for(shard, kPortPause);
  }
  if (result < 0) co_return failed(result, fmt::format("cannot listen on port {}", address.port));
  const auto handle = static_cast<core::Handle>(result);
  SENTINEL_CO_TRY(bound, shard.ring().local_address(handle));
  co_return std::unique_ptr<Listener>(new Listener(shard, handle, bound.port));
}

Listener::~Listener() {
  SENTINEL_ASSERT(handle_ == core::kNoHandle || shard_.abandoned(), "a listener was not closed");
}

core::Task<core::Result<Socket>> Listener::accept(core::CancelToken token) {
  core::Io io(shard_, core::OpCode::accept_tcp, {}, token);
  io.handle = handle_;
  const std::int64_t result = co_await io;
  if (result < 0) co_return failed(result, "accept");
  co_return Socket(shard_, static_cast<core::Handle>(result));
}

core::Task<void> Listener::close() {
  if (handle_ == core::kNoHandle) co_return;
  core::Io io(shard_, core::OpCode::close_handle);
  io.handle = std::exchange(handle_, core::kNoHandle);
  co_await io;
}

}  // namespace sentinel::net
