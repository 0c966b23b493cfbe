#include "lsm/format.h"

#include <fmt/format.h>

#include <charconv>

namespace sentinel::lsm {

namespace {

struct Pattern {
  FileKind kind;
  std::string_view prefix;
  std::string_view suffix;
};
constexpr Pattern kPatterns[] = {
    {FileKind::wal, "wal-", ".log"},
    {FileKind::table, "table-", ".sst"},
    {FileKind::manifest, "manifest-", ".log"},
    {FileKind::temporary, "tmp-", ""},
};

std::string file_name(FileKind kind, FileNumber number) {
  for (const Pattern& pattern : kPatterns) {
    if (pattern.kind == kind)
      return fmt::format("{}{:08}{}", pattern.prefix, number.value(), pattern.suffix);
  }
  SENTINEL_ASSERT(false, "no name for this kind of file");
  return {};
}

}  // namespace

std::string wal_file_name(FileNumber number) { return file_name(FileKind::wal, number); }
std::string table_file_name(FileNumber number) { return file_name(FileKind::table, number); }
std::string manifest_file_name(FileNumber number) { return file_name(FileKind::manifest, number); }
std::string temporary_file_name(FileNumber number) {
  return file_name(FileKind::temporary, number);
}

ParsedFileName parse_file_name(std::string_view name) {
  for (const Pattern& pattern : kPatterns) {
    if (!name.starts_with(pattern.prefix) || !name.ends_with(pattern.suffix)) continue;
    if (name.size() <= pattern.prefix.size() + pattern.suffix.size()) continue;
    const std::string_view digits = name.substr(
        pattern.prefix.size(), name.size() - pattern.prefix.size() - pattern.suffix.size());
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    // Names are canonical: "wal-1.log" is not ours.
    if (error == std::errc() && end == digits.data() + digits.size() &&
        name == file_name(pattern.kind, FileNumber(number))) {
      return {pattern.kind, FileNumber(number)};
    }
  }
  return {};
}

}  // namespace sentinel::lsm
