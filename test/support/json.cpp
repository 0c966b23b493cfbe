#include "test/support/json.h"

#include <cctype>
#include <charconv>

namespace sentinel::test {
namespace {

void append_utf8(std::string& text, unsigned code) {
  const auto put = [&text](unsigned byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  bool value(Json& out) {
    skip_space();
    if (rest_.empty()) return false;
    switch (rest_.front()) {
      case '{': return object(out);
      case '[': return array(out);
      case '"': out.kind = Json::Kind::string; return string(out.text);
      case 't': return word("true", Json::Kind::boolean, out);
      case 'f': return word("false", Json::Kind::boolean, out);
      case 'n': return word("null", Json::Kind::null, out);
      default: return number(out);
    }
  }
  bool at_end() {
    skip_space();
    return rest_.empty();
  }

 private:
  bool object(Json& out) {
    out.kind = Json::Kind::object;
    take('{');
    if (take('}')) return true;
    do {
      std::string name;
      skip_space();
      if (!string(name) || !take(':') || !value(out.members[name])) return false;
    } while (take(','));
    return take('}');
  }
  bool array(Json& out) {
    out.kind = Json::Kind::array;
    take('[');
    if (take(']')) return true;
    do {
      if (!value(out.elements.emplace_back())) return false;
    } while (take(','));
    return take(']');
  }
  bool string(std::string& out) {
    if (!take('"')) return false;
    while (!rest_.empty()) {
      const char character = next();
      if (character == '"') return true;
      if (character != '\\') {
        out += character;
      } else if (!escape(out)) {
        return false;
      }
    }
    return false;
  }
  bool escape(std::string& out) {
    if (rest_.empty()) return false;
    const char kind = next();
    switch (kind) {
      case 'n': out += '\n'; return true;
      case 't': out += '\t'; return true;
      case 'r': out += '\r'; return true;
      case 'b': out += '\b'; return true;
      case 'f': out += '\f'; return true;
      case 'u': break;
      default: out += kind; return true;
    }
    unsigned code = 0;
    if (rest_.size() < 4) return false;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 4, code, 16);
    if (error != std::errc{} || end != rest_.data() + 4) return false;
    rest_.remove_prefix(4);
    append_utf8(out, code);
    return true;
  }
  bool number(Json& out) {
    out.kind = Json::Kind::number;
    const std::size_t length = std::min(rest_.find_first_not_of("+-.0123456789eE"), rest_.size());
    out.text = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return length > 0;
  }
  bool word(std::string_view text, Json::Kind kind, Json& out) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    out.kind = kind;
    if (kind == Json::Kind::boolean) out.text = text;
    return true;
  }

  bool take(char expected) {
    skip_space();
    if (rest_.empty() || rest_.front() != expected) return false;
    rest_.remove_prefix(1);
    return true;
  }
  char next() {
    const char character = rest_.front();
    rest_.remove_prefix(1);
    return character;
  }
  void skip_space() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front())) != 0) {
      rest_.remove_prefix(1);
    }
  }

  std::string_view rest_;
};

}  // namespace

std::optional<Json> parse_json(std::string_view text) {
  Json value;
  Parser parser(text);
  if (!parser.value(value) || !parser.at_end()) return std::nullopt;
  return value;
}

}  // namespace sentinel::test
