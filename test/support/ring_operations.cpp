#include "test/support/ring_operations.h"

#include <utility>

#include "core/scope.h"

namespace sentinel::test {

using core::Address;
using core::CancelToken;
using core::Deadline;
using core::Handle;
using core::Io;
using core::OpCode;
using core::Shard;
using core::Task;

Task<std::int64_t> open_file(Shard& shard, std::string path, std::uint32_t flags) {
  Io io(shard, OpCode::open_file);
  io.path = path.c_str();
  io.flags = flags;
  co_return co_await io;
}

Task<std::int64_t> on_path(Shard& shard, OpCode code, std::string path) {
  Io io(shard, code);
  io.path = path.c_str();
  co_return co_await io;
}

Task<std::int64_t> on_handle(Shard& shard, OpCode code, Handle handle, std::uint64_t offset) {
  Io io(shard, code);
  io.handle = handle;
  io.offset = offset;
  co_return co_await io;
}

Task<std::int64_t> punch_hole(Shard& shard, Handle handle, std::uint64_t offset,
                              std::uint64_t length) {
  Io io(shard, OpCode::punch_hole);
  io.handle = handle;
  io.offset = offset;
  io.length = length;
  co_return co_await io;
}

Task<std::int64_t> rename_to(Shard& shard, std::string from, std::string to) {
  Io io(shard, OpCode::rename_file);
  io.path = from.c_str();
  io.path2 = to.c_str();
  co_return co_await io;
}

Task<std::int64_t> write_text(Shard& shard, Handle handle, std::uint64_t offset, std::string text) {
  Io io(shard, OpCode::write);
  io.handle = handle;
  io.offset = offset;
  io.buffer = {text.data(), text.size()};
  co_return co_await io;
}

Task<std::int64_t> read_text(Shard& shard, Handle handle, std::uint64_t offset, std::size_t length,
                             std::string* into) {
  into->assign(length, '\0');
  Io io(shard, OpCode::read);
  io.handle = handle;
  io.offset = offset;
  io.buffer = {into->data(), into->size()};
  const std::int64_t result = co_await io;
  into->resize(result < 0 ? 0 : static_cast<std::size_t>(result));
  co_return result;
}

Task<std::int64_t> listen_at(Shard& shard, Address address) {
  Io io(shard, OpCode::listen_tcp);
  io.address = &address;
  io.flags = 16;
  co_return co_await io;
}

Task<std::int64_t> connect_to(Shard& shard, Address address, Deadline deadline, CancelToken token) {
  Io io(shard, OpCode::connect_tcp, deadline, token);
  io.address = &address;
  co_return co_await io;
}

Task<std::int64_t> accept_one(Shard& shard, Handle listener, Deadline deadline, CancelToken token) {
  Io io(shard, OpCode::accept_tcp, deadline, token);
  io.handle = listener;
  co_return co_await io;
}

Task<std::int64_t> send_text(Shard& shard, Handle socket, std::string text) {
  Io io(shard, OpCode::send);
  io.handle = socket;
  io.buffer = {text.data(), text.size()};
  co_return co_await io;
}

Task<std::int64_t> send_parts(Shard& shard, Handle socket, std::vector<std::string> parts) {
  std::vector<iovec> vectors;
  for (std::string& part : parts) vectors.push_back({part.data(), part.size()});
  Io io(shard, OpCode::send);
  io.handle = socket;
  io.vectors = vectors.data();
  io.vector_count = static_cast<unsigned>(vectors.size());
  co_return co_await io;
}

Task<std::int64_t> receive_text(Shard& shard, Handle socket, std::size_t length, std::string* into,
                                Deadline deadline, CancelToken token) {
  into->assign(length, '\0');
  Io io(shard, OpCode::receive, deadline, token);
  io.handle = socket;
  io.buffer = {into->data(), into->size()};
  const std::int64_t result = co_await io;
  into->resize(result < 0 ? 0 : static_cast<std::size_t>(result));
  co_return result;
}

Task<void> close_handle(Shard& shard, Handle handle) {
  co_await on_handle(shard, OpCode::close_handle, handle);
}

namespace {

Task<void> accept_into(Shard& shard, Handle listener, Handle* accepted) {
  const std::int64_t result = co_await accept_one(shard, listener);
  *accepted = static_cast<Handle>(result);
}

}  // namespace

Task<SocketPair> connect_pair(Shard& shard) {
  SocketPair pair;
  const std::int64_t listened = co_await listen_at(shard, Address::loopback(0));
  SENTINEL_ASSERT(listened >= 0);
  const auto listener = static_cast<Handle>(listened);
  const auto address = shard.ring().local_address(listener);
  SENTINEL_ASSERT(address.has_value());
  core::TaskScope scope(shard);
  scope.spawn(accept_into(shard, listener, &pair.far));
  const std::int64_t connected = co_await connect_to(shard, *address);
  pair.near = static_cast<Handle>(connected);
  co_await scope.join();
  co_await close_handle(shard, listener);
  SENTINEL_ASSERT(pair.near >= 0 && pair.far >= 0);
  co_return pair;
}

}  // namespace sentinel::test
