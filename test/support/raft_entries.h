#pragma once
/// Log entries for tests of Raft.

#include <string_view>

#include "consensus/raft_log.h"

namespace sentinel::test {

inline consensus::EntryKey raft_key(std::uint64_t index, std::uint64_t term) {
  consensus::EntryKey key;
  key.index = consensus::LogIndex(index);
  key.term = consensus::Term(term);
  key.type = consensus::EntryType::command;
  return key;
}

inline consensus::LogEntry raft_entry(std::uint64_t index, std::uint64_t term,
                                      std::string_view text = "entry") {
  return {raft_key(index, term), core::Bytes::copy(text)};
}

inline consensus::LogPosition raft_place(std::uint64_t index, std::uint64_t term) {
  return {consensus::LogIndex(index), consensus::Term(term)};
}

}  // namespace sentinel::test
