/// The verify command: checks a data directory without a server.

#include <fmt/format.h>

#include <string>

#include "apps/cli/format.h"
#include "apps/cli/session.h"
#include "apps/cli/terminal.h"
#include "consensus/data_check.h"

namespace sentinel::apps {

namespace {

using consensus::DataCheck;
using core::ExitCode;

struct Totals {
  std::uint64_t problems = 0;
  std::uint64_t tables = 0;
  std::uint64_t table_bytes = 0;
  std::uint64_t entries = 0;
  std::uint64_t logs = 0;
  std::uint64_t log_batches = 0;
  std::uint64_t torn_bytes = 0;
  std::uint64_t unnamed = 0;
};

Totals add_up(const DataCheck& check) {
  Totals totals;
  for (const lsm::StoreCheck& store : check.stores) {
    totals.problems += store.problems.size();
    totals.tables += store.tables;
    totals.table_bytes += store.table_bytes;
    totals.entries += store.table_entries;
    totals.logs += store.logs;
    totals.log_batches += store.log_batches;
    totals.torn_bytes += store.torn_bytes;
    totals.unnamed += store.unnamed.size();
  }
  return totals;
}

void print_text(const VerifyOptions& options, const DataCheck& check, const Totals& totals) {
  for (const lsm::StoreCheck& store : check.stores) {
    for (const std::string& problem : store.problems) fmt::print("✗ {}\n", problem);
  }
  if (totals.unnamed > 0) {
    fmt::print("- {} spare or left file(s) that no manifest names; the next start removes them\n",
               totals.unnamed);
  }
  if (totals.torn_bytes > 0) {
    fmt::print("- {} bytes of a last, unacknowledged write; the next start cuts them off\n",
               totals.torn_bytes);
  }
  if (!check.identity.ready)
    fmt::print("- its server has never come to serve; the next start makes the stores\n");
  fmt::print("{} store(s), {} table(s) with {} entries in {} bytes, {} log(s) with {} batches\n",
             check.stores.size(), totals.tables, totals.entries, totals.table_bytes, totals.logs,
             totals.log_batches);
  if (totals.problems == 0) {
    fmt::print("✓ No damage in {}\n", options.data);
  } else {
    fmt::print("✗ {} problem(s) in {}; restore what is named from a copy\n", totals.problems,
               options.data);
  }
}

void append_strings(std::string& json, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    if (!json.ends_with('[')) json += ',';
    append_json_string(json, text);
  }
}

void print_json(const DataCheck& check, const Totals& totals) {
  std::string json = fmt::format(
      "{{\"stores\":{},\"tables\":{},\"table_bytes\":{},\"entries\":{},\"logs\":{},"
      "\"log_batches\":{},\"torn_bytes\":{},\"problems\":[",
      check.stores.size(), totals.tables, totals.table_bytes, totals.entries, totals.logs,
      totals.log_batches, totals.torn_bytes);
  for (const lsm::StoreCheck& store : check.stores) append_strings(json, store.problems);
  json += "],\"unnamed\":[";
  for (const lsm::StoreCheck& store : check.stores) append_strings(json, store.unnamed);
  fmt::print("{}]}}\n", json);
}

}  // namespace

core::Task<ExitCode> verify(core::Shard& shard, const VerifyOptions* options) {
  Progress progress(shard, true);
  std::int64_t entries = 0;
  std::uint64_t bytes = 0;
  auto check = co_await consensus::check_data(
      shard, options->data, [&](std::uint64_t more_entries, std::uint64_t more_bytes) {
        entries += static_cast<std::int64_t>(more_entries);
        bytes += more_bytes;
        progress.update("Checked", entries, bytes);
      });
  progress.clear();
  if (!check) co_return report(check.error());
  const Totals totals = add_up(*check);
  if (options->output == Output::json) {
    print_json(*check, totals);
  } else {
    print_text(*options, *check, totals);
  }
  co_return totals.problems == 0 ? ExitCode::ok : ExitCode::failed;
}

}  // namespace sentinel::apps
