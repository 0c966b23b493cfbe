#include "apps/cli/terminal.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>

#include "core/call.h"

namespace sentinel::apps {

namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::size_t kPrintBytes = std::size_t{256} << 10;
// A writer that pauses for longer wants its records sent.
constexpr int kPauseMs = 10;
constexpr core::Duration kFirstProgress = std::chrono::seconds(1);
constexpr core::Duration kProgressEvery = std::chrono::milliseconds(200);

volatile std::sig_atomic_t interrupt_seen = 0;

bool more_comes_soon(int descriptor) {
  pollfd watched{.fd = descriptor, .events = POLLIN, .revents = 0};
  return poll(&watched, 1, kPauseMs) > 0;
}

}  // namespace

core::Task<core::Result<core::Bytes>> read_block(int descriptor, std::string name) {
  const core::Buffer buffer = core::Buffer::allocate(kBlockBytes);
  std::size_t size = 0;
  while (size < kBlockBytes) {
    const ssize_t got = read(descriptor, buffer.data() + size, kBlockBytes - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      co_return std::unexpected(core::error_from_errno(errno, fmt::format("cannot read {}", name)));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
    if (size < kBlockBytes && !more_comes_soon(descriptor)) break;
  }
  co_return buffer.slice(0, size);
}

core::Task<core::Status> write_block(core::Bytes text) {
  core::ByteSpan rest = text.view();
  while (!rest.empty()) {
    const ssize_t put = write(STDOUT_FILENO, rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0)
      co_return std::unexpected(core::error_from_errno(errno, "cannot write to standard output"));
    rest = rest.subspan(static_cast<std::size_t>(put));
  }
  co_return core::Status();
}

bool Printer::full() const { return buffer_.size() >= kPrintBytes; }

core::Task<core::Status> Printer::flush() {
  if (buffer_.empty()) co_return core::Status();
  core::Bytes text = core::Bytes::copy(buffer_);
  buffer_.clear();
  co_return co_await core::call(here_, blocking_, &write_block, std::move(text));
}

Progress::Progress(core::Shard& shard, bool shown)
    : shard_(shard),
      shown_(shown && isatty(STDERR_FILENO) == 1),
      next_(shard.now() + kFirstProgress) {}

void Progress::update(std::string_view verb, std::int64_t records, std::uint64_t bytes) {
  if (!shown_ || shard_.now() < next_) return;
  update(
      fmt::format("{} {} record(s), {:.1f} MB", verb, records, static_cast<double>(bytes) / 1e6));
}

void Progress::update(std::string_view line) {
  if (!shown_ || shard_.now() < next_) return;
  next_ = shard_.now() + kProgressEvery;
  drawn_ = true;
  fmt::print(stderr, "\r{}\x1b[K", line);
  std::fflush(stderr);
}

void Progress::clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  drawn_ = false;
}

void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = [](int) { interrupt_seen = 1; };
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

}  // namespace sentinel::apps
