#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/scope.h"
#include "test/support/ring_conformance.h"
#include "test/support/ring_operations.h"

namespace sentinel::test {

using core::Address;
using core::CancelSource;
using core::CancelToken;
using core::Deadline;
using core::Handle;
using core::Io;
using core::OpCode;
using core::Shard;
using core::Task;

namespace {

constexpr core::Duration kShortWait = std::chrono::milliseconds(5);

std::string_view yes(bool value) { return value ? "yes" : "no"; }

Task<void> accept_into(Shard& shard, Handle listener, CancelToken token, std::int64_t* result) {
  *result = co_await accept_one(shard, listener, {}, token);
}

Task<void> receive_into(Shard& shard, Handle socket, std::string* text, CancelToken token,
                        std::int64_t* result) {
  *result = co_await receive_text(shard, socket, 100, text, {}, token);
}

Task<void> connects(Shard& shard, Transcript& log, SocketPair* pair) {
  const std::int64_t listened = co_await listen_at(shard, Address::loopback(0));
  log.note_handle("listen on port 0", listened);
  const auto listener = static_cast<Handle>(listened);
  const auto address = shard.ring().local_address(listener);
  log.note("a port was chosen", yes(address && address->port != 0));
  log.note_handle("listen on the same port", co_await listen_at(shard, *address));
  core::TaskScope scope(shard);
  std::int64_t accepted = 0;
  scope.spawn(accept_into(shard, listener, {}, &accepted));
  const std::int64_t connected = co_await connect_to(shard, *address);
  co_await scope.join();
  log.note_handle("connect", connected);
  log.note_handle("accept", accepted);
  *pair = {.near = static_cast<Handle>(connected), .far = static_cast<Handle>(accepted)};
  core::Ring& ring = shard.ring();
  const auto near_end = ring.local_address(pair->near);
  const auto far_end = ring.local_address(pair->far);
  const auto seen_by_far = ring.peer_address(pair->far);
  const auto seen_by_near = ring.peer_address(pair->near);
  log.note("the ends know each other",
           yes(near_end && far_end && seen_by_far && seen_by_near && *near_end == *seen_by_far &&
               *far_end == *seen_by_near && *far_end == *address));
  co_await close_handle(shard, listener);
}

Task<void> talks(Shard& shard, Transcript& log, SocketPair pair) {
  std::string text;
  std::string rest;
  log.note("send 5", co_await send_text(shard, pair.near, "hello"));
  log.note("receive, room for 100", co_await receive_text(shard, pair.far, 100, &text));
  log.note("it says", std::string_view(text));
  std::vector<std::string> parts;
  for (const char* part : {"one,", "two,", "six"}) parts.emplace_back(part);
  log.note("answer in three parts", co_await send_parts(shard, pair.far, std::move(parts)));
  log.note("receive 4 of it", co_await receive_text(shard, pair.near, 4, &text));
  log.note("receive the rest", co_await receive_text(shard, pair.near, 100, &rest));
  log.note("together", std::string_view(text + rest));
  core::TaskScope scope(shard);
  std::int64_t received = 0;
  scope.spawn(receive_into(shard, pair.far, &text, {}, &received));
  co_await core::yield(shard);
  co_await send_text(shard, pair.near, "late");
  co_await scope.join();
  log.note("receive before anything is sent", received);
  log.note("what came", std::string_view(text));
}

Task<void> other_side_closes(Shard& shard, Transcript& log, SocketPair pair) {
  co_await close_handle(shard, pair.far);
  std::string text;
  log.note("receive when the other side has closed",
           co_await receive_text(shard, pair.near, 8, &text));
  log.note("receive again", co_await receive_text(shard, pair.near, 8, &text));
  // The first send still succeeds: that the peer is gone is learnt from its answer.
  std::int64_t sent = 0;
  for (int i = 0; i < 100 && sent >= 0; ++i) {
    sent = co_await send_text(shard, pair.near, "x");
    co_await core::sleep_for(shard, kShortWait);
  }
  log.note("send to a closed peer fails in the end", yes(sent < 0));
  co_await close_handle(shard, pair.near);
}

Task<void> shuts_down(Shard& shard, Transcript& log) {
  const SocketPair pair = co_await connect_pair(shard);
  core::TaskScope scope(shard);
  std::string text;
  std::int64_t received = -1;
  scope.spawn(receive_into(shard, pair.near, &text, {}, &received));
  co_await core::yield(shard);
  log.note("shutdown", co_await on_handle(shard, OpCode::shutdown_socket, pair.near));
  co_await scope.join();
  log.note("shutdown ends the pending receive", received);
  log.note("receive after it", co_await receive_text(shard, pair.near, 8, &text));
  log.note("send after it", co_await send_text(shard, pair.near, "x"));
  log.note("the other side sees the end", co_await receive_text(shard, pair.far, 8, &text));
  co_await close_handle(shard, pair.near);
  co_await close_handle(shard, pair.far);
}

Task<void> refusals(Shard& shard, Transcript& log) {
  const std::int64_t listened = co_await listen_at(shard, Address::loopback(0));
  const auto address = shard.ring().local_address(static_cast<Handle>(listened));
  co_await close_handle(shard, static_cast<Handle>(listened));
  log.note_handle("connect where nobody listens", co_await connect_to(shard, *address));
}

Task<std::string> resolve(Shard& shard, std::string host) {
  std::vector<Address> addresses;
  Io io(shard, OpCode::resolve_host);
  io.path = host.c_str();
  io.addresses = &addresses;
  const std::int64_t result = co_await io;
  std::string text = result < 0 ? "failed" : "";
  for (const Address& address : addresses) {
    text += fmt::format("{}{}", text.empty() ? "" : " ", address.host());
  }
  co_return text;
}

Task<void> socket_script(Shard& shard, Transcript& log) {
  SocketPair pair;
  co_await connects(shard, log, &pair);
  co_await talks(shard, log, pair);
  co_await other_side_closes(shard, log, pair);
  co_await shuts_down(shard, log);
  co_await refusals(shard, log);
  const std::string local = co_await resolve(shard, "localhost");
  log.note("resolve localhost", std::string_view(local));
  const std::string number = co_await resolve(shard, "10.1.2.3");
  log.note("resolve a number", std::string_view(number));
}

Task<void> deadlines(Shard& shard, Transcript& log) {
  const std::int64_t listened = co_await listen_at(shard, Address::loopback(0));
  const auto listener = static_cast<Handle>(listened);
  log.note_handle("accept until a deadline",
                  co_await accept_one(shard, listener, shard.deadline_in(kShortWait)));
  co_await close_handle(shard, listener);
  const SocketPair pair = co_await connect_pair(shard);
  std::string text;
  log.note("receive until a deadline",
           co_await receive_text(shard, pair.near, 8, &text, shard.deadline_in(kShortWait)));
  core::TaskScope scope(shard);
  CancelSource source;
  std::int64_t received = 0;
  scope.spawn(receive_into(shard, pair.near, &text, CancelToken(source), &received));
  co_await core::sleep_for(shard, kShortWait);
  source.cancel();
  co_await scope.join();
  log.note("receive until cancelled", received);
  log.note("receive with a cancelled token",
           co_await receive_text(shard, pair.near, 8, &text, {}, CancelToken(source)));
  co_await send_text(shard, pair.far, "next");
  log.note("the socket still works", co_await receive_text(shard, pair.near, 8, &text));
  co_await close_handle(shard, pair.near);
  co_await close_handle(shard, pair.far);
}

Task<void> one_of_two_accepts(Shard& shard, Transcript& log) {
  const std::int64_t listened = co_await listen_at(shard, Address::loopback(0));
  const auto listener = static_cast<Handle>(listened);
  const auto address = shard.ring().local_address(listener);
  core::TaskScope scope(shard);
  CancelSource source;
  std::int64_t first = 0;
  std::int64_t second = 0;
  scope.spawn(accept_into(shard, listener, CancelToken(source), &first));
  scope.spawn(accept_into(shard, listener, {}, &second));
  co_await core::sleep_for(shard, kShortWait);
  source.cancel();
  co_await core::sleep_for(shard, kShortWait);
  log.note("cancel one of two accepts", first);
  const std::int64_t connected = co_await connect_to(shard, *address);
  co_await scope.join();
  log.note_handle("the other takes the connection", second);
  co_await close_handle(shard, static_cast<Handle>(connected));
  co_await close_handle(shard, static_cast<Handle>(second));
  co_await close_handle(shard, listener);
}

Task<std::int64_t> fill(Shard& shard, Handle socket) {
  std::string chunk(1 << 20, 'f');
  for (;;) {
    Io io(shard, OpCode::send, shard.deadline_in(10 * kShortWait));
    io.handle = socket;
    io.buffer = {chunk.data(), chunk.size()};
    const std::int64_t sent = co_await io;
    if (sent <= 0) co_return sent;
  }
}

Task<void> directions(Shard& shard, Transcript& log) {
  const SocketPair pair = co_await connect_pair(shard);
  core::TaskScope scope(shard);
  std::string text;
  std::int64_t received = 0;
  scope.spawn(receive_into(shard, pair.near, &text, {}, &received));
  log.note("send to a full socket until a deadline", co_await fill(shard, pair.near));
  co_await send_text(shard, pair.far, "abc");
  co_await scope.join();
  log.note("a receive on the same socket is not disturbed", received);
  co_await close_handle(shard, pair.near);
  co_await close_handle(shard, pair.far);
}

Task<void> close_while_receiving(Shard& shard, Transcript& log) {
  const SocketPair pair = co_await connect_pair(shard);
  core::TaskScope scope(shard);
  std::string text;
  std::string far_text;
  std::int64_t received = 1;
  scope.spawn(receive_into(shard, pair.near, &text, {}, &received));
  co_await core::sleep_for(shard, kShortWait);
  co_await close_handle(shard, pair.near);
  log.note("close with a receive pending, the peer sees",
           co_await receive_text(shard, pair.far, 8, &far_text));
  co_await scope.join();
  log.note("the receive ended", yes(received <= 0));
  co_await close_handle(shard, pair.far);
}

Task<void> cancel_script(Shard& shard, Transcript& log) {
  co_await deadlines(shard, log);
  co_await one_of_two_accepts(shard, log);
  co_await directions(shard, log);
  co_await close_while_receiving(shard, log);
}

std::uint64_t sum_of(std::string_view text, std::uint64_t sum) {
  for (const char each : text) sum = (sum ^ static_cast<unsigned char>(each)) * 0x100000001b3U;
  return sum;
}

std::string pattern(std::size_t length) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>((i * 31 + i / 251) % 256);
  return text;
}

struct Flow {
  std::int64_t bytes = 0;
  std::uint64_t sum = 0;
};

/// Sends everything as vectors of at most `part` bytes, as often as short sends make it necessary.
Task<void> send_all(Shard& shard, Handle socket, std::string* text, std::size_t part, Flow* flow) {
  std::size_t done = 0;
  while (done < text->size()) {
    std::vector<iovec> vectors;
    for (std::size_t at = done; at < text->size() && vectors.size() < 64; at += part) {
      vectors.push_back({text->data() + at, std::min(part, text->size() - at)});
    }
    Io io(shard, OpCode::send);
    io.handle = socket;
    io.vectors = vectors.data();
    io.vector_count = static_cast<unsigned>(vectors.size());
    const std::int64_t sent = co_await io;
    if (sent <= 0) break;
    done += static_cast<std::size_t>(sent);
  }
  flow->bytes = static_cast<std::int64_t>(done);
  flow->sum = sum_of(*text, 0);
  co_await on_handle(shard, OpCode::shutdown_socket, socket);
}

Task<void> receive_all(Shard& shard, Handle socket, Flow* flow) {
  std::string text;
  for (;;) {
    const std::int64_t received = co_await receive_text(shard, socket, 256 * 1024, &text);
    if (received <= 0) break;
    flow->bytes += received;
    flow->sum = sum_of(text, flow->sum);
  }
}

Task<void> bulk(Shard& shard, Transcript& log, std::string prefix, std::size_t length,
                std::size_t part) {
  const SocketPair pair = co_await connect_pair(shard);
  std::string text = pattern(length);
  Flow sent;
  Flow received;
  core::TaskScope scope(shard);
  scope.spawn(send_all(shard, pair.near, &text, part, &sent));
  scope.spawn(receive_all(shard, pair.far, &received));
  co_await scope.join();
  log.note(prefix + "sent", sent.bytes);
  log.note(prefix + "received", received.bytes);
  log.note(prefix + "sums agree", yes(sent.sum == received.sum));
  co_await close_handle(shard, pair.near);
  co_await close_handle(shard, pair.far);
}

Task<void> transfer_script(Shard& shard, Transcript& log) {
  constexpr std::size_t kMebibyte = 1 << 20;
  co_await bulk(shard, log, "", 8 * kMebibyte, 8 * kMebibyte);
  co_await bulk(shard, log, "vectored: ", kMebibyte, 10'000);
}

std::string run_script(const RingFactory& factory, Task<void> (*body)(Shard&, Transcript&)) {
  Transcript transcript;
  run_on_ring(factory, body, transcript);
  return transcript.text();
}

}  // namespace

std::string run_socket_script(const RingFactory& factory) {
  return run_script(factory, &socket_script);
}

std::string run_cancel_script(const RingFactory& factory) {
  return run_script(factory, &cancel_script);
}

std::string run_transfer_script(const RingFactory& factory) {
  return run_script(factory, &transfer_script);
}

}  // namespace sentinel::test
