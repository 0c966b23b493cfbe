#pragma once
/// Ring operations as awaitables, and files and directories on top of them.

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/cancel.h"
#include "core/result.h"
#include "core/ring.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::core {

/// One ring operation as an awaitable; the awaiting frame holds the request. Yields the operation's
/// result: a count or handle, or a negative errno. When the deadline passes or the token is
/// cancelled, the operation is cancelled and awaited, and yields -ETIMEDOUT or -ECANCELED, unless
/// it had finished first.
class [[nodiscard]] Io : public Operation, private TimerNode, private CancelHook {
 public:
  Io(Shard& shard, OpCode op_code, Deadline deadline = {}, CancelToken token = {});
  ~Io();

  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> waiter);
  std::int64_t await_resume() const { return result; }

  iovec buffer{};  ///< Room for operations with one buffer; `vectors` then points here.

 private:
  void finish();
  void give_up(std::int64_t reason);

  Shard& shard_;
  Deadline deadline_;
  CancelToken token_;
  std::coroutine_handle<> waiter_;
  bool in_flight_ = false;
  std::int64_t given_up_ = 0;
};

/// An open file. Close it with close(); an open file that is dropped is a leak and asserts.
class File {
 public:
  File() = default;
  File(File&& other) noexcept
      : shard_(other.shard_),
        handle_(std::exchange(other.handle_, kNoHandle)),
        direct_(other.direct_),
        path_(std::move(other.path_)) {}
  File& operator=(File&& other) noexcept;
  ~File();

  /// Opens `path` with open_flags. Errors name the path.
  static Task<Result<File>> open(Shard& shard, std::string path, std::uint32_t flags);
  /// Opens `path` past the page cache (open_flags::direct), or through it where the file system
  /// refuses that, as tmpfs and some overlays do; direct() says which.
  static Task<Result<File>> open_direct(Shard& shard, std::string path, std::uint32_t flags);
  [[nodiscard]] bool direct() const { return direct_; }
  [[nodiscard]] bool is_open() const { return handle_ != kNoHandle; }
  [[nodiscard]] Handle handle() const { return handle_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Fills `into` from `offset`, in as many reads as it takes; fewer bytes only at the end of the
  /// file. The memory stays valid until the task ends. Returns the bytes read.
  Task<Result<std::size_t>> read(std::uint64_t offset, std::span<std::byte> into) const;
  /// Fills `into`; a file that ends earlier is Errc::corruption.
  Task<Status> read_exactly(std::uint64_t offset, std::span<std::byte> into) const;
  /// Writes all of `from`, in as many writes as it takes. `buffer_index`: see Operation.
  Task<Status> write(std::uint64_t offset, ByteSpan from, std::int32_t buffer_index = -1) const;
  /// The caller reads whole stretches itself: the system is to read nothing ahead.
  Task<Status> advise_random() const;
  Task<Status> sync_data() const;
  Task<Status> sync_all() const;
  Task<Status> allocate(std::uint64_t size_bytes) const;
  Task<Status> truncate(std::uint64_t size_bytes) const;
  /// Gives the space of whole blocks in the range back; the range reads as zeros. Errc::unsupported
  /// where the file system can't.
  Task<Status> punch_hole(std::uint64_t offset, std::uint64_t length) const;
  /// Errc::busy when another process holds the lock.
  Task<Status> lock() const;
  Task<void> close();

 private:
  File(Shard& shard, Handle handle, bool direct, std::string path)
      : shard_(&shard), handle_(handle), direct_(direct), path_(std::move(path)) {}

  Shard* shard_ = nullptr;
  Handle handle_ = kNoHandle;
  bool direct_ = false;
  std::string path_;
};

/// Makes created, renamed and removed names in `directory` durable.
Task<Status> sync_directory(Shard& shard, std::string directory);
Task<Status> rename_file(Shard& shard, std::string from, std::string to);
Task<Status> unlink_file(Shard& shard, std::string path);
/// Succeeds when the directory is there already.
Task<Status> make_directory(Shard& shard, std::string path);
/// One that is empty.
Task<Status> remove_directory(Shard& shard, std::string path);
Task<Result<std::vector<std::string>>> list_directory(Shard& shard, std::string path);
/// Errc::not_found when there is nothing at `path`.
Task<Result<FileStat>> stat_path(Shard& shard, std::string path);
Task<Result<std::uint64_t>> free_space(Shard& shard, std::string path);
/// The whole contents; Errc::too_large beyond `bytes_max`.
Task<Result<Bytes>> read_file(Shard& shard, std::string path, std::size_t bytes_max);
/// Replaces `path` so that after a crash either the old or the new contents stand there: temporary
/// file, sync, rename, directory sync.
Task<Status> replace_file(Shard& shard, std::string directory, std::string name, Bytes contents);

}  // namespace sentinel::core
