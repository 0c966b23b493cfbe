#include "apps/cli/record_input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "apps/cli/terminal.h"
#include "core/call.h"

namespace sentinel::apps {

namespace {
// A line beyond this is no record that any broker takes; without a bound an input without newlines
// would fill the memory.
constexpr std::size_t kLineBytesMax = std::size_t{100} << 20;
}  // namespace

RecordInput::RecordInput(core::Shard& here, core::Shard& blocking, const ProduceOptions& options)
    : here_(here),
      blocking_(blocking),
      options_(options),
      from_lines_(!options.message && !options.null_value) {}

RecordInput::~RecordInput() {
  if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
}

core::Status RecordInput::open() {
  if (!options_.file) return {};
  name_ = *options_.file;
  descriptor_ = ::open(name_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ >= 0) return {};
  return std::unexpected(core::error_from_errno(errno, fmt::format("cannot open {}", name_)));
}

core::Task<core::Result<bool>> RecordInput::load() {
  if (!from_lines_) co_return produced_ < options_.count;
  if (ended_) co_return false;
  SENTINEL_CO_TRY(block, co_await core::call(here_, blocking_, &read_block, descriptor_, name_));
  ended_ = block.empty();
  block_ = std::move(block);
  position_ = 0;
  // The last line may lack its newline.
  co_return !ended_ || !partial_.empty();
}

core::Result<std::optional<InputRecord>> RecordInput::next() {
  if (from_lines_) return next_line();
  return next_message();
}

std::optional<InputRecord> RecordInput::next_message() {
  if (produced_ >= options_.count) return std::nullopt;
  InputRecord record;
  if (options_.key) record.key = core::as_bytes(*options_.key);
  if (!options_.null_value) {
    message_ = *options_.message;
    if (options_.count > 1) message_ += fmt::format("-{}", produced_);
    record.value = core::as_bytes(message_);
  }
  ++produced_;
  return record;
}

core::Result<std::optional<InputRecord>> RecordInput::next_line() {
  const core::ByteSpan rest = block_.view().subspan(position_);
  const void* newline = rest.empty() ? nullptr : std::memchr(rest.data(), '\n', rest.size());
  const bool last = ended_ && !partial_.empty();
  if (newline == nullptr && !last) {
    partial_.insert(partial_.end(), rest.begin(), rest.end());
    position_ = block_.size();
    if (partial_.size() <= kLineBytesMax) return std::nullopt;
    return core::fail(
        core::Errc::too_large,
        fmt::format("line {} of {} is longer than {} MiB, which no broker takes as a record",
                    lines_ + 1, name_, kLineBytesMax >> 20));
  }
  core::ByteSpan line = rest;
  if (newline != nullptr) {
    line =
        rest.first(static_cast<std::size_t>(static_cast<const std::byte*>(newline) - rest.data()));
    position_ += line.size() + 1;
  }
  if (!partial_.empty()) {
    partial_.insert(partial_.end(), line.begin(), line.end());
    joined_ = std::exchange(partial_, {});
    line = joined_;
  }
  ++lines_;
  SENTINEL_TRY(record, split(line));
  return record;
}

core::Result<InputRecord> RecordInput::split(core::ByteSpan line) {
  InputRecord record;
  if (options_.key) record.key = core::as_bytes(*options_.key);
  if (options_.key_separator) {
    const std::size_t at = core::as_text(line).find(*options_.key_separator);
    if (at == std::string_view::npos) {
      return core::fail(
          core::Errc::invalid_argument,
          fmt::format("line {} of {} lacks the key separator '{}'; records before it were sent",
                      lines_, name_, *options_.key_separator));
    }
    record.key = line.first(at);
    line = line.subspan(at + options_.key_separator->size());
  }
  const bool null = options_.null_marker && core::as_text(line) == *options_.null_marker;
  if (!null) record.value = line;
  return record;
}

}  // namespace sentinel::apps
