#include "test/support/ring_conformance.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstring>

#include "core/scope.h"

namespace sentinel::test {

using core::Shard;

void Transcript::note(std::string_view step, std::string_view outcome) {
  text_ += fmt::format("{} -> {}\n", step, outcome);
}

void Transcript::note(std::string_view step, std::int64_t result) {
  if (result >= 0) return note(step, fmt::format("{}", result));
  const char* name = ::strerrorname_np(static_cast<int>(-result));
  note(step, std::string_view(name == nullptr ? "unknown error" : name));
}

void Transcript::note_handle(std::string_view step, std::int64_t result) {
  if (result >= 0) return note(step, std::string_view("ok"));
  note(step, result);
}

void drive_until(const RingFactory& factory, std::span<Shard* const> shards,
                 const std::function<bool()>& done) {
  if (factory.drive) return factory.drive(shards, done);
  // Only one of several can sleep for all of them, and it can't know when.
  const Shard::Sleep sleep = shards.size() == 1 ? Shard::Sleep::allowed : Shard::Sleep::never;
  while (!done()) {
    for (Shard* shard : shards) shard->turn(sleep);
  }
}

void run_on_ring(const RingFactory& factory, core::Task<void> (*body)(Shard&, Transcript&),
                 Transcript& transcript) {
  auto ring = factory.make();
  REQUIRE(ring != nullptr);
  Shard shard(0, *ring, 1);
  Shard::connect({&shard});
  core::TaskScope scope(shard);
  scope.spawn(body(shard, transcript));
  Shard* const shards[] = {&shard};
  drive_until(factory, shards, [&] { return scope.active() == 0; });
}

namespace {

constexpr std::string_view kFileTranscript =
    R"(open a missing file -> ENOENT
create a file -> ok
create it again, exclusively -> EEXIST
write 10 bytes -> 10
write two vectors behind them -> 12
read 64 bytes, 22 are there -> 22
what was read -> 0123456789first|second
read at the end -> 0
read past the end -> 0
read into two vectors -> 22
what the vectors hold -> 0123,456789first|second
overwrite in the middle -> 3
what is there then -> 012abc6789
write past the end -> 1
the gap reads as zeros -> yes
truncate to 4 -> 0
size then -> 4
extend by truncate to 6 -> 0
read after it -> 6
bytes behind the old end are zeros -> yes
allocate 8192 -> 0
size then -> 8192
allocate less -> 0
size stays -> 8192
allocated space reads as zeros -> yes
punch a hole -> 0
size stays -> 8192
the hole reads as zeros -> yes
advise random -> 0
sync data -> 0
sync all -> 0
lock -> 0
lock through a second handle -> EAGAIN
lock after the first handle is closed -> 0
two writes at once -> 8192 and 4096
what they wrote -> yes
write with a registered buffer -> 4096
read with a registered buffer -> 4096
the registered buffers agree -> yes
reopen with truncate -> ok
size then -> 0
write aligned, direct and durable -> 4096
read it back, direct -> 4096
the direct bytes agree -> yes
)";

constexpr std::string_view kNameTranscript =
    R"(make a directory -> 0
make it again -> EEXIST
make one in a missing directory -> ENOENT
list it, empty -> 0
its names -> 
list it with three files -> 0
its names -> a,b,c
rename a to d -> 0
rename b over c -> 0
its names -> c,d
c has the contents of b -> b
rename a missing file -> ENOENT
unlink d -> 0
unlink d again -> ENOENT
unlink a directory -> EISDIR
remove it with files in it -> ENOTEMPTY
remove an empty one -> 0
remove it again -> ENOENT
remove a file -> ENOTDIR
stat a file -> 0
it is a file of size -> 1
stat a directory -> 0
it is a directory -> yes
stat a missing name -> ENOENT
list a missing directory -> ENOENT
list a file -> ENOTDIR
open a directory for writing -> EISDIR
open a file as a directory -> ENOTDIR
open a directory -> ok
sync the directory -> 0
free space is known -> yes
free space of a missing path -> ENOENT
a file read while its name is gone -> 1
)";

constexpr std::string_view kSocketTranscript =
    R"(listen on port 0 -> ok
a port was chosen -> yes
listen on the same port -> EADDRINUSE
connect -> ok
accept -> ok
the ends know each other -> yes
send 5 -> 5
receive, room for 100 -> 5
it says -> hello
answer in three parts -> 11
receive 4 of it -> 4
receive the rest -> 7
together -> one,two,six
receive before anything is sent -> 4
what came -> late
receive when the other side has closed -> 0
receive again -> 0
send to a closed peer fails in the end -> yes
shutdown -> 0
shutdown ends the pending receive -> 0
receive after it -> 0
send after it -> EPIPE
the other side sees the end -> 0
connect where nobody listens -> ECONNREFUSED
resolve localhost -> 127.0.0.1 ::1
resolve a number -> 10.1.2.3
)";

constexpr std::string_view kCancelTranscript =
    R"(accept until a deadline -> ETIMEDOUT
receive until a deadline -> ETIMEDOUT
receive until cancelled -> ECANCELED
receive with a cancelled token -> ECANCELED
the socket still works -> 4
cancel one of two accepts -> ECANCELED
the other takes the connection -> ok
send to a full socket until a deadline -> ETIMEDOUT
a receive on the same socket is not disturbed -> 3
close with a receive pending, the peer sees -> 0
the receive ended -> yes
)";

constexpr std::string_view kTransferTranscript =
    R"(sent -> 8388608
received -> 8388608
sums agree -> yes
vectored: sent -> 1048576
vectored: received -> 1048576
vectored: sums agree -> yes
)";

constexpr std::string_view kTimerTranscript =
    R"(a nop completes at the next poll, not in submit -> yes
timers fire in the order of their times -> 1,2,3
timers of one time fire in the order of their starts -> 1,2,3
sleep is not shorter than asked -> yes
wall time does not stand at zero -> yes
)";

constexpr std::string_view kHandoverTranscript =
    R"(echo on the first ring -> ping
echo on the second ring -> pong
receive pending on the second ring -> more
)";

}  // namespace

void check_ring_conformance(const RingFactory& factory) {
  CAPTURE(factory.name);
  CHECK(run_file_script(factory) == kFileTranscript);
  CHECK(run_name_script(factory) == kNameTranscript);
  CHECK(run_socket_script(factory) == kSocketTranscript);
  CHECK(run_cancel_script(factory) == kCancelTranscript);
  CHECK(run_transfer_script(factory) == kTransferTranscript);
  CHECK(run_timer_script(factory) == kTimerTranscript);
  CHECK(run_handover_script(factory) == kHandoverTranscript);
}

}  // namespace sentinel::test
