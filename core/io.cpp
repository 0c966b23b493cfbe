#include "core/io.h"

#include <fmt/format.h>

#include <cerrno>

namespace sentinel::core {

Io::Io(Shard& shard, OpCode op_code, Deadline deadline, CancelToken token)
    : shard_(shard), deadline_(deadline), token_(token) {
  code = op_code;
  completed = [](Operation& operation) { static_cast<Io&>(operation).finish(); };
  fire_ = [](TimerNode& timer) { static_cast<Io&>(timer).give_up(-ETIMEDOUT); };
  on_cancel_ = [](CancelHook& hook) { static_cast<Io&>(hook).give_up(-ECANCELED); };
}

Io::~Io() {
  SENTINEL_ASSERT(!in_flight_ || shard_.abandoned(), "{} destroyed while the ring holds it",
                  to_string(code));
  shard_.timers().remove(*this);
}

void Io::await_suspend(std::coroutine_handle<> waiter) {
  waiter_ = waiter;
  if (token_.cancelled()) {
    result = -ECANCELED;
    shard_.make_ready(waiter_);
    return;
  }
  if (vectors == nullptr && buffer.iov_base != nullptr) {
    vectors = &buffer;
    vector_count = 1;
  }
  if (!deadline_.is_never()) shard_.timers().add(*this, deadline_.at());
  token_.register_hook(*this);
  in_flight_ = true;
  shard_.ring().submit(*this);
}

void Io::give_up(std::int64_t reason) {
  if (given_up_ != 0) return;
  given_up_ = reason;
  shard_.ring().cancel(*this);
}

void Io::finish() {
  in_flight_ = false;
  if (result == -ECANCELED && given_up_ != 0) result = given_up_;
  shard_.timers().remove(*this);
  CancelHook::unlink();
  shard_.make_ready(waiter_);
}

namespace {

std::unexpected<Error> failed(std::int64_t result, std::string_view verb, std::string_view object) {
  return std::unexpected(
      error_from_errno(static_cast<int>(-result), fmt::format("cannot {} {}", verb, object)));
}

Status to_status(std::int64_t result, std::string_view verb, std::string_view object) {
  if (result < 0) return failed(result, verb, object);
  return {};
}

Task<std::int64_t> on_handle(Shard& shard, OpCode code, Handle handle, std::uint64_t offset = 0) {
  Io io(shard, code);
  io.handle = handle;
  io.offset = offset;
  co_return co_await io;
}

Task<std::int64_t> on_path(Shard& shard, OpCode code, const char* path) {
  Io io(shard, code);
  io.path = path;
  co_return co_await io;
}

}  // namespace

File& File::operator=(File&& other) noexcept {
  SENTINEL_ASSERT(handle_ == kNoHandle, "{} is still open", path_);
  shard_ = other.shard_;
  handle_ = std::exchange(other.handle_, kNoHandle);
  direct_ = other.direct_;
  path_ = std::move(other.path_);
  return *this;
}

File::~File() {
  SENTINEL_ASSERT(handle_ == kNoHandle || shard_->abandoned(), "{} was not closed", path_);
}

Task<Result<File>> File::open(Shard& shard, std::string path, std::uint32_t flags) {
  Io io(shard, OpCode::open_file);
  io.path = path.c_str();
  io.flags = flags;
  const std::int64_t result = co_await io;
  if (result < 0) co_return failed(result, "open", path);
  const bool direct = (flags & open_flags::direct) != 0;
  co_return File(shard, static_cast<Handle>(result), direct, std::move(path));
}

Task<Result<File>> File::open_direct(Shard& shard, std::string path, std::uint32_t flags) {
  auto file = co_await open(shard, path, flags | open_flags::direct);
  if (file || file.error().code != Errc::invalid_argument) co_return file;
  co_return co_await open(shard, std::move(path), flags);
}

Task<Result<std::size_t>> File::read(std::uint64_t offset, std::span<std::byte> into) const {
  std::size_t done = 0;
  while (done < into.size()) {
    Io io(*shard_, OpCode::read);
    io.handle = handle_;
    io.offset = offset + done;
    io.buffer = {into.data() + done, into.size() - done};
    const std::int64_t result = co_await io;
    if (result < 0)
      co_return failed(result, "read", fmt::format("{} at offset {}", path_, io.offset));
    if (result == 0) break;
    done += static_cast<std::size_t>(result);
  }
  co_return done;
}

Task<Status> File::read_exactly(std::uint64_t offset, std::span<std::byte> into) const {
  SENTINEL_CO_TRY(length, co_await read(offset, into));
  if (length < into.size()) {
    co_return fail(Errc::corruption,
                   fmt::format("{} ends at byte {}, {} bytes were expected at offset {}", path_,
                               offset + length, into.size(), offset));
  }
  co_return Status();
}

Task<Status> File::write(std::uint64_t offset, ByteSpan from, std::int32_t buffer_index) const {
  std::size_t done = 0;
  while (done < from.size()) {
    Io io(*shard_, OpCode::write);
    io.handle = handle_;
    io.offset = offset + done;
    io.buffer_index = buffer_index;
    io.buffer = {const_cast<std::byte*>(from.data()) + done, from.size() - done};
    const std::int64_t result = co_await io;
    if (result < 0)
      co_return failed(result, "write", fmt::format("{} at offset {}", path_, io.offset));
    if (result == 0)
      co_return fail(Errc::io_error, fmt::format("cannot write {}: no progress", path_));
    done += static_cast<std::size_t>(result);
  }
  co_return Status();
}

Task<Status> File::advise_random() const {
  const std::int64_t result = co_await on_handle(*shard_, OpCode::advise_random, handle_);
  co_return to_status(result, "advise on", path_);
}

Task<Status> File::sync_data() const {
  const std::int64_t result = co_await on_handle(*shard_, OpCode::sync_data, handle_);
  co_return to_status(result, "sync", path_);
}

Task<Status> File::sync_all() const {
  const std::int64_t result = co_await on_handle(*shard_, OpCode::sync_all, handle_);
  co_return to_status(result, "sync", path_);
}

Task<Status> File::allocate(std::uint64_t size_bytes) const {
  const std::int64_t result = co_await on_handle(*shard_, OpCode::allocate, handle_, size_bytes);
  co_return to_status(result, "reserve space for", path_);
}

Task<Status> File::truncate(std::uint64_t size_bytes) const {
  const std::int64_t result = co_await on_handle(*shard_, OpCode::truncate, handle_, size_bytes);
  co_return to_status(result, "truncate", path_);
}

Task<Status> File::punch_hole(std::uint64_t offset, std::uint64_t length) const {
  Io io(*shard_, OpCode::punch_hole);
  io.handle = handle_;
  io.offset = offset;
  io.length = length;
  const std::int64_t result = co_await io;
  co_return to_status(result, "give back space of", path_);
}

Task<Status> File::lock() const {
  const std::int64_t result = co_await on_handle(*shard_, OpCode::lock_file, handle_);
  co_return to_status(result, "lock", path_);
}

Task<void> File::close() {
  if (handle_ == kNoHandle) co_return;
  // The result of a close says nothing that a sync has not said: durability never rests on it.
  co_await on_handle(*shard_, OpCode::close_handle, std::exchange(handle_, kNoHandle));
}

Task<Status> sync_directory(Shard& shard, std::string directory) {
  auto opened =
      co_await File::open(shard, std::move(directory), open_flags::read | open_flags::directory);
  if (!opened) co_return std::unexpected(std::move(opened).error());
  Status synced = co_await opened->sync_all();
  co_await opened->close();
  co_return synced;
}

Task<Status> rename_file(Shard& shard, std::string from, std::string to) {
  Io io(shard, OpCode::rename_file);
  io.path = from.c_str();
  io.path2 = to.c_str();
  const std::int64_t result = co_await io;
  co_return to_status(result, "rename", fmt::format("{} to {}", from, to));
}

Task<Status> unlink_file(Shard& shard, std::string path) {
  const std::int64_t result = co_await on_path(shard, OpCode::unlink_file, path.c_str());
  co_return to_status(result, "remove", path);
}

Task<Status> make_directory(Shard& shard, std::string path) {
  const std::int64_t result = co_await on_path(shard, OpCode::make_directory, path.c_str());
  if (result == -EEXIST) co_return Status();
  co_return to_status(result, "create directory", path);
}

Task<Status> remove_directory(Shard& shard, std::string path) {
  const std::int64_t result = co_await on_path(shard, OpCode::remove_directory, path.c_str());
  co_return to_status(result, "remove directory", path);
}

Task<Result<std::vector<std::string>>> list_directory(Shard& shard, std::string path) {
  std::vector<std::string> names;
  Io io(shard, OpCode::list_directory);
  io.path = path.c_str();
  io.names = &names;
  const std::int64_t result = co_await io;
  if (result < 0) co_return failed(result, "list", path);
  co_return names;
}

Task<Result<FileStat>> stat_path(Shard& shard, std::string path) {
  FileStat stat;
  Io io(shard, OpCode::stat_path);
  io.path = path.c_str();
  io.stat = &stat;
  const std::int64_t result = co_await io;
  if (result < 0) co_return failed(result, "find", path);
  co_return stat;
}

Task<Result<std::uint64_t>> free_space(Shard& shard, std::string path) {
  const std::int64_t result = co_await on_path(shard, OpCode::free_space, path.c_str());
  if (result < 0) co_return failed(result, "measure the free space of", path);
  co_return static_cast<std::uint64_t>(result);
}

Task<Result<Bytes>> read_file(Shard& shard, std::string path, std::size_t bytes_max) {
  SENTINEL_CO_TRY(stat, co_await stat_path(shard, path));
  if (stat.size_bytes > bytes_max) {
    co_return fail(Errc::too_large, fmt::format("{} has {} bytes, at most {} were expected", path,
                                                stat.size_bytes, bytes_max));
  }
  auto file = co_await File::open(shard, path, open_flags::read);
  if (!file) co_return std::unexpected(std::move(file).error());
  Buffer buffer = Buffer::allocate(stat.size_bytes);
  auto length = co_await file->read(0, {buffer.data(), stat.size_bytes});
  co_await file->close();
  if (!length) co_return std::unexpected(std::move(length).error());
  co_return buffer.slice(0, *length);
}

Task<Status> replace_file(Shard& shard, std::string directory, std::string name, Bytes contents) {
  const std::string path = directory + "/" + name;
  const std::string temporary = path + ".new";
  auto file = co_await File::open(shard, temporary,
                                  open_flags::write | open_flags::create | open_flags::truncate);
  if (!file) co_return std::unexpected(std::move(file).error());
  Status written = co_await file->write(0, contents);
  if (written) written = co_await file->sync_all();
  co_await file->close();
  SENTINEL_CO_CHECK(std::move(written));
  SENTINEL_CO_CHECK(co_await rename_file(shard, temporary, path));
  co_return co_await sync_directory(shard, std::move(directory));
}

}  // namespace sentinel::core
