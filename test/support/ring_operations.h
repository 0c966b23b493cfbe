#pragma once
/// Single ring operations for tests, as tasks with the raw result.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/io.h"

namespace sentinel::test {

core::Task<std::int64_t> open_file(core::Shard& shard, std::string path, std::uint32_t flags);
core::Task<std::int64_t> on_path(core::Shard& shard, core::OpCode code, std::string path);
core::Task<std::int64_t> on_handle(core::Shard& shard, core::OpCode code, core::Handle handle,
                                   std::uint64_t offset = 0);
core::Task<std::int64_t> punch_hole(core::Shard& shard, core::Handle handle, std::uint64_t offset,
                                    std::uint64_t length);
core::Task<std::int64_t> rename_to(core::Shard& shard, std::string from, std::string to);
core::Task<std::int64_t> write_text(core::Shard& shard, core::Handle handle, std::uint64_t offset,
                                    std::string text);
/// Reads at most `length` bytes in one operation; `into` gets what was read.
core::Task<std::int64_t> read_text(core::Shard& shard, core::Handle handle, std::uint64_t offset,
                                   std::size_t length, std::string* into);
core::Task<std::int64_t> listen_at(core::Shard& shard, core::Address address);
core::Task<std::int64_t> connect_to(core::Shard& shard, core::Address address,
                                    core::Deadline deadline = {}, core::CancelToken token = {});
core::Task<std::int64_t> accept_one(core::Shard& shard, core::Handle listener,
                                    core::Deadline deadline = {}, core::CancelToken token = {});
core::Task<std::int64_t> send_text(core::Shard& shard, core::Handle socket, std::string text);
core::Task<std::int64_t> send_parts(core::Shard& shard, core::Handle socket,
                                    std::vector<std::string> parts);
core::Task<std::int64_t> receive_text(core::Shard& shard, core::Handle socket, std::size_t length,
                                      std::string* into, core::Deadline deadline = {},
                                      core::CancelToken token = {});
core::Task<void> close_handle(core::Shard& shard, core::Handle handle);

/// Two connected sockets of one shard.
struct SocketPair {
  core::Handle near = core::kNoHandle;
  core::Handle far = core::kNoHandle;
};
core::Task<SocketPair> connect_pair(core::Shard& shard);

}  // namespace sentinel::test
