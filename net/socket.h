#pragma once
/// TCP on a Ring: a stream and a listener.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/bytes.h"
#include "core/io.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::net {

/// "host:port", "[::1]:9092". Without a port `default_port` is taken.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
  static core::Result<HostPort> parse(std::string_view text, std::uint16_t default_port);
  [[nodiscard]] std::string to_string() const;
};

/// A connection. One receive and one send may be in flight at a time. Close it with close().
class Socket {
 public:
  Socket() = default;
  /// Takes over an open handle of the shard's ring.
  Socket(core::Shard& shard, core::Handle handle) : shard_(&shard), handle_(handle) {}
  Socket(Socket&& other) noexcept
      : shard_(other.shard_), handle_(std::exchange(other.handle_, core::kNoHandle)) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();

  /// Resolves `host` and tries its addresses in turn. Errors name the address.
  static core::Task<core::Result<Socket>> connect(core::Shard& shard, HostPort to,
                                                  core::Deadline deadline,
                                                  core::CancelToken token = {});

  [[nodiscard]] bool is_open() const { return handle_ != core::kNoHandle; }
  /// Waits for some bytes; zero means that the other side has ended.
  core::Task<core::Result<std::size_t>> receive(std::span<std::byte> into,
                                                core::Deadline deadline = {},
                                                core::CancelToken token = {});
  /// Sends all of `data`.
  core::Task<core::Status> send(core::Chain data, core::Deadline deadline = {},
                                core::CancelToken token = {});
  /// Ends pending and later operations on both sides.
  core::Task<void> shutdown();
  core::Task<void> close();
  /// Gives the handle away, to another shard. No operation may be pending.
  core::Handle release();

  [[nodiscard]] core::Result<core::Address> local_address() const;
  [[nodiscard]] core::Result<core::Address> peer_address() const;

 private:
  core::Shard* shard_ = nullptr;
  core::Handle handle_ = core::kNoHandle;
};

class Listener {
 public:
  /// Listens on `address`; port 0 picks a free one. Errc::busy when the port is taken, and
  /// stays so for a second.
  static core::Task<core::Result<std::unique_ptr<Listener>>> open(core::Shard& shard,
                                                                  core::Address address);
  ~Listener();
  [[nodiscard]] std::uint16_t port() const { return port_; }
  core::Task<core::Result<Socket>> accept(core::CancelToken token);
  core::Task<void> close();

 private:
  Listener(core::Shard& shard, core::Handle handle, std::uint16_t port)
      : shard_(shard), handle_(handle), port_(port) {}
  core::Shard& shard_;
  core::Handle handle_;
  const std::uint16_t port_;
};

}  // namespace sentinel::net
