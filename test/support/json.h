#pragma once
/// A small JSON reader for golden values. Numbers keep their text, so that 64-bit integers stay
/// exact.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sentinel::test {

struct Json {
  enum class Kind { null, boolean, number, string, array, object };

  Kind kind = Kind::null;
  /// A number or string, or "true" or "false".
  std::string text;
  std::vector<Json> elements;
  std::map<std::string, Json> members;

  friend bool operator==(const Json&, const Json&) = default;

  /// The member's text, or nothing when there is no such member.
  [[nodiscard]] std::string_view member(const std::string& name) const {
    const auto found = members.find(name);
    return found == members.end() ? std::string_view{} : std::string_view(found->second.text);
  }
};

/// Nothing when `text` is not one JSON value.
std::optional<Json> parse_json(std::string_view text);

}  // namespace sentinel::test
