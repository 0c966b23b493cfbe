/// sentinel-check FILE: whether what clients have seen can be the work of a correct log.
///
/// The file is a history, test/support/history_json.cpp. Exit code 0: it can; 1: it can't, and the
/// sentences say why; 2: it can't be read.

#include <fmt/format.h>

#include <fstream>

#include "test/support/history.h"

int main(int argc, char** argv) {
  namespace test = sentinel::test;
  if (argc != 2) {
    fmt::print(stderr, "sentinel-check: give one file, a history of operations\n");
    return 2;
  }
  std::ifstream file(argv[1]);
  const auto history = test::read_history(file);
  if (!file.eof() || !history) {
    fmt::print(stderr, "sentinel-check: {}: {}\n", argv[1],
               history ? "cannot be read" : history.error().message);
    return 2;
  }
  const test::Verdict verdict = test::check_history(*history);
  fmt::print("{}\n", verdict.summary());
  return verdict.good() ? 0 : 1;
}
