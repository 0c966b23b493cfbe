/// Every structure of a store times every kind of decay: flipped, zeroed, cut, stale, missing. What
/// was damaged is named, or nothing is missing; a start never goes on with less in silence.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/codec.h"
#include "core/random.h"
#include "lsm/block.h"
#include "lsm/block_log.h"
#include "lsm/sstable_format.h"
#include "test/support/store_damage.h"

namespace sentinel {

using test::Contents;
using test::DiskImage;
using test::Recovered;
using test::Script;

namespace {

enum class Fault : std::uint8_t { flip, zero, cut, stale, missing };
constexpr Fault kFaults[] = {Fault::flip, Fault::zero, Fault::cut, Fault::stale, Fault::missing};
constexpr const char* kFaultNames[] = {"flip", "zero", "cut", "stale", "missing"};

/// A stretch of a file that is one structure.
struct Part {
  std::string structure;
  std::string path;
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct Tally {
  int tried = 0;
  int named = 0;
  int found = 0;  ///< By the offline check.
  int torn = 0;   ///< The end of a log, which can't be told from a tear.
};

using Tallies = std::map<std::string, Tally>;  // By structure and fault.

class Matrix {
 public:
  /// `older` is the disk of the same store some batches before: where stale copies come from.
  Matrix(const Script& script, const DiskImage& disk, const DiskImage& older, Tallies& tallies)
      : disk_(disk), older_(older), tallies_(tallies) {
    for (int count = 0; count <= script.batches; ++count)
      prefixes_.push_back(test::contents_after(script, count));
  }

  void run() {
    for (const std::string& path : test::files_of(disk_)) {
      add_whole(path);
      if (path.find("/table-") != std::string::npos) {
        add_table(path);
      } else {
        add_log(path, path.find("/wal-") != std::string::npos ? "log block" : "manifest block");
      }
    }
    for (const Part& part : parts_) {
      for (const Fault fault : kFaults) apply(part, fault);
    }
  }

 private:
  [[nodiscard]] std::string content(const std::string& path) const { return *disk_.get(path); }

  void add_whole(const std::string& path) {
    const char* structure = path.find("/table-") != std::string::npos ? "table file"
                            : path.find("/wal-") != std::string::npos ? "log file"
                                                                      : "manifest file";
    parts_.push_back({structure, path, 0, content(path).size()});
  }

  void add_log(const std::string& path, const char* structure) {
    const std::string file = content(path);
    for (std::size_t at = 0; at + lsm::kLogBlockBytes <= file.size(); at += lsm::kLogBlockBytes) {
      const std::string_view block = std::string_view(file).substr(at, lsm::kLogBlockBytes);
      if (block.find_first_not_of('\0') == std::string_view::npos) continue;
      parts_.push_back({structure, path, at, at + lsm::kLogBlockBytes});
    }
  }

  void add_table(const std::string& path) {
    const std::string file = content(path);
    const std::size_t footer = file.size() - lsm::kTableFooterBytes;
    core::ByteReader reader(core::as_bytes(file).subspan(footer + 8 + 4 + 8 + 8));
    core::FieldReader fields(reader);
    lsm::TableHandle properties;
    fields(properties);
    core::ByteReader content_reader(
        core::as_bytes(file).subspan(properties.offset, properties.length));
    core::FieldReader content_fields(content_reader);
    lsm::NewTable table;
    content_fields(table);
    REQUIRE(!content_reader.failed());
    add_part("table footer", path, {.offset = footer, .length = lsm::kTableFooterBytes - 4});
    add_part("table properties", path, properties);
    for (const lsm::RunInfo& run : table.runs) {
      add_part("table index", path, run.index);
      if (run.filter.length > 0) add_part("table filter", path, run.filter);
      lsm::BlockCursor index(
          core::Bytes::copy(core::as_bytes(file).subspan(run.index.offset, run.index.length)));
      for (index.seek_to_first(); index.valid(); index.next())
        add_part("table block", path, *core::decode_fields<lsm::TableHandle>(index.value()));
    }
  }
  void add_part(const char* structure, const std::string& path, lsm::TableHandle handle) {
    const std::size_t begin = handle.offset;
    parts_.push_back({structure, path, begin, begin + handle.length + lsm::kTableCrcBytes});
  }

  /// What stands there in an older copy of the file, or in another file of its kind.
  [[nodiscard]] std::optional<std::string> stale_content(const Part& part) const {
    const std::string now = content(part.path);
    const auto differs = [&](const std::optional<std::string>& other) {
      return other.has_value() && other->size() >= part.end &&
             other->substr(part.begin, part.end - part.begin) !=
                 now.substr(part.begin, part.end - part.begin);
    };
    std::optional<std::string> other = older_.get(part.path);
    if (!differs(other)) {
      const std::string kind = part.path.substr(0, part.path.rfind('-'));
      for (const std::string& path : test::files_of(disk_)) {
        if (path != part.path && path.starts_with(kind)) other = disk_.get(path);
        if (differs(other)) break;
      }
    }
    if (!differs(other)) return std::nullopt;
    std::string changed = now;
    changed.replace(part.begin, part.end - part.begin,
                    other->substr(part.begin, part.end - part.begin));
    return changed;
  }

  void apply(const Part& part, Fault fault) {
    DiskImage damaged = disk_;
    std::string file = content(part.path);
    const bool whole = part.begin == 0 && part.end == file.size();
    switch (fault) {
      case Fault::flip:
        damaged.flip(part.path, random_.between(part.begin, part.end - 1),
                     static_cast<std::uint8_t>(1u << random_.below(8)));
        break;
      case Fault::zero:
        std::fill(file.begin() + static_cast<std::ptrdiff_t>(part.begin),
                  file.begin() + static_cast<std::ptrdiff_t>(part.end), '\0');
        damaged.put(part.path, file);
        break;
      case Fault::cut:
        damaged.put(part.path, file.substr(0, random_.between(part.begin, part.end - 1)));
        break;
      case Fault::stale: {
        const auto stale = stale_content(part);
        if (!stale.has_value()) return;
        damaged.put(part.path, *stale);
        break;
      }
      case Fault::missing:
        if (!whole) return;
        damaged = without(part.path);
        break;
    }
    judge(part, fault, damaged);
  }

  [[nodiscard]] DiskImage without(const std::string& path) const {
    DiskImage rest = test::empty_disk();
    for (const std::string& each : test::files_of(disk_)) {
      if (each != path) rest.put(each, *disk_.get(each));
    }
    return rest;
  }

  void judge(const Part& part, Fault fault, const DiskImage& damaged) {
    INFO(part.structure << ' ' << part.path << " at " << part.begin << ' '
                        << kFaultNames[static_cast<std::size_t>(fault)]);
    Tally& tally = tallies_[part.structure + " " + kFaultNames[static_cast<std::size_t>(fault)]];
    ++tally.tried;
    const Recovered recovered = test::recover(damaged, false);
    DiskImage after;
    tally.found += test::find_problems(damaged, after).empty() ? 0 : 1;
    if (recovered.error.has_value()) {
      ++tally.named;
      CHECK_MESSAGE(recovered.error->find("/store") != std::string::npos, *recovered.error);
      return;
    }
    if (recovered.contents == prefixes_.back()) return;
    // The end of the log that is written to can look like a write that never got there.
    const bool of_log = part.structure.starts_with("log");
    const bool may_look_torn = fault == Fault::zero || fault == Fault::stale;
    const bool prefix = std::ranges::find(prefixes_, recovered.contents) != prefixes_.end();
    CHECK_MESSAGE((of_log && may_look_torn && prefix), "lost in silence");
    ++tally.torn;
  }

  const DiskImage disk_;
  const DiskImage older_;
  std::vector<Contents> prefixes_;
  std::vector<Part> parts_;
  Tallies& tallies_;
  core::Random random_{11};
};

}  // namespace

TEST_CASE("each structure of a store, damaged in each way: named, or nothing is missing") {
  Tallies tallies;
  for (const Script& script :
       {Script{.variant = 1, .batches = 40}, Script{.variant = 2, .batches = 34},
        Script{.variant = 3, .batches = 52}}) {
    CAPTURE(script.variant);
    Script before = script;
    before.batches -= 12;
    Matrix matrix(script, test::written(script), test::written(before), tallies);
    matrix.run();
  }
  int tried = 0;
  std::string report;
  for (const auto& [place, tally] : tallies) {
    tried += tally.tried;
    report += fmt::format("\n  {:24} tried {:4}  named {:4}  found by verify {:4}  torn {:3}",
                          place, tally.tried, tally.named, tally.found, tally.torn);
  }
  MESSAGE("damage cases: " << tried << report);
  CHECK(tried > 2000);
}

}  // namespace sentinel
