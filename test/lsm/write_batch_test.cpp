#include "lsm/write_batch.h"

#include <doctest/doctest.h>

#include <string>

namespace sentinel::lsm {
namespace {

core::Bytes body_of(const WriteBatch& batch) {
  core::ByteWriter body;
  for (const core::ByteSpan piece : batch.pieces()) body.bytes(piece);
  return body.to_bytes();
}

TEST_CASE("a batch is decoded as it was encoded") {
  WriteBatch batch;
  batch.put(core::as_bytes("key"), core::Bytes::copy(std::string(300, 'v')));
  batch.remove(core::as_bytes("gone"));
  batch.put(core::as_bytes(""), core::Bytes());
  batch.set_first_sequence(SequenceNumber(7));
  const auto decoded = WriteBatch::decode(body_of(batch));
  REQUIRE(decoded.has_value());
  REQUIRE(decoded->count() == 3);
  CHECK(decoded->first_sequence() == SequenceNumber(7));
  CHECK(core::as_text(decoded->key(decoded->operations()[0])) == "key");
  CHECK(decoded->operations()[0].value.size() == 300);
  CHECK(decoded->operations()[1].kind == EntryKind::tombstone);
  CHECK(core::equal(body_of(*decoded), body_of(batch)));
}

TEST_CASE("bytes that no batch is encoded as are refused") {
  core::ByteWriter body;
  body.u64(1);
  CHECK_FALSE(WriteBatch::decode(core::Bytes::copy(body.view())).has_value());
  // A length of one, in two bytes.
  body.u8(0);
  body.u8(0x81);
  body.u8(0x00);
  body.u8('k');
  CHECK_FALSE(WriteBatch::decode(core::Bytes::copy(body.view())).has_value());
  body.clear();
  body.u64(1);
  body.u8(0);
  body.u8(0x01);
  body.u8('k');
  CHECK(WriteBatch::decode(core::Bytes::copy(body.view())).has_value());
  body.u8(2);  // No kind of operation.
  CHECK_FALSE(WriteBatch::decode(core::Bytes::copy(body.view())).has_value());
}

}  // namespace
}  // namespace sentinel::lsm
