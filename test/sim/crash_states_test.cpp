#include <doctest/doctest.h>
#include <fmt/ranges.h>

#include <set>
#include <string>
#include <string_view>

#include "test/support/sim_crash.h"

namespace sentinel {

using test::CrashLimits;
using test::CrashPolicy;
using test::CrashStates;
using test::DiskImage;
using test::InodeId;
using test::PendingWrite;

namespace {

/// Every state of the disk, each as its listing, and that none comes twice.
std::set<std::string> all_states(const DiskImage& image, CrashLimits limits = {}) {
  std::set<std::string> seen;
  CrashStates states(image, limits);
  DiskImage after;
  while (states.next(after)) {
    CHECK(seen.insert(fmt::format("{}", fmt::join(after.listing(), " "))).second);
    CHECK(after.pending().empty());
  }
  return seen;
}

std::uint64_t begin_write(DiskImage& image, std::string_view path, std::uint64_t offset,
                          std::string_view text, bool data_sync = false) {
  const auto bytes = std::as_bytes(std::span(text));
  return image.begin(image.find(path).inode, {.data_sync = data_sync,
                                              .offset = offset,
                                              .data = std::make_shared<std::vector<std::byte>>(
                                                  bytes.begin(), bytes.end())});
}

void write(DiskImage& image, std::string_view path, std::uint64_t offset, std::string_view text,
           bool data_sync = false) {
  const std::uint64_t id = begin_write(image, path, offset, text, data_sync);
  image.complete(image.find(path).inode, id);
}

void resize(DiskImage& image, std::string_view path, std::uint64_t size) {
  const InodeId inode = image.find(path).inode;
  image.complete(inode, image.begin(inode, {.kind = PendingWrite::Kind::truncate, .offset = size}));
}

using Set = std::set<std::string>;

}  // namespace

TEST_CASE("a disk with nothing pending has one state") {
  DiskImage image;
  image.put("/f", "text");
  CHECK(all_states(image) == Set{"/f=text"});
}

TEST_CASE("two overwrites leave four states") {
  DiskImage image;
  image.put("/f", "....");
  write(image, "/f", 0, "a");
  write(image, "/f", 2, "b");
  CHECK(all_states(image) == Set{"/f=....", "/f=a...", "/f=..b.", "/f=a.b."});
}

TEST_CASE("overlapping writes keep their order") {
  DiskImage image;
  image.put("/f", "...");
  write(image, "/f", 0, "aa");
  write(image, "/f", 1, "bb");
  CHECK(all_states(image) == Set{"/f=...", "/f=aa.", "/f=.bb", "/f=abb"});
}

TEST_CASE("the size of an appended file may survive without its bytes") {
  DiskImage image;
  image.put("/f", "x");
  write(image, "/f", 1, "yz");
  CHECK(all_states(image) == Set{"/f=x", "/f=xyz", std::string("/f=x\0\0", 6)});
}

TEST_CASE("a sync makes exactly what completed before it durable") {
  DiskImage image;
  image.put("/f", "....");
  write(image, "/f", 0, "a");
  const std::uint64_t in_flight = begin_write(image, "/f", 1, "b");
  const std::uint64_t submitted = image.now();
  image.complete(image.find("/f").inode, in_flight);
  write(image, "/f", 2, "c");
  image.sync_file(image.find("/f").inode, submitted);
  CHECK(all_states(image) == Set{"/f=a...", "/f=ab..", "/f=a.c.", "/f=abc."});
}

TEST_CASE("a durable write stays on top of an older one that is not") {
  DiskImage image;
  image.put("/f", "....");
  write(image, "/f", 0, "aa");
  write(image, "/f", 1, "bb", true);
  CHECK(all_states(image) == Set{"/f=.bb.", "/f=abb."});
}

TEST_CASE("a truncation may be lost, and what was written after it not") {
  DiskImage image;
  image.put("/f", "long");
  resize(image, "/f", 0);
  write(image, "/f", 0, "s");
  CHECK(all_states(image) == Set{"/f=long", "/f=", "/f=s", "/f=song"});
}

TEST_CASE("a durable write takes an earlier truncation along") {
  DiskImage image;
  image.put("/f", "long");
  resize(image, "/f", 0);
  write(image, "/f", 0, "s", true);
  CHECK(all_states(image) == Set{"/f=s"});
}

TEST_CASE("a name that is used again does not lose the file that had it") {
  DiskImage image;
  image.put("/a", "old");
  image.rename(image.find("/a"), image.find("/b"));
  image.create(image.find("/a"), false);
  CHECK(all_states(image) == Set{"/a=old", "/b=old", "/a= /b=old"});
}

TEST_CASE("names of different files survive in any order, of one file in theirs") {
  DiskImage image;
  image.create(image.find("/a"), false);
  image.create(image.find("/b"), false);
  CHECK(all_states(image) == Set{"", "/a=", "/b=", "/a= /b="});
  DiskImage renamed;
  renamed.create(renamed.find("/a"), false);
  renamed.rename(renamed.find("/a"), renamed.find("/b"));
  CHECK(all_states(renamed) == Set{"", "/a=", "/b="});
}

TEST_CASE("a rename over a file leaves one of the two, never neither") {
  DiskImage image;
  image.put("/f", "old");
  image.put("/f.new", "new");
  image.rename(image.find("/f.new"), image.find("/f"));
  CHECK(all_states(image) == Set{"/f=old /f.new=new", "/f=new"});
}

TEST_CASE("the sync of a directory covers its names only") {
  DiskImage image;
  image.make_directories("/d/e");
  image.create(image.find("/d/x"), false);
  image.create(image.find("/d/e/y"), false);
  image.unlink(image.find("/d/x"));
  image.sync_directory(image.find("/d").inode, image.now());
  CHECK(all_states(image) == Set{"/d/ /d/e/", "/d/ /d/e/ /d/e/y="});
}

TEST_CASE("files in a directory whose own name is lost are lost with it") {
  DiskImage image;
  image.create(image.find("/d"), true);
  image.create(image.find("/d/x"), false);
  image.sync_directory(image.find("/d").inode, image.now());
  CHECK(all_states(image) == Set{"", "/d/ /d/x="});
}

TEST_CASE("an unlinked file comes back when its removal was not synced") {
  DiskImage image;
  image.put("/f", "text");
  image.unlink(image.find("/f"));
  image.sweep({});
  CHECK(image.get("/f") == std::nullopt);
  CHECK(all_states(image) == Set{"", "/f=text"});
}

TEST_CASE(
    "beyond the bound each change is lost alone and kept alone, but not every subset is made") {
  DiskImage image;
  image.put("/f", "........");
  for (std::uint64_t i = 0; i < 8; ++i) write(image, "/f", i, "x");
  // None, all, 8 with one missing, 8 with one alone.
  CHECK(all_states(image, {.subset_units_max = 4}).size() == 18);
  CHECK(all_states(image, {.subset_units_max = 8}).size() == 256);
}

TEST_CASE("an ordered file system keeps a prefix of the changes of names") {
  DiskImage image;
  for (const char* name : {"/a", "/b", "/c"}) image.create(image.find(name), false);
  core::Random random(1);
  Set seen;
  for (int i = 0; i < 200; ++i) {
    const DiskImage after = test::crash(image, {.names = CrashPolicy::Names::ordered}, random);
    seen.insert(fmt::format("{}", fmt::join(after.listing(), " ")));
  }
  CHECK(seen == Set{"", "/a=", "/a= /b=", "/a= /b= /c="});
}

TEST_CASE("crashed images share what they have in common and do not disturb each other") {
  DiskImage image;
  image.put("/big", std::string(1 << 20, 'x'));
  write(image, "/big", 5000, "y");
  const std::uint64_t before = image.hash();
  CrashStates states(image);
  DiskImage first;
  DiskImage second;
  REQUIRE(states.next(first));
  REQUIRE(states.next(second));
  CHECK(first.hash() != second.hash());
  CHECK(second.hash() == before);
  first.put("/big", "z");
  CHECK(second.hash() == before);
  CHECK(image.hash() == before);
}

TEST_CASE("the hash of contents does not depend on how they came to be") {
  DiskImage written;
  written.put("/f", std::string(10'000, 'a'));
  DiskImage pieced;
  pieced.put("/f", "");
  for (std::uint64_t at = 0; at < 10'000; at += 1000) {
    write(pieced, "/f", at, std::string(1000, 'a'));
  }
  write(pieced, "/f", 10'000, std::string(9000, '\0'));
  CHECK(written.hash() != pieced.hash());
  resize(pieced, "/f", 10'000);
  CHECK(written.hash() == pieced.hash());
}

}  // namespace sentinel
