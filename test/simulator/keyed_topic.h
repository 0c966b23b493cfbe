#pragma once
/// A topic that keeps the latest record of each key, written to by one producer, and what must be
/// true of it in the end:
///
///   - a record that was acknowledged stands where the answer said, or a later one of its key does;
///   - no other record stands there;
///   - a key is gone only if its last record said so.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/task.h"
#include "net/kafka/client.h"
#include "net/kafka/producer.h"

namespace sentinel::simulator {

class KeyedTopic {
 public:
  explicit KeyedTopic(std::uint64_t seed) : random_(seed) {}

  core::Task<void> make(net::kafka::Client* client);
  /// Writes until told to stop.
  core::Task<void> write(net::kafka::Client* client, const bool* stopping);
  /// Reads everything. False when that can't be done, or what is there is wrong; violation().
  core::Task<bool> check(net::kafka::Client* client);
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::uint64_t records() const { return written_.size(); }

 private:
  /// A record; its number, which its value begins with, is where it stands in the list.
  struct Written {
    std::uint64_t key = 0;
    std::int32_t partition = 0;
    bool deletes = false;
    std::int64_t offset = -1;  ///< -1: not acknowledged; it may come at any time, or never.
  };

  core::Task<bool> send_one(net::kafka::Producer* producer);
  core::Task<bool> read(net::kafka::Client* client, std::int32_t partition);
  bool note(std::int32_t partition, std::int64_t offset, std::uint64_t number);
  bool check_keys();
  bool fail(std::string what);

  core::Random random_;
  std::vector<Written> written_;
  std::map<std::uint64_t, std::uint64_t> last_seen_;  // By key.
  std::string violation_;
};

}  // namespace sentinel::simulator
