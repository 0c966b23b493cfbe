#pragma once
/// A ring whose files are byte vectors that the test reads and changes at will: for tests and fuzz
/// targets of what stands on files but needs no crash and no network. Operations finish at the next
/// poll, in order.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/ring.h"

namespace sentinel::test {

class MemoryRing final : public core::Ring {
 public:
  std::map<std::string, std::vector<std::byte>> files;
  std::vector<core::OpCode> log;  ///< Of all operations submitted.
  std::size_t fail_at = 0;        ///< The operation (from 1) that fails; 0 for none.
  int failure = EIO;
  std::size_t transfer_max = SIZE_MAX;  ///< What one read or write moves at most.

  [[nodiscard]] std::size_t count(core::OpCode code) const {
    return static_cast<std::size_t>(std::ranges::count(log, code));
  }
  [[nodiscard]] std::size_t open_handles() const { return handles_.size(); }

  void submit(core::Operation& operation) override {
    log.push_back(operation.code);
    const bool fails = log.size() == fail_at;
    // A close that fails has closed all the same.
    if (!fails || operation.code == core::OpCode::close_handle)
      operation.result = execute(operation);
    if (fails) operation.result = -failure;
    ready_.push(operation);
  }
  void cancel(core::Operation&) override {}
  void poll(core::CompletionList& finished, core::TimePoint until) override {
    while (core::Operation* operation = ready_.pop()) finished.push(*operation);
    if (finished.empty() && until > now_ && until != core::TimePoint::max()) now_ = until;
  }
  void wake(core::Ring&) override {}
  void notify() override {}
  [[nodiscard]] core::TimePoint now() const override { return now_; }
  [[nodiscard]] core::WallTime wall_now() const override { return {}; }
  [[nodiscard]] core::Result<core::Address> local_address(core::Handle) const override {
    return core::fail(core::Errc::unsupported);
  }
  [[nodiscard]] core::Result<core::Address> peer_address(core::Handle) const override {
    return core::fail(core::Errc::unsupported);
  }
  bool register_buffers(std::span<const iovec>) override { return false; }
  void detach(core::Handle) override {}
  void attach(core::Handle) override {}
  [[nodiscard]] std::string_view name() const override { return "memory"; }

 private:
  std::int64_t execute(const core::Operation& operation) {
    using core::OpCode;
    if (operation.code == OpCode::open_file) return open(operation);
    if (operation.code == OpCode::stat_path) return stat(operation);
    if (operation.code == OpCode::rename_file) return rename(operation);
    if (operation.code == OpCode::unlink_file) {
      return files.erase(operation.path) == 1 ? 0 : -ENOENT;
    }
    if (operation.code == OpCode::list_directory) return list(operation);
    if (operation.code == OpCode::free_space) return std::int64_t{1} << 40;
    if (!handles_.contains(operation.handle)) return -EBADF;
    if (operation.code == OpCode::close_handle) {
      handles_.erase(operation.handle);
      return 0;
    }
    if (operation.code == OpCode::advise_random) return 0;
    if (operation.code == OpCode::sync_all || operation.code == OpCode::sync_data) return 0;
    if (operation.code == OpCode::read) return read(operation);
    if (operation.code == OpCode::write) return write(operation);
    if (operation.code == OpCode::punch_hole) {
      std::vector<std::byte>& file = files[handles_[operation.handle]];
      for (std::uint64_t i = 0; i < operation.length && operation.offset + i < file.size(); ++i)
        file[operation.offset + i] = std::byte{0};
      return 0;
    }
    if (operation.code == OpCode::allocate) {
      files[handles_[operation.handle]].resize(operation.offset);
      return 0;
    }
    return -ENOSYS;
  }

  std::int64_t open(const core::Operation& operation) {
    if ((operation.flags & core::open_flags::directory) == 0) {
      if (!files.contains(operation.path)) {
        if ((operation.flags & core::open_flags::create) == 0) return -ENOENT;
        files[operation.path];
      } else if ((operation.flags & core::open_flags::truncate) != 0) {
        files[operation.path].clear();
      }
    }
    handles_[next_handle_] = operation.path;
    return next_handle_++;
  }
  std::int64_t stat(const core::Operation& operation) {
    const auto file = files.find(operation.path);
    if (file == files.end()) return -ENOENT;
    *operation.stat = {.size_bytes = file->second.size(), .is_directory = false};
    return 0;
  }
  std::int64_t list(const core::Operation& operation) {
    const std::string prefix = std::string(operation.path) + "/";
    for (const auto& [path, contents] : files) {
      if (path.starts_with(prefix)) operation.names->push_back(path.substr(prefix.size()));
    }
    return 0;
  }
  std::int64_t rename(const core::Operation& operation) {
    auto file = files.extract(operation.path);
    if (file.empty()) return -ENOENT;
    files[operation.path2] = std::move(file.mapped());
    for (auto& [handle, path] : handles_) {
      if (path == operation.path) path = operation.path2;
    }
    return 0;
  }
  std::int64_t read(const core::Operation& operation) {
    const std::vector<std::byte>& file = files[handles_[operation.handle]];
    if (operation.offset >= file.size()) return 0;
    const iovec& to = operation.vectors[0];
    const std::size_t length = std::min({to.iov_len, file.size() - operation.offset, transfer_max});
    if (length > 0) std::memcpy(to.iov_base, file.data() + operation.offset, length);
    return static_cast<std::int64_t>(length);
  }
  std::int64_t write(const core::Operation& operation) {
    std::vector<std::byte>& file = files[handles_[operation.handle]];
    const iovec& from = operation.vectors[0];
    const std::size_t length = std::min(from.iov_len, transfer_max);
    if (file.size() < operation.offset + length) file.resize(operation.offset + length);
    if (length > 0) std::memcpy(file.data() + operation.offset, from.iov_base, length);
    return static_cast<std::int64_t>(length);
  }

  core::TimePoint now_{std::chrono::hours(1)};
  core::CompletionList ready_;
  std::map<core::Handle, std::string> handles_;
  core::Handle next_handle_ = 3;
};

}  // namespace sentinel::test
