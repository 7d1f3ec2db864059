"""What a handler learns of a request. The requests are composed by aiocoap."""

from typing import Any

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.coap import decode
from gateway.handlers import App, Code, ContentFormat, Device, Principal, Reject, Request, TestClient
from gateway.model import AuthKind

PRINCIPAL = Principal(Device("dev1", tenant_id="acme"), AuthKind.X509, "c1")


def composed(uri: str, payload: bytes = b"", **options: Any) -> Request:
    message = aiocoap.Message(code=aiocoap.POST, uri="coaps://host" + uri, payload=payload, **options)
    message.mtype, message.mid, message.token = aiocoap.CON, 1, b"t"
    return Request(decode(message.encode()), PRINCIPAL)


def test_device_and_principal() -> None:
    request = composed("/a")
    assert request.device == Device("dev1", tenant_id="acme")
    assert request.principal is PRINCIPAL


@pytest.mark.parametrize(
    ("uri", "segments", "path"),
    [
        ("/", (), "/"),
        ("/a/b", ("a", "b"), "/a/b"),
        ("/a/", ("a", ""), "/a/"),
        ("/a%2Fb/c%20d", ("a/b", "c d"), "/a%2Fb/c%20d"),
        ("/%C3%A9?x", ("\N{LATIN SMALL LETTER E WITH ACUTE}",), "/%C3%A9"),
        ("/a:b@c;d=e", ("a:b@c;d=e",), "/a:b@c;d=e"),
    ],
)
def test_path(uri: str, segments: tuple[str, ...], path: str) -> None:
    request = composed(uri)
    assert (request.segments, request.path) == (segments, path)


@pytest.mark.parametrize(
    ("uri", "query"),
    [
        ("/a", {}),
        ("/a?x=1&y=2", {"x": "1", "y": "2"}),
        ("/a?x=1&x=2", {"x": "2"}),
        ("/a?flag&x=", {"flag": "", "x": ""}),
        ("/a?x=1=2", {"x": "1=2"}),
        ("/a?x=%26", {"x": "&"}),
    ],
)
def test_query(uri: str, query: dict[str, str]) -> None:
    assert composed(uri).query == query


def test_formats() -> None:
    request = composed("/a", b"{}", content_format=ContentFormat.JSON, accept=ContentFormat.CBOR)
    assert (request.method, request.content_format, request.accept) == (Code.POST, 50, 60)
    assert (composed("/a").content_format, composed("/a").accept) == (None, None)


@pytest.mark.parametrize("content_format", [None, 0, 50, 42])
@pytest.mark.parametrize(
    ("payload", "value"), [(b'{"a":1.5}', {"a": 1.5}), (b" [] ", []), (b"null", None), (b'"\\ud800"', "\ud800")]
)
def test_json(payload: bytes, value: object, content_format: int | None) -> None:
    options = {} if content_format is None else {"content_format": content_format}
    assert composed("/a", payload, **options).json() == value


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"{} {}",
        b"\xff",
        b'{"a":NaN}',
        b"Infinity",
        b"-Infinity",
        b"'a'",
        b"[" * 60_000,
        b'{"a":' * 60_000,
        b"9" * 60_000,
        b'"\n"',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda payload: repr(payload[:12]),
)
def test_what_is_no_json_is_refused(payload: bytes) -> None:
    """RFC 8259, without Python's extensions; and nothing a device sends makes the parser fail otherwise."""
    for content_format, code in [(50, Code.BAD_REQUEST), (60, Code.UNSUPPORTED_CONTENT_FORMAT)]:
        with pytest.raises(Reject) as caught:
            composed("/a", payload, content_format=content_format).json()
        assert caught.value.code == code
        assert "JSON" in caught.value.diagnostic


def test_text() -> None:
    assert composed("/a", b"\xc2\xb0C").text() == "\N{DEGREE SIGN}C"
    with pytest.raises(Reject, match="not valid UTF-8") as caught:
        composed("/a", b"\xff").text()
    assert caught.value.code == Code.BAD_REQUEST
    with pytest.raises(Reject) as caught:
        composed("/a", b"\xff", content_format=42).text()
    assert caught.value.code == Code.UNSUPPORTED_CONTENT_FORMAT


def test_params_by_name() -> None:
    seen: list[dict[str, str]] = []
    app = App()
    app.post("/{a}/{b}/{rest:path}")(lambda request: seen.append(request.params))
    TestClient(app).post("/1/2/3/4")
    assert seen == [{"a": "1", "b": "2", "rest": "3/4"}]
    assert composed("/a").params == {}


def test_repr_holds_no_payload_and_no_path() -> None:
    assert repr(composed("/secret", b"secret")) == "<Request code=2 device='dev1' 6 bytes>"
