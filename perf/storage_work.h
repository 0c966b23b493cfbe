#pragma once
/// The work that storage engines are compared on, and what one of them is asked to do.

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sentinel::perf {

inline constexpr std::size_t kKeyBytes = 16;
inline constexpr std::size_t kValueBytes = 100;
/// Of all engines alike. Overwriting has a smaller memtable, so that flushes and compactions run
/// all the time.
inline constexpr std::size_t kMemtableBytes = std::size_t{64} << 20;
inline constexpr std::size_t kSmallMemtableBytes = std::size_t{8} << 20;
/// Holds everything that is replayed.
inline constexpr std::size_t kReplayMemtableBytes = std::size_t{1} << 30;
/// Holds all data: reads are warm.
inline constexpr std::size_t kCacheBytes = std::size_t{512} << 20;

enum class Order : std::uint8_t { sequential, random };

/// Keys and values, the same for all engines and rounds.
class Work {
 public:
  Work(std::size_t entries, std::size_t synced_writes);

  [[nodiscard]] std::size_t entries() const { return entries_; }
  /// Synced writes by one writer; sixteen writers make four times as many.
  [[nodiscard]] std::size_t synced_writes(std::size_t writers) const {
    return writers == 1 ? synced_writes_ : 4 * synced_writes_;
  }
  /// Every key comes once in each order.
  [[nodiscard]] std::string_view key(Order order, std::size_t index) const {
    return std::string_view(keys_[order == Order::sequential ? 0 : 1])
        .substr(index * kKeyBytes, kKeyBytes);
  }
  [[nodiscard]] std::string_view values() const { return values_; }
  /// Where in values() the value of the n-th write begins.
  [[nodiscard]] std::size_t value_offset(std::size_t index) const {
    return index * kKeyBytes % (values_.size() - kValueBytes);
  }
  [[nodiscard]] std::string_view value(std::size_t index) const {
    return values().substr(value_offset(index), kValueBytes);
  }

 private:
  const std::size_t entries_;
  const std::size_t synced_writes_;
  std::string keys_[2];
  std::string values_;
};

/// What is measured in one go, on one new directory.
enum class Chapter : std::uint8_t { sequential, random, synced_1, synced_16, replay };

/// Operations a second by name of the work; for "overwrite p99.9" and its like microseconds.
using Figures = std::map<std::string, double>;

class Engine {
 public:
  virtual ~Engine() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// `directory` exists and is empty. An error ends the program.
  virtual Figures run(Chapter chapter, const std::string& directory) = 0;
};

/// Notes operations a second, and how long each took.
void note_latencies(std::vector<std::uint32_t> nanoseconds, double seconds, Figures& figures);
/// Takes what is in a directory out of the page cache, as a power cut does.
void forget_cached(const std::string& directory);
/// Says what failed and ends the program.
[[noreturn]] void stop(std::string_view engine, std::string_view what);

}  // namespace sentinel::perf
