#include "apps/cli/format.h"

#include <fmt/format.h>

#include <iterator>

namespace sentinel::apps {

namespace {

std::uint8_t at(core::ByteSpan bytes, std::size_t i) {
  return std::to_integer<std::uint8_t>(bytes[i]);
}

/// Bytes of the UTF-8 character at `i`, or 0 when there is none.
std::size_t utf8_length(core::ByteSpan bytes, std::size_t i) {
  const std::uint8_t first = at(bytes, i);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const std::size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (bytes.size() - i < length) return 0;
  const std::uint8_t second = at(bytes, i + 1);
  // The second byte keeps out overlong forms, surrogates and what lies behind U+10FFFF.
  const std::uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const std::uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (std::size_t k = 2; k < length; ++k) {
    if ((at(bytes, i + k) & 0xc0) != 0x80) return 0;
  }
  return length;
}

void append_escaped(std::string& out, core::ByteSpan bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const std::uint8_t byte = at(bytes, i);
    std::size_t length = utf8_length(bytes, i);
    // C1 control characters take two bytes.
    const bool control =
        byte < 0x20 || byte == 0x7f || (byte == 0xc2 && length == 2 && at(bytes, i + 1) < 0xa0);
    if (length > 0 && !control) {
      out += core::as_text(bytes.subspan(i, length));
      i += length;
      continue;
    }
    if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\r') {
      out += "\\r";
    } else if (byte == '\t') {
      out += "\\t";
    } else {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
      length = 1;
    }
    ++i;
  }
}

void append_text_or_null(std::string& out, std::optional<core::ByteSpan> bytes) {
  if (bytes) {
    append_escaped(out, *bytes);
  } else {
    out += "(null)";
  }
}

void append_json_bytes(std::string& out, std::string_view name,
                       std::optional<core::ByteSpan> bytes) {
  if (bytes && !is_utf8(*bytes)) {
    fmt::format_to(std::back_inserter(out), "\"{}_base64\":\"{}\"", name, base64(*bytes));
    return;
  }
  fmt::format_to(std::back_inserter(out), "\"{}\":", name);
  if (bytes) {
    append_json_string(out, core::as_text(*bytes));
  } else {
    out += "null";
  }
}

}  // namespace

bool is_utf8(core::ByteSpan bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const std::size_t length = utf8_length(bytes, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string base64(core::ByteSpan bytes) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = (group << 8) | (k < count ? at(bytes, i + k) : 0u);
    for (std::size_t k = 0; k < 4; ++k) {
      text += k <= count ? kAlphabet[(group >> (18 - 6 * k)) & 63] : '=';
    }
  }
  return text;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void append_text(std::string& out, const PrintedRecord& printed, bool with_partition) {
  const consensus::Record& record = printed.record;
  if (with_partition) fmt::format_to(std::back_inserter(out), "partition={} | ", printed.partition);
  fmt::format_to(std::back_inserter(out), "offset={} | key=", record.offset.value());
  append_text_or_null(out, record.key);
  out += " | value=";
  append_text_or_null(out, record.value);
  for (const consensus::RecordHeader& header : record.headers) {
    out += " | header ";
    append_escaped(out, core::as_bytes(header.key));
    out += '=';
    append_text_or_null(out, header.value);
  }
  out += '\n';
}

void append_json(std::string& out, const PrintedRecord& printed) {
  const consensus::Record& record = printed.record;
  out += "{\"topic\":";
  append_json_string(out, printed.topic);
  fmt::format_to(std::back_inserter(out), ",\"partition\":{},\"offset\":{},\"timestamp\":{},",
                 printed.partition, record.offset.value(), record.timestamp_ms);
  append_json_bytes(out, "key", record.key);
  out += ',';
  append_json_bytes(out, "value", record.value);
  out += ",\"headers\":[";
  bool first = true;
  for (const consensus::RecordHeader& header : record.headers) {
    out += first ? "{" : ",{";
    first = false;
    append_json_bytes(out, "key", core::as_bytes(header.key));
    out += ',';
    append_json_bytes(out, "value", header.value);
    out += '}';
  }
  out += "]}\n";
}

void append_value(std::string& out, const PrintedRecord& printed,
                  const std::optional<std::string>& key_separator, std::string_view null_marker) {
  const auto append = [&out, null_marker](std::optional<core::ByteSpan> bytes) {
    out += bytes ? core::as_text(*bytes) : null_marker;
  };
  if (key_separator) {
    append(printed.record.key);
    out += *key_separator;
  }
  append(printed.record.value);
  out += '\n';
}

}  // namespace sentinel::apps
