/// The dump command: what stands in files of a store.

#include <cstdio>
#include <string>

#include "apps/cli/session.h"
#include "consensus/entry_key.h"
#include "lsm/file_dump.h"

namespace sentinel::apps {

core::Task<core::ExitCode> dump(core::Shard& shard, const DumpOptions* options) {
  for (const std::string& path : options->files) {
    lsm::FileDumpOptions dump;
    dump.path = path;
    dump.describe_key = &consensus::describe_key;
    dump.print = [](std::string_view line) {
      std::fwrite(line.data(), 1, line.size(), stdout);
      std::fputc('\n', stdout);
    };
    const core::Status done = co_await lsm::dump_file(shard, std::move(dump));
    std::fflush(stdout);
    if (!done) co_return report(done.error());
  }
  co_return core::ExitCode::ok;
}

}  // namespace sentinel::apps
