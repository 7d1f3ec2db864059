"""The accessors of a message, its numbers, and what it shows of itself."""

import pytest

import gateway.coap
from gateway.coap import (
    Code,
    ContentFormat,
    Message,
    MessageType,
    Option,
    code_text,
    describe_option,
    is_critical,
    is_no_cache_key,
    is_request,
    is_response,
    is_unsafe,
)


def message(*options: tuple[int, bytes]) -> Message:
    return Message(0, 2, 1, b"", list(options))


def test_path_and_query() -> None:
    found = message((11, b"a"), (11, "é".encode()), (11, b""), (15, b"x=1"), (15, b"y"))
    assert found.uri_path == ("a", "é", "")
    assert found.uri_query == ("x=1", "y")
    assert message().uri_path == ()
    assert message((11, b"\xff")).uri_path == ("\ufffd",)


def test_uint_options() -> None:
    found = message((6, b""), (12, b"\x00\x32"), (17, b"2"))
    assert (found.observe, found.content_format, found.accept) == (0, 50, 50)
    assert (message().observe, message().content_format, message().accept) == (None, None, None)
    # RFC 7252 section 5.4.3: out of range is like unknown; 5.4.5: only the first of several counts.
    assert message((12, b"\x00\x00\x32")).content_format is None
    assert message((12, b"2"), (12, b"3")).content_format == 50


def test_any_option() -> None:
    found = message((4, b"e1"), (4, b"e2"))
    assert found.option(4) == b"e1"
    assert found.option_values(4) == [b"e1", b"e2"]
    assert found.option(5) is None
    assert found.option_values(5) == []


def test_equality() -> None:
    parts = (0, 2, 1, b"t", [(11, b"a")], b"p")
    others = [(1, *parts[1:]), (0, 3, *parts[2:]), (0, 2, 2, *parts[3:]), (0, 2, 1, b"u", *parts[4:])]
    others += [(*parts[:4], [], b"p"), (*parts[:5], b"q")]
    assert Message(*parts) == Message(*parts)
    for other in others:
        assert Message(*parts) != Message(*other)
    assert Message(*parts) != parts
    with pytest.raises(TypeError):
        hash(Message(*parts))


def test_repr_holds_no_values() -> None:
    shown = repr(Message(0, 0x45, 7, b"\xab", [(11, b"secret-path")], b"secret-payload"))
    assert shown == "<Message CON 2.05 id=7 token=ab options=[11] payload=14B>"


# RFC 7252 table 4: the columns C, U and N.
@pytest.mark.parametrize(
    ("option", "critical", "unsafe", "no_cache_key"),
    [
        (Option.IF_MATCH, True, False, False),
        (Option.URI_HOST, True, True, False),
        (Option.ETAG, False, False, False),
        (Option.IF_NONE_MATCH, True, False, False),
        (Option.URI_PORT, True, True, False),
        (Option.LOCATION_PATH, False, False, False),
        (Option.URI_PATH, True, True, False),
        (Option.CONTENT_FORMAT, False, False, False),
        (Option.MAX_AGE, False, True, False),
        (Option.URI_QUERY, True, True, False),
        (Option.ACCEPT, True, False, False),
        (Option.LOCATION_QUERY, False, False, False),
        (Option.PROXY_URI, True, True, False),
        (Option.PROXY_SCHEME, True, True, False),
        (Option.SIZE1, False, False, True),
    ],
)
def test_what_an_option_number_says(option: Option, critical: bool, unsafe: bool, no_cache_key: bool) -> None:
    assert (is_critical(option), is_unsafe(option)) == (critical, unsafe)
    assert is_no_cache_key(option) == no_cache_key


# RFC 7252 section 12.1.2 and the RFCs that added to it, in the notation of the registry.
@pytest.mark.parametrize(
    ("code", "text"),
    [
        (Code.EMPTY, "0.00"),
        (Code.IPATCH, "0.07"),
        (Code.CREATED, "2.01"),
        (Code.CONTENT, "2.05"),
        (Code.CONTINUE, "2.31"),
        (Code.BAD_OPTION, "4.02"),
        (Code.METHOD_NOT_ALLOWED, "4.05"),
        (Code.NOT_ACCEPTABLE, "4.06"),
        (Code.REQUEST_ENTITY_INCOMPLETE, "4.08"),
        (Code.CONFLICT, "4.09"),
        (Code.PRECONDITION_FAILED, "4.12"),
        (Code.REQUEST_ENTITY_TOO_LARGE, "4.13"),
        (Code.UNSUPPORTED_CONTENT_FORMAT, "4.15"),
        (Code.UNPROCESSABLE_ENTITY, "4.22"),
        (Code.TOO_MANY_REQUESTS, "4.29"),
        (Code.INTERNAL_SERVER_ERROR, "5.00"),
        (Code.PROXYING_NOT_SUPPORTED, "5.05"),
        (Code.HOP_LIMIT_REACHED, "5.08"),
    ],
)
def test_codes(code: Code, text: str) -> None:
    assert code_text(code) == text


def test_classes_of_codes() -> None:
    assert [code for code in range(256) if is_request(code)] == list(range(1, 32))
    assert [code for code in range(256) if is_response(code)] == list(range(0x40, 0xC0))


def test_names() -> None:
    assert describe_option(11) == "11 (Uri-Path)"
    assert describe_option(25) == "25"
    assert [member.name for member in MessageType] == ["CON", "NON", "ACK", "RST"]
    assert int(ContentFormat.SENML_CBOR) == 112


def test_exports() -> None:
    for name in gateway.coap.__all__:
        assert hasattr(gateway.coap, name)
    assert len(set(gateway.coap.__all__)) == len(gateway.coap.__all__)
