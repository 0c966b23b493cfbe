#pragma once
/// How a connection between two nodes begins: who each is, and whether they belong together.
///
/// The one that connects says Hello and waits; the other answers Welcome, or Refused with a
/// sentence and ends. A node whose data directory belongs to no cluster yet says so with an empty
/// cluster id.

#include <string>
#include <vector>

#include "consensus/data_directory.h"
#include "core/codec.h"
#include "core/uuid.h"

namespace sentinel::net::rpc {

inline constexpr std::uint32_t kHelloMagic = 0x534e5452;  // "SNTR"
/// Versions of everything that nodes send each other.
inline constexpr std::uint16_t kProtocolMin = 3;
inline constexpr std::uint16_t kProtocolMax = 3;
/// Of Hello::to_shard: only asks who is there.
inline constexpr std::uint32_t kNoShard = UINT32_MAX;

struct Hello {
  std::uint32_t magic = kHelloMagic;
  std::uint16_t version_min = kProtocolMin;
  std::uint16_t version_max = kProtocolMax;
  core::Uuid cluster_id;
  std::int32_t node_id = 0;
  core::Uuid disk_id;
  consensus::Boot boot;
  std::int32_t to_node = 0;  ///< Who is expected at this address.
  std::uint32_t to_shard = kNoShard;
  std::vector<std::int32_t> peers;  ///< Of a node without a cluster: those it was started with.

  static void fields(auto& self, auto& visit) {
    visit(self.magic);
    visit(self.version_min);
    visit(self.version_max);
    visit(self.cluster_id);
    visit(self.node_id);
    visit(self.disk_id);
    visit(self.boot);
    visit(self.to_node);
    visit(self.to_shard);
    visit(self.peers);
  }
};

struct Welcome {
  std::uint16_t version = kProtocolMax;
  core::Uuid cluster_id;
  std::int32_t node_id = 0;
  core::Uuid disk_id;
  consensus::Boot boot;
  /// Where groups live there: group % stores is the store, store % shards the shard.
  std::uint32_t shards = 0;
  std::uint32_t stores = 0;
  std::vector<consensus::Founder> founders;  ///< Empty without a cluster.
  std::vector<std::int32_t> peers;           ///< As in Hello.

  static void fields(auto& self, auto& visit) {
    visit(self.version);
    visit(self.cluster_id);
    visit(self.node_id);
    visit(self.disk_id);
    visit(self.boot);
    visit(self.shards);
    visit(self.stores);
    visit(self.founders);
    visit(self.peers);
  }
};

enum class RefusalCode : std::uint8_t {
  not_ready = 1,  ///< Still starting; to be tried again.
  version = 2,
  wrong_node = 3,
  foreign_cluster = 4,
  duplicate_node = 5,  ///< Another server with this id, and another disk, is connected.
  stale_disk = 6,      ///< A copy of a data directory that has been used since.
  too_many = 7,
};

struct Refused {
  RefusalCode code = RefusalCode::not_ready;
  std::string message;
  static void fields(auto& self, auto& visit) {
    visit(self.code);
    visit(self.message);
  }
};

/// Who this node is, in handshakes.
struct LocalNode {
  core::Uuid cluster_id;
  std::int32_t node_id = 0;
  core::Uuid disk_id;
  consensus::Boot boot;
  std::uint32_t shards = 1;
  std::uint32_t stores = 1;
  std::vector<consensus::Founder> founders;
  std::vector<std::int32_t> peers;

  [[nodiscard]] Hello hello(std::int32_t to_node, std::uint32_t to_shard) const;
  [[nodiscard]] Welcome welcome() const;
};

}  // namespace sentinel::net::rpc
