#include "core/ring.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <cstring>

namespace sentinel::core {

namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_mapped_v4(const Address& address) {
  return address.v6 &&
         std::memcmp(address.ip.data(), kMappedPrefix.data(), kMappedPrefix.size()) == 0;
}

}  // namespace

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (is_mapped_v4(*this)) {
    inet_ntop(AF_INET, ip.data() + kMappedPrefix.size(), text, sizeof text);
  } else {
    inet_ntop(v6 ? AF_INET6 : AF_INET, ip.data(), text, sizeof text);
  }
  return text;
}

std::string Address::to_string() const {
  const bool brackets = v6 && !is_mapped_v4(*this);
  return brackets ? fmt::format("[{}]:{}", host(), port) : fmt::format("{}:{}", host(), port);
}

Address Address::loopback(std::uint16_t port) {
  return Address{.ip = {127, 0, 0, 1}, .v6 = false, .port = port};
}

Address Address::any(std::uint16_t port) { return Address{.ip = {}, .v6 = true, .port = port}; }

Result<Address> Address::parse(std::string_view host, std::uint16_t port) {
  const std::string text(host);
  Address address{.ip = {}, .v6 = false, .port = port};
  if (inet_pton(AF_INET, text.c_str(), address.ip.data()) == 1) return address;
  address.v6 = true;
  if (inet_pton(AF_INET6, text.c_str(), address.ip.data()) == 1) return address;
  return fail(Errc::invalid_argument, fmt::format("{} is not a numeric address", host));
}

std::string_view to_string(OpCode code) {
  switch (code) {
    case OpCode::open_file: return "open_file";
    case OpCode::close_handle: return "close_handle";
    case OpCode::read: return "read";
    case OpCode::write: return "write";
    case OpCode::sync_data: return "sync_data";
    case OpCode::sync_all: return "sync_all";
    case OpCode::allocate: return "allocate";
    case OpCode::advise_random: return "advise";
    case OpCode::punch_hole: return "punch hole";
    case OpCode::truncate: return "truncate";
    case OpCode::rename_file: return "rename_file";
    case OpCode::unlink_file: return "unlink_file";
    case OpCode::make_directory: return "make_directory";
    case OpCode::remove_directory: return "remove_directory";
    case OpCode::list_directory: return "list_directory";
    case OpCode::stat_path: return "stat_path";
    case OpCode::lock_file: return "lock_file";
    case OpCode::free_space: return "free_space";
    case OpCode::listen_tcp: return "listen_tcp";
    case OpCode::accept_tcp: return "accept_tcp";
    case OpCode::connect_tcp: return "connect_tcp";
    case OpCode::receive: return "receive";
    case OpCode::send: return "send";
    case OpCode::shutdown_socket: return "shutdown_socket";
    case OpCode::resolve_host: return "resolve_host";
    case OpCode::nop: return "nop";
  }
  return "unknown";
}

}  // namespace sentinel::core
