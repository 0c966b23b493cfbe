#pragma once
/// How records and strings are printed.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "consensus/record_batch.h"
#include "core/bytes.h"

namespace sentinel::apps {

struct PrintedRecord {
  std::string_view topic;
  std::int32_t partition = 0;
  const consensus::Record& record;
};

/// "offset=0 | key=(null) | value=order:12345-0", and a newline. Control characters are escaped: a
/// record is one line, and can't command the terminal.
void append_text(std::string& out, const PrintedRecord& printed, bool with_partition);
/// One JSON object and a newline. Strings that are no UTF-8 stand as base64, under a name that says
/// so.
void append_json(std::string& out, const PrintedRecord& printed);
/// The value's bytes and a newline; with a separator, key and separator in front. `null_marker`
/// stands for what is null.
void append_value(std::string& out, const PrintedRecord& printed,
                  const std::optional<std::string>& key_separator, std::string_view null_marker);

/// "text" as a JSON string; the text is UTF-8.
void append_json_string(std::string& out, std::string_view text);
/// Checks for well-formed UTF-8 (RFC 3629: shortest form, no surrogates, at most U+10FFFF).
bool is_utf8(core::ByteSpan bytes);
std::string base64(core::ByteSpan bytes);

}  // namespace sentinel::apps
