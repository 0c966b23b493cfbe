/// sentinel-probe: what the machine itself can do, measured beside the broker so that ratios can be
/// formed.
///
/// Prints one JSON object: the latency of a durable 4 KiB overwrite (O_DIRECT | O_DSYNC, one at a
/// time, into a file written before), the same at 500 writes a second and counted from the moment
/// each was due, so that a disk that stalls is charged for everything it holds up, the rate of
/// durable sequential writing in 1 MiB pieces, and a 1 KiB round trip over the loopback between two
/// threads.
///
/// With --read it measures instead how fast the device reads existing files from end to end:
/// O_DIRECT, 1 MiB at a time, several in flight.

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::size_t kFileBytes = std::size_t{64} << 20;
constexpr std::size_t kMessage = 1024;
constexpr std::chrono::milliseconds kPace(2);
constexpr int kReadsInFlight = 8;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct Freed {
  void operator()(void* memory) const { std::free(memory); }
};
std::unique_ptr<std::byte, Freed> aligned(std::size_t bytes) {
  void* memory = std::aligned_alloc(kBlock, bytes);
  if (memory == nullptr) die("aligned_alloc");
  std::memset(memory, 0x5a, bytes);
  return std::unique_ptr<std::byte, Freed>(static_cast<std::byte*>(memory));
}

double microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

double quantile(std::vector<double>& sorted, double q) {
  std::ranges::sort(sorted);
  return sorted[std::min(sorted.size() - 1,
                         static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
}

struct Disk {
  double write_p50_us = 0;
  double write_p99_us = 0;
  double paced_p99_us = 0;
  double paced_max_us = 0;
  double sequential_mb_per_s = 0;
  bool direct = true;
};

int open_durable(const std::string& path, bool& direct) {
  constexpr int kFlags = O_RDWR | O_CREAT | O_DSYNC | O_CLOEXEC;
  int file = open(path.c_str(), kFlags | O_DIRECT, 0600);
  direct = file >= 0;
  // Some file systems in memory refuse O_DIRECT.
  if (file < 0) file = open(path.c_str(), kFlags, 0600);
  if (file < 0) die(path.c_str());
  return file;
}

/// One block after the other; each as soon as the last is done, or when it is due.
std::vector<double> measure_overwrites(int file, const std::byte* block, int writes, bool paced) {
  std::vector<double> latencies;
  const auto begin = Clock::now();
  for (int i = 0; i < writes; ++i) {
    const std::size_t at = (static_cast<std::size_t>(i) * kBlock) % kFileBytes;
    auto due = Clock::now();
    if (paced) {
      due = begin + i * kPace;
      std::this_thread::sleep_until(due);
    }
    if (pwrite(file, block, kBlock, static_cast<off_t>(at)) != static_cast<ssize_t>(kBlock))
      die("pwrite");
    latencies.push_back(microseconds(Clock::now() - due));
  }
  return latencies;
}

/// `dd oflag=direct,dsync bs=1M` into a new file, which then serves for the overwrites.
Disk measure_disk(const std::string& path, int writes) {
  Disk disk;
  const int file = open_durable(path, disk.direct);
  const auto piece = aligned(kPiece);
  const auto begin = Clock::now();
  for (std::size_t at = 0; at < kFileBytes; at += kPiece) {
    if (pwrite(file, piece.get(), kPiece, static_cast<off_t>(at)) != static_cast<ssize_t>(kPiece))
      die("pwrite");
  }
  disk.sequential_mb_per_s = static_cast<double>(kFileBytes) / microseconds(Clock::now() - begin);
  std::vector<double> latencies = measure_overwrites(file, piece.get(), writes, false);
  disk.write_p50_us = quantile(latencies, 0.5);
  disk.write_p99_us = quantile(latencies, 0.99);
  std::vector<double> paced = measure_overwrites(file, piece.get(), writes, true);
  disk.paced_p99_us = quantile(paced, 0.99);
  disk.paced_max_us = paced.back();
  close(file);
  unlink(path.c_str());
  return disk;
}

void transfer(int socket, char* bytes, bool out) {
  for (std::size_t done = 0; done < kMessage;) {
    const ssize_t part = out ? send(socket, bytes + done, kMessage - done, 0)
                             : recv(socket, bytes + done, kMessage - done, 0);
    if (part <= 0) die("loopback");
    done += static_cast<std::size_t>(part);
  }
}

void no_delay(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

std::vector<double> measure_loopback(int rounds) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, generic, length) != 0 || listen(listener, 1) != 0) die("listen");
  if (getsockname(listener, generic, &length) != 0) die("getsockname");
  std::thread echo([listener, rounds] {
    const int peer = accept(listener, nullptr, nullptr);
    if (peer < 0) die("accept");
    no_delay(peer);
    char bytes[kMessage];
    for (int i = 0; i < rounds; ++i) {
      transfer(peer, bytes, false);
      transfer(peer, bytes, true);
    }
    close(peer);
  });
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(client, generic, length) != 0) die("connect");
  no_delay(client);
  char bytes[kMessage] = {};
  std::vector<double> latencies;
  for (int i = 0; i < rounds; ++i) {
    const auto before = Clock::now();
    transfer(client, bytes, true);
    transfer(client, bytes, false);
    latencies.push_back(microseconds(Clock::now() - before));
  }
  echo.join();
  close(client);
  close(listener);
  return latencies;
}

/// The pieces of all files, one behind the other, up to a limit.
struct Piece {
  int file;
  off_t offset;
};

std::vector<Piece> pieces_of(std::span<char*> paths, std::size_t count_max) {
  std::vector<Piece> pieces;
  for (const char* path : paths) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (file < 0) file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) die(path);
    const off_t size = lseek(file, 0, SEEK_END);
    for (off_t at = 0; at < size && pieces.size() < count_max; at += kPiece)
      pieces.push_back({file, at});
    if (pieces.size() >= count_max) break;
  }
  return pieces;
}

void measure_reading(std::span<char*> paths, std::size_t mib_max) {
  const std::vector<Piece> pieces = pieces_of(paths, mib_max);
  std::atomic<std::size_t> next = 0;
  std::atomic<std::uint64_t> bytes = 0;
  std::vector<std::thread> readers;
  const auto begin = Clock::now();
  for (int i = 0; i < kReadsInFlight; ++i) {
    readers.emplace_back([&] {
      const auto room = aligned(kPiece);
      for (std::size_t at = next++; at < pieces.size(); at = next++) {
        const ssize_t length = pread(pieces[at].file, room.get(), kPiece, pieces[at].offset);
        if (length < 0) die("pread");
        bytes += static_cast<std::uint64_t>(length);
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  const double seconds = microseconds(Clock::now() - begin) / 1e6;
  fmt::print("{{\"bytes\":{},\"seconds\":{:.3f},\"read_mb_per_s\":{:.1f}}}\n", bytes.load(),
             seconds, static_cast<double>(bytes.load()) / 1e6 / seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  if (argc >= 4 && arguments[1] == std::string_view("--read")) {
    measure_reading(arguments.subspan(3),
                    static_cast<std::size_t>(std::max(1, std::atoi(arguments[2]))));
    return 0;
  }
  if (argc < 2 || argc > 3 || argv[1][0] == '-') {
    fmt::print(stderr,
               "usage: sentinel-probe DIRECTORY [WRITES]\n       sentinel-probe --read MIB "
               "FILE...\nMeasures the disk under DIRECTORY and the loopback, or how fast files "
               "are read, up to MIB; prints JSON.\n");
    return 2;
  }
  const int writes = argc == 3 ? std::max(1, std::atoi(argv[2])) : 2000;
  const Disk disk = measure_disk(fmt::format("{}/probe.{}", argv[1], getpid()), writes);
  std::vector<double> round_trips = measure_loopback(writes * 5);
  fmt::print(
      "{{\"device_write_p50_us\":{:.1f},\"device_write_p99_us\":{:.1f},"
      "\"device_paced_p99_us\":{:.1f},\"device_paced_max_us\":{:.1f},"
      "\"direct\":{},\"sequential_mb_per_s\":{:.1f},"
      "\"loopback_p50_us\":{:.1f},\"loopback_p99_us\":{:.1f}}}\n",
      disk.write_p50_us, disk.write_p99_us, disk.paced_p99_us, disk.paced_max_us, disk.direct,
      disk.sequential_mb_per_s, quantile(round_trips, 0.5), quantile(round_trips, 0.99));
  return 0;
}
