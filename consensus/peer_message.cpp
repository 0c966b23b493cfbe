#include "consensus/peer_message.h"

#include "core/codec.h"

namespace sentinel::consensus {

namespace {

/// Place in the variant of RaftMessage, which never changes; 255 for no message.
using Kind = std::uint8_t;
constexpr Kind kNoMessage = 255;

struct Head {
  GroupId group;
  LogIndex settle_at;
  MemberId from;
  MemberId to;
  Term term;
  Kind kind = kNoMessage;
  static void fields(auto& self, auto& visit) {
    visit(self.group);
    visit(self.settle_at);
    visit(self.from);
    visit(self.to);
    visit(self.term);
    visit(self.kind);
  }
};

struct EntryHead {
  EntryKey key;
  std::uint32_t bytes = 0;
  static void fields(auto& self, auto& visit) {
    visit(self.key);
    visit(self.bytes);
  }
};
struct AppendHead {
  LogPosition previous;
  LogIndex commit;
  std::vector<EntryHead> entries;
  static void fields(auto& self, auto& visit) {
    visit(self.previous);
    visit(self.commit);
    visit(self.entries);
  }
};
struct SnapshotHead {
  EntryKey last;
  Configuration configuration;
  static void fields(auto& self, auto& visit) {
    visit(self.last);
    visit(self.configuration);
  }
};

/// Writes a body's fields and collects its payloads.
struct BodyWriter {
  core::ByteWriter& out;
  core::FieldWriter& fields;
  std::vector<core::Bytes>& payloads;

  void operator()(const VoteRequest& body) const {
    fields(body.pre);
    fields(body.transfer);
    fields(body.last);
  }
  void operator()(const VoteAnswer& body) const {
    fields(body.pre);
    fields(body.granted);
  }
  void operator()(const AppendRequest& body) const {
    AppendHead head{.previous = body.previous, .commit = body.commit, .entries = {}};
    for (const LogEntry& entry : body.entries) {
      head.entries.push_back({entry.key, core::narrow<std::uint32_t>(entry.payload.size())});
      if (!entry.payload.empty()) payloads.push_back(entry.payload);
    }
    fields(head);
  }
  void operator()(const AppendAnswer& body) const {
    fields(body.accepted);
    fields(body.last);
    fields(body.refused);
  }
  void operator()(const Heartbeat& body) const {
    fields(body.commit);
    fields(body.round);
  }
  void operator()(const HeartbeatAnswer& body) const { fields(body.round); }
  void operator()(const SnapshotRequest& body) const {
    fields(SnapshotHead{body.snapshot.last, body.snapshot.configuration});
    payloads.push_back(body.snapshot.state);
  }
  void operator()(const CampaignRequest&) const {}
};

/// Reads what BodyWriter wrote; payloads are slices of `frame`.
struct BodyReader {
  const core::Bytes& frame;
  core::ByteReader& in;
  core::FieldReader& fields;

  core::Bytes payload(std::size_t bytes) const { return frame.slice_of(in.take(bytes)); }

  void operator()(VoteRequest& body) const {
    fields(body.pre);
    fields(body.transfer);
    fields(body.last);
  }
  void operator()(VoteAnswer& body) const {
    fields(body.pre);
    fields(body.granted);
  }
  void operator()(AppendRequest& body) const {
    AppendHead head;
    fields(head);
    body.previous = head.previous;
    body.commit = head.commit;
    for (const EntryHead& entry : head.entries) {
      const bool known = entry.key.type <= EntryType::command;
      if (!known || entry.bytes > in.remaining()) return in.fail();
      body.entries.push_back({entry.key, payload(entry.bytes)});
    }
  }
  void operator()(AppendAnswer& body) const {
    fields(body.accepted);
    fields(body.last);
    fields(body.refused);
  }
  void operator()(Heartbeat& body) const {
    fields(body.commit);
    fields(body.round);
  }
  void operator()(HeartbeatAnswer& body) const { fields(body.round); }
  void operator()(SnapshotRequest& body) const {
    SnapshotHead head;
    fields(head);
    if (head.last.type > EntryType::command) return in.fail();
    body.snapshot.last = head.last;
    body.snapshot.configuration = std::move(head.configuration);
    body.snapshot.state = payload(in.remaining());
  }
  void operator()(CampaignRequest&) const {}
};

template <std::size_t Index = 0>
bool make_body(Kind kind, decltype(RaftMessage::body)& body) {
  if constexpr (Index < std::variant_size_v<decltype(RaftMessage::body)>) {
    if (kind != Index) return make_body<Index + 1>(kind, body);
    body.template emplace<Index>();
    return true;
  } else {
    return false;
  }
}

}  // namespace

core::Chain encode_peer_message(const PeerMessage& message) {
  core::ByteWriter out;
  core::FieldWriter fields(out);
  std::vector<core::Bytes> payloads;
  Head head{
      .group = message.group, .settle_at = message.settle_at, .from = {}, .to = {}, .term = {}};
  if (message.message.has_value()) {
    head.from = message.message->from;
    head.to = message.message->to;
    head.term = message.message->term;
    head.kind = static_cast<Kind>(message.message->body.index());
  }
  fields(head);
  if (message.message.has_value())
    std::visit(BodyWriter{out, fields, payloads}, message.message->body);
  core::Chain chain;
  chain.append(out.to_bytes());
  for (core::Bytes& payload : payloads) chain.append(std::move(payload));
  return chain;
}

core::Result<PeerMessage> decode_peer_message(const core::Bytes& bytes) {
  core::ByteReader in(bytes);
  core::FieldReader fields(in);
  Head head;
  fields(head);
  PeerMessage decoded{.group = head.group, .settle_at = head.settle_at, .message = {}};
  bool known = true;
  if (head.kind != kNoMessage) {
    RaftMessage& message = decoded.message.emplace();
    message.from = head.from;
    message.to = head.to;
    message.term = head.term;
    known = make_body(head.kind, message.body);
    if (known) std::visit(BodyReader{bytes, in, fields}, message.body);
  }
  // A term is Kafka's leader epoch, too.
  if (head.term > Term(INT32_MAX)) known = false;
  if (!known || in.failed() || in.remaining() != 0)
    return core::fail(core::Errc::corruption, "malformed message of a group's replica");
  return decoded;
}

}  // namespace sentinel::consensus
