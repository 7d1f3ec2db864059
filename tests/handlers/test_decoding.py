"""`request.decoded()`: text, JSON, CBOR and SenML, and nothing that a device sends does more than be data."""

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.coap import Message
from gateway.handlers import Code, ContentFormat, Device, Reject, Request, content_format, media_type
from gateway.handlers.cbor import decode_cbor, encode_cbor
from gateway.handlers.limits import CBOR_DEPTH, SENML_NAME_CHARACTERS, SENML_UNIT_CHARACTERS
from gateway.handlers.media_types import CBOR_FORMATS, JSON_FORMATS, MEDIA_TYPES, SENML_FORMATS
from gateway.handlers.senml import NotSenml, resolve_senml
from gateway.model import AuthKind, Principal

ALICE = Principal(Device("alice"), AuthKind.PSK, "c1")


def decoded(payload: bytes, number: int | None) -> Any:
    options = [] if number is None else [(12, number.to_bytes(2, "big"))]
    return Request(Message(0, 2, 1, b"", options, payload), ALICE).decoded()


@pytest.mark.parametrize(
    ("payload", "number", "value"),
    [
        (b"21.5 \xc2\xb0C", 0, "21.5 \N{DEGREE SIGN}C"),
        (b'{"a":[1,null]}', 50, {"a": [1, None]}),
        (b'[{"op":"remove","path":"/a"}]', 51, [{"op": "remove", "path": "/a"}]),
        # RFC 8949 appendix A.
        (bytes.fromhex("a26161016162820203"), 60, {"a": 1, "b": [2, 3]}),
        (bytes.fromhex("fb3ff199999999999a"), 60, 1.1),
        (bytes.fromhex("d9d9f7f6"), 60, None),
        (b"\x00\xff", 42, b"\x00\xff"),
        (b"\x00\xff", None, b"\x00\xff"),
        (b"\x00\xff", 65000, b"\x00\xff"),
    ],
)
def test_values(payload: bytes, number: int | None, value: object) -> None:
    assert decoded(payload, number) == value


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        (b"\xff", 0),
        (b"{", 50),
        (b"NaN", 50),
        (b"[" * 100_000, 50),
        (b"\xff", 60),
        (b"", 60),
        (b"{}", 110),
        (b"\x80", 112),
    ],
)  # fmt: skip
def test_what_is_not_what_it_says_is_4_00(payload: bytes, number: int) -> None:
    with pytest.raises(Reject) as caught:
        decoded(payload, number)
    assert caught.value.code == Code.BAD_REQUEST
    assert MEDIA_TYPES[number] in caught.value.diagnostic


# --- CBOR ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        "",
        "ff",
        "0000",  # something behind it
        "62ffff",  # no UTF-8
        "a201010102",  # RFC 8949 section 5.6: a key twice
        "5b00000000ffffffff",
        "9bffffffffffffffff",
        "bb00000000ffffffff",
        "81" * (CBOR_DEPTH + 1) + "00",
        "81" * 100_000,
        "c6" * 100_000 + "00",
        "1c",
        "f800",
    ],
)
def test_what_is_no_cbor(data: str) -> None:
    with pytest.raises(ValueError, match=r"CBOR|tag"):
        decode_cbor(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("data", "tag", "value"),
    [
        ("c11a514b67b0", 1, 1363896240),
        ("d823635b612d", 35, "[a-"),  # a regular expression, and a wrong one
        ("c25820" + "ff" * 32, 2, b"\xff" * 32),
        ("c482391fff1b7fffffffffffffff", 4, [-8192, 2**63 - 1]),
        ("d81c80", 28, []),
        ("d81d00", 29, 0),  # a reference to nothing
        ("d9010281 01".replace(" ", ""), 258, [1]),
    ],
)
def test_tags_are_not_interpreted(data: str, tag: int, value: object) -> None:
    found = decode_cbor(bytes.fromhex(data))
    assert (found.tag, found.value) == (tag, value)


def test_a_list_cannot_contain_itself() -> None:
    found = decode_cbor(bytes.fromhex("d81c81d81d00"))
    assert repr(found.value[0].value) == "0"


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(0, 99), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(values)
def test_whatever_is_written_is_read_again(value: object) -> None:
    assert decode_cbor(encode_cbor(value)) == value


@settings(deadline=None)
@given(st.binary(max_size=60) | values.map(cbor2.dumps).flatmap(lambda d: st.integers(0, len(d)).map(lambda n: d[:n])))
@example(b"\xc1\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00")
@example(bytes.fromhex("d90100818080"))
def test_decoding_is_total(data: bytes) -> None:
    for number in (60, 112):
        with suppress(Reject):
            decoded(data, number)


def test_what_cannot_be_written_as_cbor() -> None:
    with pytest.raises(ValueError, match="cannot be written as CBOR"):
        encode_cbor(object())
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="cannot be written as CBOR"):
        encode_cbor(loop)


# --- SenML ---------------------------------------------------------------------------------------------------------

NOW = 1_780_000_000.25

# RFC 8428 section 5.1.2: two measurements, with base values; and 5.1.4, the same resolved.
MULTIPLE = """[
    {"bn":"urn:dev:ow:10e2073a01080063:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
    {"n":"current","t":-5,"v":1.2},
    {"n":"current","t":-4,"v":1.3}
]"""
RESOLVED = [
    {"n": "urn:dev:ow:10e2073a01080063:voltage", "u": "V", "t": 1276020076.001, "v": 120.1},
    {"n": "urn:dev:ow:10e2073a01080063:current", "u": "A", "t": 1276020071.001, "v": 1.2},
    {"n": "urn:dev:ow:10e2073a01080063:current", "u": "A", "t": 1276020072.001, "v": 1.3},
]
LABELS = {
    "bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6, "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5,
    "t": 6, "ut": 7, "vd": 8,
}  # fmt: skip


def as_cbor(pack: str) -> bytes:
    return cbor2.dumps([{LABELS[name]: value for name, value in record.items()} for record in json.loads(pack)])


def test_the_rfc_s_example_in_json_and_in_cbor() -> None:
    assert decoded(MULTIPLE.encode(), ContentFormat.SENML_JSON) == RESOLVED
    assert decoded(as_cbor(MULTIPLE), ContentFormat.SENML_CBOR) == RESOLVED


@pytest.mark.parametrize(
    ("pack", "records"),
    [
        # Section 5.1.1: a single datapoint.
        ('[{"n":"urn:dev:ow:1","u":"Cel","v":23.1}]', [{"n": "urn:dev:ow:1", "u": "Cel", "v": 23.1}]),
        # Section 4.1: of a base and its value, the one that is missing counts as zero.
        ('[{"bn":"a","bv":20},{"n":"b","v":1},{"n":"c"}]', [{"n": "ab", "v": 21}, {"n": "ac", "v": 20}]),
        ('[{"bn":"a","bs":100,"s":1},{"n":"b"}]', [{"n": "a", "s": 101}, {"n": "ab", "s": 100}]),
        # A base value is for numbers.
        (
            '[{"bn":"a","bv":20,"vs":"on"},{"vb":true},{"vd":"aGk"}]',
            [{"n": "a", "vs": "on"}, {"n": "a", "vb": True}, {"n": "a", "vd": "aGk"}],
        ),
        # A base holds until another one comes.
        ('[{"bn":"a","v":1},{"bn":"b","v":2},{"v":3}]', [{"n": "a", "v": 1}, {"n": "b", "v": 2}, {"n": "b", "v": 3}]),
        ('[{"n":"a","v":1,"ut":60,"x":"unknown, and kept"}]', [{"n": "a", "v": 1, "ut": 60, "x": "unknown, and kept"}]),
    ],
)
def test_resolution(pack: str, records: list[dict[str, object]]) -> None:
    assert resolve_senml(json.loads(pack), NOW) == [{**record, "t": NOW} for record in records]


# Section 4.5.3: of base time and time the sum counts, and below 2**28 it is relative to now; missing is zero.
@pytest.mark.parametrize(
    ("fields", "absolute"),
    [
        ('"v":1', NOW),
        ('"t":0', NOW),
        ('"t":-5', NOW - 5),
        ('"t":3600', NOW + 3600),
        ('"bt":-100,"t":40', NOW - 60),
        ('"t":268435455', NOW + 268435455),
        ('"t":268435456', 268435456),
        ('"bt":268435460,"t":-4', 268435456),
        ('"bt":268435460,"t":-5', NOW + 268435455),
        ('"bt":1276020076.5,"t":-0.5', 1276020076),
    ],
)
def test_a_resolved_time_is_absolute(fields: str, absolute: float) -> None:
    [record] = resolve_senml(json.loads(f'[{{"n":"a",{fields}}}]'), NOW)
    assert record["t"] == absolute


def test_now_is_the_gateway_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.handlers.request.time", lambda: NOW)
    assert decoded(b'[{"n":"a","t":-5,"v":1}]', ContentFormat.SENML_JSON) == [{"n": "a", "t": NOW - 5, "v": 1}]


@pytest.mark.parametrize(
    "pack",
    [
        "{}",
        "[]",
        "[1]",
        '[{"v":1}]',  # no name
        '[{"n":"-a","v":1}]',  # section 4.5.1: it begins with a letter or digit
        '[{"n":"a b","v":1}]',
        '[{"n":"a","v":"1"}]',
        '[{"n":"a","v":true}]',
        '[{"n":"a","v":1e999}]',
        '[{"n":1,"v":1}]',
        '[{"bn":"a","bver":11,"v":1}]',
        '[{"n":"a","v":1,"must_":1}]',  # section 4.4
        pytest.param(f'[{{"n":"a","v":{10**400}}}]', id="no double"),
        '[{"n":"a","bv":1e308,"v":1e308}]',
        pytest.param(f'[{{"n":"a","bt":{-(10**308)},"t":{-(10**308)}}}]', id="no double together"),
    ],
)
def test_what_is_no_senml(pack: str) -> None:
    with pytest.raises(NotSenml):
        resolve_senml(json.loads(pack), NOW)


@pytest.mark.parametrize("pack", [[{0: "a", "n": "b"}], [{99: 1}], [{True: 1}], [{b"n": "a"}]])
def test_labels_that_are_none(pack: object) -> None:
    with pytest.raises(NotSenml, match="is no label, or is there twice"):
        resolve_senml(pack, NOW)


@pytest.mark.parametrize(
    ("before", "after", "most", "text"),
    [
        ('{"bn":"', '"},{"v":1}', SENML_NAME_CHARACTERS, "the name of a record"),
        ('{"n":"', '","v":1}', SENML_NAME_CHARACTERS, "the name of a record"),
        ('{"bn":"room:"},{"n":"', '","v":1}', SENML_NAME_CHARACTERS - len("room:"), "the name of a record"),
        ('{"n":"a","bu":"', '","v":1}', SENML_UNIT_CHARACTERS, "the unit of a record"),
        ('{"n":"a","u":"', '","v":1}', SENML_UNIT_CHARACTERS, "the unit of a record"),
    ],
)
def test_names_and_units_are_bounded(before: str, after: str, most: int, text: str) -> None:
    def pack(characters: int) -> bytes:
        return f"[{before}{'a' * characters}{after}]".encode()

    [record] = decoded(pack(most), ContentFormat.SENML_JSON)
    assert max(map(len, (record["n"], record.get("u", "")))) in (SENML_NAME_CHARACTERS, SENML_UNIT_CHARACTERS)
    with pytest.raises(Reject) as caught:
        decoded(pack(most + 1), ContentFormat.SENML_JSON)
    assert caught.value.code == Code.BAD_REQUEST
    assert caught.value.diagnostic.startswith(f"the payload is not valid application/senml+json: {text}")


@pytest.mark.parametrize("characters", [SENML_NAME_CHARACTERS - 1, 32_000])
def test_a_base_name_does_not_multiply(characters: int) -> None:
    """It is said once and counts for every record: half a body of name and half of records are its square."""
    body = cbor2.dumps([{-2: "a" * characters, 2: 1}] + [{0: "b", 2: 1}] * 5000)
    tracemalloc.start()
    with suppress(Reject):
        decoded(body, ContentFormat.SENML_CBOR)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024  # 160 MB of names


def test_a_refusal_is_no_echo_of_the_payload() -> None:
    with pytest.raises(Reject) as caught:
        decoded(b'[{"n":"a","' + b"x" * 50_000 + b'_":1}]', ContentFormat.SENML_JSON)
    assert "must be understood" in caught.value.diagnostic
    assert len(caught.value.diagnostic) < 200
    with pytest.raises(Reject) as caught:
        decoded(rb'[{"n":"a","\ud800_":1}]', ContentFormat.SENML_JSON)
    assert b"must be understood" in caught.value.response().payload
    with pytest.raises(Reject) as caught:
        decoded(cbor2.dumps([{b"x" * 50_000: 1}]), ContentFormat.SENML_CBOR)
    assert "is no label" in caught.value.diagnostic
    assert len(caught.value.diagnostic) < 200


# --- names ---------------------------------------------------------------------------------------------------------


def test_content_formats_by_name_and_number() -> None:
    for number, name in MEDIA_TYPES.items():
        assert content_format(name) == content_format(number) == number
        assert media_type(number) == name
    assert content_format("text/plain") == 0
    for wrong in ("text/html", "", -1, 65536):
        with pytest.raises(ValueError, match="content format"):
            content_format(wrong)


def test_every_format_that_is_decoded_has_a_name() -> None:
    assert set(JSON_FORMATS) | CBOR_FORMATS | SENML_FORMATS <= set(MEDIA_TYPES)
    assert SENML_FORMATS <= JSON_FORMATS | CBOR_FORMATS
    assert set(map(int, ContentFormat)) <= set(MEDIA_TYPES)
