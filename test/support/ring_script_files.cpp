#include <fmt/ranges.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/scope.h"
#include "test/support/ring_conformance.h"
#include "test/support/ring_operations.h"

namespace sentinel::test {

using core::FileStat;
using core::Handle;
using core::Io;
using core::OpCode;
using core::Shard;
using core::Task;
namespace open_flags = core::open_flags;

namespace {

constexpr std::size_t kPage = 4096;

// The scripts are plain functions: what they need besides the shard is the directory, set before a
// run.
thread_local std::string directory;

std::string_view yes(bool value) { return value ? "yes" : "no"; }
bool all_zero(const std::string& text) { return text.find_first_not_of('\0') == std::string::npos; }

/// A page of memory at a page boundary, as direct reads and writes need it.
class Page {
 public:
  explicit Page(char fill) : memory_(2 * kPage) {
    void* at = memory_.data();
    std::size_t room = memory_.size();
    data_ = static_cast<char*>(std::align(kPage, kPage, at, room));
    std::memset(data_, fill, kPage);
  }
  [[nodiscard]] iovec vector() const { return {data_, kPage}; }
  [[nodiscard]] bool holds(char fill) const {
    return std::string_view(data_, kPage).find_first_not_of(fill) == std::string_view::npos;
  }

 private:
  std::vector<char> memory_;
  char* data_ = nullptr;
};

Task<std::int64_t> transfer_page(Shard& shard, OpCode code, Handle handle, iovec page,
                                 std::int32_t buffer_index) {
  Io io(shard, code);
  io.handle = handle;
  io.buffer = page;
  io.buffer_index = buffer_index;
  co_return co_await io;
}

Task<std::int64_t> transfer_vectors(Shard& shard, OpCode code, Handle handle, std::uint64_t offset,
                                    std::string* first, std::string* second) {
  const std::array<iovec, 2> vectors = {iovec{first->data(), first->size()},
                                        iovec{second->data(), second->size()}};
  Io io(shard, code);
  io.handle = handle;
  io.offset = offset;
  io.vectors = vectors.data();
  io.vector_count = 2;
  co_return co_await io;
}

Task<std::int64_t> size_of(Shard& shard, std::string path) {
  FileStat stat;
  Io io(shard, OpCode::stat_path);
  io.path = path.c_str();
  io.stat = &stat;
  const std::int64_t result = co_await io;
  co_return result < 0 ? result : static_cast<std::int64_t>(stat.size_bytes);
}

Task<std::int64_t> list(Shard& shard, std::string path, std::string* joined) {
  std::vector<std::string> names;
  Io io(shard, OpCode::list_directory);
  io.path = path.c_str();
  io.names = &names;
  const std::int64_t result = co_await io;
  *joined = fmt::format("{}", fmt::join(names, ","));
  co_return result;
}

Task<void> write_into(Shard& shard, Handle handle, std::uint64_t offset, std::string text,
                      std::int64_t* result) {
  *result = co_await write_text(shard, handle, offset, std::move(text));
}

Task<void> reads_and_writes(Shard& shard, Transcript& log, Handle file) {
  log.note("write 10 bytes", co_await write_text(shard, file, 0, "0123456789"));
  std::string first = "first";
  std::string second = "|second";
  log.note("write two vectors behind them",
           co_await transfer_vectors(shard, OpCode::write, file, 10, &first, &second));
  std::string text;
  log.note("read 64 bytes, 22 are there", co_await read_text(shard, file, 0, 64, &text));
  log.note("what was read", std::string_view(text));
  log.note("read at the end", co_await read_text(shard, file, 22, 8, &text));
  log.note("read past the end", co_await read_text(shard, file, 1 << 20, 8, &text));
  first.assign(4, ' ');
  second.assign(18, ' ');
  log.note("read into two vectors",
           co_await transfer_vectors(shard, OpCode::read, file, 0, &first, &second));
  log.note("what the vectors hold", std::string_view(first + "," + second));
  log.note("overwrite in the middle", co_await write_text(shard, file, 3, "abc"));
  co_await read_text(shard, file, 0, 10, &text);
  log.note("what is there then", std::string_view(text));
  log.note("write past the end", co_await write_text(shard, file, 100, "x"));
  co_await read_text(shard, file, 22, 78, &text);
  log.note("the gap reads as zeros", yes(text.size() == 78 && all_zero(text)));
}

Task<void> sizes_and_syncs(Shard& shard, Transcript& log, Handle file, std::string path) {
  log.note("truncate to 4", co_await on_handle(shard, OpCode::truncate, file, 4));
  log.note("size then", co_await size_of(shard, path));
  log.note("extend by truncate to 6", co_await on_handle(shard, OpCode::truncate, file, 6));
  std::string text;
  log.note("read after it", co_await read_text(shard, file, 0, 64, &text));
  log.note("bytes behind the old end are zeros", yes(text == std::string("012a\0\0", 6)));
  log.note("allocate 8192", co_await on_handle(shard, OpCode::allocate, file, 8192));
  log.note("size then", co_await size_of(shard, path));
  log.note("allocate less", co_await on_handle(shard, OpCode::allocate, file, 100));
  log.note("size stays", co_await size_of(shard, path));
  co_await read_text(shard, file, 6, 8186, &text);
  log.note("allocated space reads as zeros", yes(text.size() == 8186 && all_zero(text)));
  co_await write_text(shard, file, 0, std::string(8192, 'x'));
  log.note("punch a hole", co_await punch_hole(shard, file, 4096, 4096));
  log.note("size stays", co_await size_of(shard, path));
  co_await read_text(shard, file, 0, 8192, &text);
  log.note("the hole reads as zeros",
           yes(text.substr(0, 4096) == std::string(4096, 'x') && all_zero(text.substr(4096))));
  log.note("advise random", co_await on_handle(shard, OpCode::advise_random, file));
  log.note("sync data", co_await on_handle(shard, OpCode::sync_data, file));
  log.note("sync all", co_await on_handle(shard, OpCode::sync_all, file));
}

Task<void> locks(Shard& shard, Transcript& log, std::string path) {
  const auto first = static_cast<Handle>(co_await open_file(shard, path, open_flags::write));
  const auto second = static_cast<Handle>(co_await open_file(shard, path, open_flags::write));
  log.note("lock", co_await on_handle(shard, OpCode::lock_file, first));
  log.note("lock through a second handle", co_await on_handle(shard, OpCode::lock_file, second));
  co_await close_handle(shard, first);
  log.note("lock after the first handle is closed",
           co_await on_handle(shard, OpCode::lock_file, second));
  co_await close_handle(shard, second);
}

Task<void> two_at_once(Shard& shard, Transcript& log, Handle file) {
  core::TaskScope scope(shard);
  std::int64_t first = 0;
  std::int64_t second = 0;
  scope.spawn(write_into(shard, file, 0, std::string(2 * kPage, 'p'), &first));
  scope.spawn(write_into(shard, file, 2 * kPage, std::string(kPage, 'q'), &second));
  co_await scope.join();
  log.note("two writes at once", fmt::format("{} and {}", first, second));
  std::string text;
  co_await read_text(shard, file, 0, 3 * kPage, &text);
  log.note("what they wrote", yes(text == std::string(2 * kPage, 'p') + std::string(kPage, 'q')));
}

Task<void> registered_buffers(Shard& shard, Transcript& log, Handle file) {
  const Page from('r');
  const Page into(' ');
  const std::array<iovec, 2> buffers = {from.vector(), into.vector()};
  const bool registered = shard.ring().register_buffers(buffers);
  log.note("write with a registered buffer",
           co_await transfer_page(shard, OpCode::write, file, from.vector(), registered ? 0 : -1));
  log.note("read with a registered buffer",
           co_await transfer_page(shard, OpCode::read, file, into.vector(), registered ? 1 : -1));
  log.note("the registered buffers agree", yes(into.holds('r')));
}

Task<void> direct_writes(Shard& shard, Transcript& log, std::string path) {
  using namespace open_flags;
  const std::int64_t opened =
      co_await open_file(shard, path, read | write | create | direct | data_sync);
  // Not every file system has direct access; then the same steps go through the page cache.
  std::int64_t file = opened;
  if (opened == -EINVAL) file = co_await open_file(shard, path, read | write | create | data_sync);
  const auto handle = static_cast<Handle>(file);
  const Page from('d');
  const Page into(' ');
  log.note("write aligned, direct and durable",
           co_await transfer_page(shard, OpCode::write, handle, from.vector(), -1));
  log.note("read it back, direct",
           co_await transfer_page(shard, OpCode::read, handle, into.vector(), -1));
  log.note("the direct bytes agree", yes(into.holds('d')));
  co_await close_handle(shard, handle);
}

Task<void> file_script(Shard& shard, Transcript& log) {
  using namespace open_flags;
  const std::string path = directory + "/file";
  log.note_handle("open a missing file", co_await open_file(shard, path, read));
  const std::int64_t created = co_await open_file(shard, path, read | write | create | exclusive);
  log.note_handle("create a file", created);
  const auto file = static_cast<Handle>(created);
  log.note_handle("create it again, exclusively",
                  co_await open_file(shard, path, write | create | exclusive));
  co_await reads_and_writes(shard, log, file);
  co_await sizes_and_syncs(shard, log, file, path);
  co_await locks(shard, log, path);
  co_await two_at_once(shard, log, file);
  co_await registered_buffers(shard, log, file);
  co_await close_handle(shard, file);
  const std::int64_t again = co_await open_file(shard, path, write | create | truncate);
  log.note_handle("reopen with truncate", again);
  co_await close_handle(shard, static_cast<Handle>(again));
  log.note("size then", co_await size_of(shard, path));
  co_await direct_writes(shard, log, directory + "/direct");
  co_await on_path(shard, OpCode::unlink_file, path);
  co_await on_path(shard, OpCode::unlink_file, directory + "/direct");
}

Task<void> create_with(Shard& shard, std::string path, std::string text) {
  const std::int64_t file = co_await open_file(shard, path, open_flags::write | open_flags::create);
  co_await write_text(shard, static_cast<Handle>(file), 0, std::move(text));
  co_await close_handle(shard, static_cast<Handle>(file));
}

Task<void> renames(Shard& shard, Transcript& log, std::string in) {
  std::string names;
  for (const char* name : {"c", "a", "b"}) co_await create_with(shard, in + "/" + name, name);
  log.note("list it with three files", co_await list(shard, in, &names));
  log.note("its names", std::string_view(names));
  log.note("rename a to d", co_await rename_to(shard, in + "/a", in + "/d"));
  log.note("rename b over c", co_await rename_to(shard, in + "/b", in + "/c"));
  co_await list(shard, in, &names);
  log.note("its names", std::string_view(names));
  const std::int64_t file = co_await open_file(shard, in + "/c", open_flags::read);
  co_await read_text(shard, static_cast<Handle>(file), 0, 8, &names);
  co_await close_handle(shard, static_cast<Handle>(file));
  log.note("c has the contents of b", std::string_view(names));
  log.note("rename a missing file", co_await rename_to(shard, in + "/a", in + "/e"));
  log.note("unlink d", co_await on_path(shard, OpCode::unlink_file, in + "/d"));
  log.note("unlink d again", co_await on_path(shard, OpCode::unlink_file, in + "/d"));
  log.note("unlink a directory", co_await on_path(shard, OpCode::unlink_file, in));
  log.note("remove it with files in it", co_await on_path(shard, OpCode::remove_directory, in));
  const std::string empty = in + "/empty";
  co_await on_path(shard, OpCode::make_directory, empty);
  log.note("remove an empty one", co_await on_path(shard, OpCode::remove_directory, empty));
  log.note("remove it again", co_await on_path(shard, OpCode::remove_directory, empty));
  log.note("remove a file", co_await on_path(shard, OpCode::remove_directory, in + "/c"));
}

Task<void> stats(Shard& shard, Transcript& log, std::string in) {
  FileStat stat;
  const std::string file = in + "/c";
  Io on_file(shard, OpCode::stat_path);
  on_file.path = file.c_str();
  on_file.stat = &stat;
  log.note("stat a file", co_await on_file);
  log.note("it is a file of size",
           stat.is_directory ? -1 : static_cast<std::int64_t>(stat.size_bytes));
  Io on_directory(shard, OpCode::stat_path);
  on_directory.path = in.c_str();
  on_directory.stat = &stat;
  log.note("stat a directory", co_await on_directory);
  log.note("it is a directory", yes(stat.is_directory));
  log.note("stat a missing name", co_await size_of(shard, in + "/none"));
}

Task<void> kinds(Shard& shard, Transcript& log, std::string in) {
  std::string names;
  log.note("list a missing directory", co_await list(shard, in + "/none", &names));
  log.note("list a file", co_await list(shard, in + "/c", &names));
  log.note_handle("open a directory for writing", co_await open_file(shard, in, open_flags::write));
  const std::uint32_t as_directory = open_flags::read | open_flags::directory;
  log.note_handle("open a file as a directory", co_await open_file(shard, in + "/c", as_directory));
  const std::int64_t opened = co_await open_file(shard, in, as_directory);
  log.note_handle("open a directory", opened);
  const auto handle = static_cast<Handle>(opened);
  log.note("sync the directory", co_await on_handle(shard, OpCode::sync_all, handle));
  co_await close_handle(shard, handle);
  const std::int64_t free = co_await on_path(shard, OpCode::free_space, in);
  log.note("free space is known", yes(free > 0));
  log.note("free space of a missing path",
           co_await on_path(shard, OpCode::free_space, in + "/none"));
}

Task<void> name_script(Shard& shard, Transcript& log) {
  const std::string in = directory + "/names";
  std::string names;
  log.note("make a directory", co_await on_path(shard, OpCode::make_directory, in));
  log.note("make it again", co_await on_path(shard, OpCode::make_directory, in));
  log.note("make one in a missing directory",
           co_await on_path(shard, OpCode::make_directory, in + "/none/below"));
  log.note("list it, empty", co_await list(shard, in, &names));
  log.note("its names", std::string_view(names));
  co_await renames(shard, log, in);
  co_await stats(shard, log, in);
  co_await kinds(shard, log, in);
  const std::int64_t file = co_await open_file(shard, in + "/c", open_flags::read);
  co_await on_path(shard, OpCode::unlink_file, in + "/c");
  log.note("a file read while its name is gone",
           co_await read_text(shard, static_cast<Handle>(file), 0, 8, &names));
  co_await close_handle(shard, static_cast<Handle>(file));
}

std::string run_in_directory(const RingFactory& factory, Task<void> (*body)(Shard&, Transcript&)) {
  directory = factory.directory;
  Transcript transcript;
  run_on_ring(factory, body, transcript);
  return transcript.text();
}

}  // namespace

std::string run_file_script(const RingFactory& factory) {
  return run_in_directory(factory, &file_script);
}

std::string run_name_script(const RingFactory& factory) {
  return run_in_directory(factory, &name_script);
}

}  // namespace sentinel::test
