#include "test/support/sim_network.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "core/io.h"
#include "core/sync.h"
#include "test/support/ring_operations.h"
#include "test/support/sim_world.h"

namespace sentinel {

using core::Address;
using core::Handle;
using core::OpCode;
using core::Shard;
using core::Task;
using test::NodeId;
using test::SimWorld;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t kPort = 9092;

/// What one side of a conversation saw.
struct Heard {
  std::int64_t connected = 1;
  std::string text;
  std::vector<std::size_t> pieces;
  std::int64_t last = 1;  ///< The result that ended it: 0 or an error.
  bool ended = false;
};

Task<void> listen_and_hear(Shard& shard, Heard* heard) {
  const auto listener = static_cast<Handle>(co_await test::listen_at(shard, Address::any(kPort)));
  heard->connected = co_await test::accept_one(shard, listener);
  const auto socket = static_cast<Handle>(heard->connected);
  std::string piece;
  for (;;) {
    heard->last = co_await test::receive_text(shard, socket, 100'000, &piece);
    if (heard->last <= 0) break;
    heard->text += piece;
    heard->pieces.push_back(piece.size());
  }
  co_await test::close_handle(shard, socket);
  co_await test::close_handle(shard, listener);
  heard->ended = true;
}

Task<void> say(Shard& shard, NodeId to, std::string text, Heard* heard) {
  // The other side may not listen yet.
  co_await core::sleep_for(shard, 1ms);
  heard->connected = co_await test::connect_to(shard, test::address_of(to, kPort));
  if (heard->connected < 0) co_return;
  const auto socket = static_cast<Handle>(heard->connected);
  std::size_t done = 0;
  while (done < text.size()) {
    const std::int64_t sent = co_await test::send_text(shard, socket, text.substr(done));
    heard->last = sent;
    if (sent <= 0) break;
    heard->pieces.push_back(static_cast<std::size_t>(sent));
    done += static_cast<std::size_t>(sent);
  }
  co_await test::close_handle(shard, socket);
  heard->ended = true;
}

Task<void> connect_and_hold(Shard& shard, NodeId to, Heard* heard) {
  co_await core::sleep_for(shard, 1ms);
  heard->connected = co_await test::connect_to(shard, test::address_of(to, kPort));
  if (heard->connected < 0) co_return;
  std::string piece;
  heard->last =
      co_await test::receive_text(shard, static_cast<Handle>(heard->connected), 10, &piece);
  heard->ended = true;
  co_await test::close_handle(shard, static_cast<Handle>(heard->connected));
}

struct Fixture {
  explicit Fixture(std::uint64_t seed = 1) : world(seed) {
    for (NodeId* node : {&a, &b}) {
      *node = world.add_node({});
      world.start(*node);
    }
  }
  void start(std::string text) {
    world.spawn(b, 0, listen_and_hear(world.shard(b), &heard));
    world.spawn(a, 0, say(world.shard(a), b, std::move(text), &said));
  }
  SimWorld::Outcome run() {
    return world.run_until([&] { return heard.ended && said.ended; });
  }

  SimWorld world;
  NodeId a = 0;
  NodeId b = 0;
  Heard heard;
  Heard said;
};

std::string pattern(std::size_t length) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  return text;
}

}  // namespace

TEST_CASE("bytes arrive in order whatever their segments, sends and delays") {
  std::set<std::size_t> sends;
  std::set<std::size_t> pieces;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Fixture fixture(seed);
    fixture.world.network().options.small_segment_probability = 0.5;
    fixture.world.network().options.short_send_probability = 0.5;
    fixture.start(pattern(1'000'000));
    REQUIRE(fixture.run() == SimWorld::Outcome::done);
    CHECK(fixture.heard.text == pattern(1'000'000));
    CHECK(fixture.heard.last == 0);
    sends.insert(fixture.said.pieces.size());
    pieces.insert(fixture.heard.pieces.size());
    CHECK(fixture.world.network().open_connections() == 0);
  }
  CHECK(sends.size() > 5);
  CHECK(pieces.size() > 5);
}

TEST_CASE("a sender waits when the other side does not receive") {
  Fixture fixture;
  fixture.world.network().options.buffer_bytes = 1000;
  fixture.world.network().options.short_send_probability = 0;
  fixture.start(std::string(5000, 'x'));
  fixture.world.pause(fixture.b);
  fixture.world.run_for(1s);
  // The system of the paused node still takes the connection.
  CHECK(fixture.said.connected > 1);
  std::size_t sent = 0;
  for (const std::size_t piece : fixture.said.pieces) sent += piece;
  CHECK(sent == 1000);
  CHECK_FALSE(fixture.said.ended);
  fixture.world.resume(fixture.b);
  CHECK(fixture.run() == SimWorld::Outcome::done);
  CHECK(fixture.heard.text.size() == 5000);
}

TEST_CASE("what a cut link holds back arrives when it heals") {
  Fixture fixture;
  fixture.start(pattern(300'000));
  fixture.world.run_until([&] { return !fixture.heard.text.empty(); });
  fixture.world.network().cut(fixture.a, fixture.b);
  fixture.world.run_for(1ms);
  const std::size_t before = fixture.heard.text.size();
  fixture.world.run_for(10s);
  CHECK(fixture.heard.text.size() == before);
  CHECK(before < 300'000);
  fixture.world.network().heal(fixture.a, fixture.b);
  CHECK(fixture.run() == SimWorld::Outcome::done);
  CHECK(fixture.heard.text == pattern(300'000));
}

TEST_CASE("a cut in one direction leaves the other open") {
  Fixture fixture;
  fixture.start(pattern(300'000));
  fixture.world.run_until([&] { return !fixture.heard.text.empty(); });
  fixture.world.network().cut(fixture.b, fixture.a);
  CHECK(fixture.run() == SimWorld::Outcome::done);
  CHECK(fixture.heard.text == pattern(300'000));
}

TEST_CASE("connecting to a node where nobody listens is refused") {
  Fixture fixture;
  fixture.world.spawn(fixture.a, 0,
                      say(fixture.world.shard(fixture.a), fixture.b, "x", &fixture.said));
  fixture.world.run_until([&] { return fixture.said.connected < 0; });
  CHECK(fixture.said.connected == -ECONNREFUSED);
}

TEST_CASE("connecting over a cut link succeeds after the heal and times out without") {
  for (const bool heals : {true, false}) {
    CAPTURE(heals);
    Fixture fixture;
    fixture.start("hello");
    fixture.world.network().cut_both(fixture.a, fixture.b);
    fixture.world.run_for(20s);
    CHECK(fixture.said.connected == 1);
    if (heals) fixture.world.network().heal_all();
    fixture.world.run_for(200s);
    if (heals) {
      CHECK(fixture.heard.text == "hello");
    } else {
      CHECK(fixture.said.connected == -ETIMEDOUT);
    }
  }
}

TEST_CASE("the peer of a killed process sees the end of the connection at once") {
  Fixture fixture;
  fixture.world.spawn(fixture.b, 0,
                      listen_and_hear(fixture.world.shard(fixture.b), &fixture.heard));
  fixture.world.spawn(fixture.a, 0,
                      connect_and_hold(fixture.world.shard(fixture.a), fixture.b, &fixture.said));
  fixture.world.run_until([&] { return fixture.heard.connected > 1; });
  fixture.world.run_for(1s);
  fixture.world.crash(fixture.b);
  fixture.world.run_for(1s);
  CHECK(fixture.said.ended);
  CHECK(fixture.said.last <= 0);
}

TEST_CASE("a node without power is silent until it is back and then resets what it forgot") {
  Fixture fixture;
  fixture.start(std::string(1 << 20, 'x'));
  fixture.world.run_until([&] { return !fixture.heard.text.empty(); });
  fixture.world.crash(fixture.b, {}, SimWorld::Power::lost);
  fixture.world.run_for(100s);
  CHECK_FALSE(fixture.said.ended);
  fixture.world.start(fixture.b);
  fixture.world.run_for(1s);
  CHECK(fixture.said.ended);
  CHECK(fixture.said.last == -ECONNRESET);
}

TEST_CASE("connections that are reset break on both sides") {
  Fixture fixture;
  fixture.world.spawn(fixture.b, 0,
                      listen_and_hear(fixture.world.shard(fixture.b), &fixture.heard));
  fixture.world.spawn(fixture.a, 0,
                      connect_and_hold(fixture.world.shard(fixture.a), fixture.b, &fixture.said));
  fixture.world.run_until([&] { return fixture.heard.connected > 1; });
  fixture.world.run_for(1s);
  fixture.world.network().reset_connections(fixture.b, fixture.a);
  fixture.world.run_for(1s);
  CHECK(fixture.said.last == -ECONNRESET);
  CHECK(fixture.heard.last == -ECONNRESET);
}

TEST_CASE("nodes are known by name") {
  Fixture fixture;
  std::vector<Address> addresses;
  std::int64_t unknown = 0;
  fixture.world.spawn(
      fixture.a, 0,
      [](Shard& shard, std::vector<Address>* out, std::int64_t* failed) -> Task<void> {
        core::Io io(shard, OpCode::resolve_host);
        io.path = "node-2";
        io.addresses = out;
        co_await io;
        std::vector<Address> none;
        core::Io other(shard, OpCode::resolve_host);
        other.path = "elsewhere";
        other.addresses = &none;
        *failed = co_await other;
      }(fixture.world.shard(fixture.a), &addresses, &unknown));
  fixture.world.run_for(1s);
  CHECK(addresses == std::vector<Address>{test::address_of(fixture.b, 0)});
  CHECK(unknown == -EHOSTUNREACH);
}

}  // namespace sentinel
