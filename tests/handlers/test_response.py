"""Responses, seen by the codec of aiocoap."""

from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.coap import Message, encode
from gateway.handlers import AUTO, Changed, Code, Content, ContentFormat, Created, Deleted, Reject, Response


def on_the_wire(response: Response) -> Any:
    """The response as aiocoap decodes it."""
    return aiocoap.Message.decode(encode(Message(2, response.code, 7, b"t", response.options, response.payload)))


def test_aiocoap_reads_what_was_meant() -> None:
    response = Content({"a": 1}, max_age=90, etag=b"v1", options=[(2048, b"x"), (1, b"y")])
    assert [number for number, _ in response.options] == [1, 4, 12, 14, 2048]
    message = on_the_wire(response)
    assert (message.code, message.payload) == (aiocoap.CONTENT, b'{"a":1}')
    assert message.opt.content_format == aiocoap.numbers.ContentFormat.JSON
    assert (message.opt.max_age, message.opt.etag) == (90, b"v1")
    assert [int(option.number) for option in message.opt.option_list()] == [1, 4, 12, 14, 2048]


@pytest.mark.parametrize(
    ("response", "code", "payload", "content_format"),
    [
        (Content(), aiocoap.CONTENT, b"", None),
        (Content("x"), aiocoap.CONTENT, b"x", 0),
        (Content(b"x"), aiocoap.CONTENT, b"x", 42),
        (Content(b"x", content_format=None), aiocoap.CONTENT, b"x", None),
        (Content(b"\xa0", content_format=ContentFormat.CBOR), aiocoap.CONTENT, b"\xa0", 60),
        (Content(b"\xa0", content_format=65535), aiocoap.CONTENT, b"\xa0", 65535),
        (Changed(), aiocoap.CHANGED, b"", None),
        (Changed("x"), aiocoap.CHANGED, b"x", 0),
        (Changed([]), aiocoap.CHANGED, b"[]", 50),
        (Created(), aiocoap.CREATED, b"", None),
        (Created(payload="x"), aiocoap.CREATED, b"x", 0),
        (Deleted(), aiocoap.DELETED, b"", None),
        (Response("why", Code.NOT_FOUND), aiocoap.NOT_FOUND, b"why", None),
        (Response({"why": 1}, Code.NOT_FOUND), aiocoap.NOT_FOUND, b'{"why":1}', 50),
        (Response("why", Code.NOT_FOUND, content_format=0), aiocoap.NOT_FOUND, b"why", 0),
        (Reject(Code.TOO_MANY_REQUESTS, "slow").response(), aiocoap.TOO_MANY_REQUESTS, b"slow", None),
    ],
)
def test_content_format_follows_from_the_payload(
    response: Response, code: int, payload: bytes, content_format: int | None
) -> None:
    message = on_the_wire(response)
    assert (message.code, message.payload) == (code, payload)
    seen = message.opt.content_format
    assert (None if seen is None else int(seen)) == content_format
    assert response.content_format == content_format


@pytest.mark.parametrize(
    ("location", "path"),
    [("/things/7", ("things", "7")), ("/", ()), ("/things/", ("things", ""))],
)
def test_location_of_what_was_created(location: str, path: tuple[str, ...]) -> None:
    assert on_the_wire(Created(location)).opt.location_path == path


def test_location_and_other_properties_are_read_back() -> None:
    response = Created("/things/7", etag=b"\x01")
    assert (response.location, response.etag, response.max_age) == ("/things/7", b"\x01", None)
    assert (Changed().location, Changed().etag) == (None, None)
    assert Changed(etag=b"v2").etag == b"v2"
    assert Changed(options=[(2048, b"x")]).option(2048) == b"x"
    assert Content({"a": 1}).json() == {"a": 1}
    assert Content("x").text() == "x"
    assert (Content().ok, Response(code=Code.NOT_FOUND).ok) == (True, False)


def test_answers_do_not_share_their_options() -> None:
    first, second = Content("x"), Content("y")
    first.options.append((14, b"\x01"))
    assert second.options == Content("z").options == [(12, b"")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_age": -1}, ValueError),
        ({"max_age": 2**32}, ValueError),
        ({"etag": b""}, ValueError),
        ({"etag": b"123456789"}, ValueError),
        ({"payload": b"x", "content_format": 65536}, ValueError),
        ({"payload": b"x", "content_format": AUTO - 1}, ValueError),
        ({"payload": {"a": float("inf")}}, ValueError),
        ({"payload": {"a": object()}}, TypeError),
        ({"payload": 5}, TypeError),
        ({"payload": None}, TypeError),
    ],
)
def test_what_cannot_be_sent_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Response(**arguments)


def test_location_must_be_a_path() -> None:
    with pytest.raises(ValueError, match="absolute path"):
        Created("things/7")


@pytest.mark.parametrize("code", [Code.CONTENT, Code.GET, Code.EMPTY, 0x7F, 0xC0])
def test_reject_takes_error_codes_only(code: int) -> None:
    with pytest.raises(ValueError, match="return a Response"):
        Reject(code)


def test_reject_without_a_code_says_what_to_write() -> None:
    text: Any = "no"
    with pytest.raises(
        TypeError, match=r"""^Reject takes a code first, as in Reject\(Code\.FORBIDDEN, "why"\), not 'no'$"""
    ):
        Reject(text)


def test_repr_holds_no_payload() -> None:
    assert repr(Content("secret")) == "<Content 2.05 6 bytes>"
    assert repr(Reject(Code.NOT_FOUND).response()) == "<Response 4.04 0 bytes>"
