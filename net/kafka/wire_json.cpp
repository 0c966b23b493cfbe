#include "net/kafka/wire_json.h"

#include <fmt/format.h>

#include <iterator>
#include <span>

namespace sentinel::net::kafka {

void JsonPrinter::put_comma() {
  if (text_.back() != '{' && text_.back() != '[') text_ += ',';
}

void JsonPrinter::put_name(std::string_view name) {
  put_comma();
  put_leaf(name);
  text_ += ':';
}

void JsonPrinter::put_leaf(std::int64_t value) {
  fmt::format_to(std::back_inserter(text_), "{}", value);
}

void JsonPrinter::put_leaf(double value) { fmt::format_to(std::back_inserter(text_), "{}", value); }

void JsonPrinter::put_leaf(std::string_view value) {
  text_ += '"';
  for (const char character : value) {
    const auto code = static_cast<unsigned char>(character);
    if (character == '"' || character == '\\') {
      text_ += '\\';
      text_ += character;
    } else if (code < 0x20 || code == 0x7f) {
      fmt::format_to(std::back_inserter(text_), "\\u{:04x}", code);
    } else {
      text_ += character;
    }
  }
  text_ += '"';
}

void JsonPrinter::put_leaf(const core::Uuid& value) {
  if (style_ == JsonStyle::log) return put_leaf(value.to_string());
  text_ += '"';
  put_hex(std::as_bytes(std::span(value.bytes)));
  text_ += '"';
}

void JsonPrinter::put_leaf(const core::Bytes& value) { put_leaf(core::Chain(value)); }

void JsonPrinter::put_leaf(const core::Chain& value) {
  text_ += '"';
  if (style_ == JsonStyle::log) {
    fmt::format_to(std::back_inserter(text_), "<{} bytes>", value.size());
  } else {
    for (const core::Bytes& part : value.parts()) put_hex(part);
  }
  text_ += '"';
}

void JsonPrinter::put_hex(core::ByteSpan bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const std::byte byte : bytes) {
    text_ += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    text_ += kDigits[std::to_integer<std::size_t>(byte & std::byte{0x0f})];
  }
}

}  // namespace sentinel::net::kafka
