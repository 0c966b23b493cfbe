#pragma once
/// What the manifest knows of one SSTable.

#include <cstdint>
#include <string>

#include "lsm/format.h"

namespace sentinel::lsm {

struct TableInfo {
  FileNumber number;
  std::uint8_t level = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t entry_count = 0;
  std::string smallest_key;  ///< Bytes, not text.
  std::string largest_key;
  SequenceNumber smallest_sequence;
  SequenceNumber largest_sequence;

  static void fields(auto& self, auto& visit) {
    visit(self.number);
    visit(self.level);
    visit(self.size_bytes);
    visit(self.entry_count);
    visit(self.smallest_key);
    visit(self.largest_key);
    visit(self.smallest_sequence);
    visit(self.largest_sequence);
  }
};

}  // namespace sentinel::lsm
