#include "test/support/store_damage.h"

namespace sentinel::test {

DiskImage written(const Script& script) {
  SimWorld world(static_cast<std::uint64_t>(script.variant));
  int acked = 0;
  const NodeId node =
      world.add_node({.program =
                          [&](const NodeContext& context) {
                            return std::make_unique<Writer>(context, script, &acked);
                          },
                      .image = test::empty_disk()});
  world.start(node);
  world.run_until([&] { return static_cast<Writer&>(*world.program(node)).done(); },
                  std::chrono::seconds(600));
  SENTINEL_ASSERT(acked == script.batches);
  SENTINEL_ASSERT(world.stop(node));
  return world.disk(node).image();
}

std::vector<std::string> files_of(const DiskImage& disk) {
  std::vector<std::string> paths;
  for (const std::string& entry : disk.listing()) {
    const std::string path = entry.substr(0, entry.find('='));
    if (!path.ends_with('/')) paths.push_back(path);
  }
  return paths;
}

}  // namespace sentinel::test
