"""Record headers, handshake headers, alerts and the bounded reader and writer (RFC 6347 4.1, 4.2.2; RFC 5246 7.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import ApiMisuse, DecodeError
from gateway.dtls.errors import SequenceExhausted
from gateway.dtls.limits import MAX_PLAINTEXT, MAX_RECORDS_PER_DATAGRAM, MAX_WRITE_SEQUENCE
from gateway.dtls.messages.framing import (
    Alert,
    Fragment,
    HandshakeMessage,
    decode_fragments,
    decode_whole,
    handshake_header,
)
from gateway.dtls.numbers import AlertDescription
from gateway.dtls.record import PlainWriter, encode_record, split_records
from gateway.dtls.wire import Reader, Writer


def test_record_header_layout() -> None:
    # type 22, version FEFD, epoch 0x0102, sequence number 0x030405060708, length 3
    data = "16fefd0102030405060708000361626" + "3"
    (record,), whole = split_records(bytes.fromhex(data))
    assert whole
    assert (record.content_type, record.version, record.epoch, record.sequence, record.fragment) == (
        22,
        0xFEFD,
        0x0102,
        0x030405060708,
        b"abc",
    )
    assert record.number.hex() == "0102030405060708"
    assert encode_record(22, 0x0102030405060708, b"abc").hex() == data
    assert encode_record(22, 0, b"", 0xFEFF).hex() == "16feff00000000000000000000"


def test_several_records_in_one_datagram() -> None:
    data = encode_record(22, 1, b"one") + encode_record(20, 2, b"") + encode_record(23, 1 << 48, b"three")
    records, whole = split_records(data)
    assert whole
    assert [(r.content_type, r.epoch, r.sequence, r.fragment) for r in records] == [
        (22, 0, 1, b"one"),
        (20, 0, 2, b""),
        (23, 1, 0, b"three"),
    ]


@pytest.mark.parametrize("cut", range(1, 16))
def test_what_follows_a_cut_record_is_gone_and_what_precedes_it_is_not(cut: int) -> None:
    data = encode_record(22, 1, b"one") + encode_record(22, 2, b"two")
    records, whole = split_records(data[:-cut])
    assert not whole
    assert [record.fragment for record in records] == [b"one"]


def test_empty_datagram_is_malformed() -> None:
    assert split_records(b"") == ([], False)


def test_longest_record() -> None:
    # RFC 5246 6.2.1: 2^14 bytes of plaintext, and what our suites add.
    assert split_records(encode_record(23, 0, bytes(MAX_PLAINTEXT + 24)))[1]
    assert split_records(encode_record(23, 0, bytes(MAX_PLAINTEXT + 25))) == ([], False)


def test_records_past_the_limit_are_not_looked_at() -> None:
    data = encode_record(22, 1, b"") * (MAX_RECORDS_PER_DATAGRAM + 1)
    records, whole = split_records(data)
    assert len(records) == MAX_RECORDS_PER_DATAGRAM
    assert not whole


def test_plain_writer_counts_and_stops_before_the_end() -> None:
    writer = PlainWriter(MAX_WRITE_SEQUENCE - 2)
    assert writer.write(22, b"").hex() == "16fefd0000fffffffffffd0000"
    assert writer.write(22, b"").hex() == "16fefd0000fffffffffffe0000"
    with pytest.raises(SequenceExhausted):
        writer.write(22, b"")


def test_handshake_header_layout() -> None:
    # type 16, length 0x010203, message_seq 0x0405, fragment_offset 0x060708, fragment_length 0x090a0b
    assert handshake_header(16, 0x010203, 0x0405, 0x060708, 0x090A0B).hex() == "100102030405060708090a0b"


def test_message_enters_the_transcript_as_one_fragment() -> None:
    # RFC 6347 4.2.6: "as if each handshake message had been sent as a single fragment"
    message = HandshakeMessage.of(16, 2, b"abc")
    assert message.whole.hex() == "10" + "000003" + "0002" + "000000" + "000003" + "616263"


def test_fragments_of_one_record() -> None:
    first = "10" + "000003" + "0002" + "000001" + "000002" + "6263"
    second = "14" + "000000" + "0003" + "000000" + "000000"
    assert decode_fragments(bytes.fromhex(first + second)) == [
        Fragment(16, 3, 2, 1, b"bc"),
        Fragment(20, 0, 3, 0, b""),
    ]


@pytest.mark.parametrize(
    "data",
    [
        "",
        "10" + "000003" + "0002" + "000000" + "0000",
        "10" + "000003" + "0002" + "000000" + "000003" + "6162",
        "10" + "000003" + "0002" + "000001" + "000003" + "616263",
        "10" + "000003" + "0002" + "ffffff" + "000001" + "61",
        "10" + "000000" + "0002" + "000000" + "000001" + "61",
        "10" + "000003" + "0002" + "000004" + "000000",
        "10" + "000001" + "0002" + "000000" + "000001" + "61" + "00",
    ],
)
def test_broken_fragments(data: str) -> None:
    with pytest.raises(DecodeError):
        decode_fragments(bytes.fromhex(data))


WHOLE = bytes.fromhex("10" + "000003" + "0002" + "000000" + "000003" + "616263")


def test_a_record_with_one_whole_message() -> None:
    assert decode_whole(WHOLE) == HandshakeMessage.of(16, 2, b"abc")
    empty = bytes.fromhex("0e" + "000000" + "0102" + "000000" + "000000")
    assert decode_whole(empty) == HandshakeMessage.of(14, 0x0102, b"")


@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=2),
    st.integers(0, len(WHOLE)),
    st.sampled_from((b"", b"\0", WHOLE)),
)
def test_whole_is_what_has_one_fragment_with_all_of_its_message(
    changes: list[tuple[int, int]], end: int, more: bytes
) -> None:
    changed = bytearray(WHOLE)
    for position, value in changes:
        changed[position] = value
    content = bytes(changed[:end]) + more
    try:
        fragments = decode_fragments(content)
    except DecodeError:
        assert decode_whole(content) is None
        return
    first = fragments[0]
    alone = len(fragments) == 1 and len(first.data) == first.length
    expected = HandshakeMessage.of(first.type, first.message_seq, first.data) if alone else None
    assert decode_whole(content) == expected


def test_alert_layout() -> None:
    # RFC 5246 7.2: level, description
    assert Alert.decode(b"\x02\x28") == Alert.fatal(AlertDescription.HANDSHAKE_FAILURE)
    assert Alert.warning(AlertDescription.CLOSE_NOTIFY).encode() == b"\x01\x00"
    assert Alert(2, 40).name == "handshake_failure"
    assert Alert(9, 250).name == "unknown"


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x02\x28\x00"])
def test_broken_alert(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Alert.decode(data)


def test_reader_reads_to_the_end_and_not_past_it() -> None:
    reader = Reader(bytes.fromhex("01" + "0203" + "040506" + "02aabb" + "ccdd"))
    assert (reader.u8(), reader.u16(), reader.u24(), reader.opaque(1)) == (1, 0x0203, 0x040506, b"\xaa\xbb")
    with pytest.raises(DecodeError):
        reader.finish()
    with pytest.raises(DecodeError):
        reader.take(3)
    assert reader.remaining == 2
    assert reader.rest() == b"\xcc\xdd"
    reader.finish()


@pytest.mark.parametrize(("data", "minimum", "maximum"), [("01aa", 2, 5), ("03aabbcc", 0, 2), ("03aabb", 0, 5)])
def test_vector_outside_of_its_bounds(data: str, minimum: int, maximum: int) -> None:
    with pytest.raises(DecodeError):
        Reader(bytes.fromhex(data)).opaque(1, minimum, maximum)


def test_writer_refuses_what_does_not_fit() -> None:
    with pytest.raises(ApiMisuse):
        Writer().u8(256)
    with pytest.raises(ApiMisuse):
        Writer().opaque(1, bytes(256))
    writer = Writer()
    with pytest.raises(ApiMisuse), writer.vector(1):
        writer.raw(bytes(256))


@given(st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFF), st.binary(max_size=300))
def test_writer_and_reader_agree(a: int, b: int, c: int, data: bytes) -> None:
    writer = Writer().u8(a).u16(b).u24(c).opaque(2, data)
    with writer.vector(3):
        writer.raw(data)
    reader = Reader(writer.getvalue())
    assert (reader.u8(), reader.u16(), reader.u24(), reader.opaque(2)) == (a, b, c, data)
    assert reader.sub(3).rest() == data
    reader.finish()
