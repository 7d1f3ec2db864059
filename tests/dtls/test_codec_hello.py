"""ClientHello, HelloVerifyRequest, ServerHello: bytes put together by hand from RFC 5246 7.4.1 and RFC 6347 4.2.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import DecodeError
from gateway.dtls.limits import MAX_EXTENSIONS
from gateway.dtls.messages.hello import ClientHello, HelloPrefix, HelloVerifyRequest, ServerHello

RANDOM = bytes(range(32))
R = RANDOM.hex()

CLIENT_HELLOS = {
    # version, random, session id, cookie, suites, compression methods; no extension block (node-dtls-client)
    "no-extensions": (f"fefd{R}00000002c0a80100", ClientHello(RANDOM, (0xC0A8,))),
    "empty-extension-block": (f"fefd{R}00000002c0a801000000", ClientHello(RANDOM, (0xC0A8,), {})),
    # extensions: 0x0017 empty, 0xff01 with one zero byte: 2 + 2 and 2 + 2 + 1 = 9 bytes
    "everything": (
        f"feff{R}02aabb03010203000400a8c0ae0201000009" + "00170000" + "ff01000100",
        ClientHello(
            RANDOM, (0x00A8, 0xC0AE), {0x17: b"", 0xFF01: b"\x00"}, b"\xaa\xbb", b"\x01\x02\x03", b"\x01\x00", 0xFEFF
        ),
    ),
    "longest-session-id": (f"fefd{R}20{'5a' * 32}000002c0a80100", ClientHello(RANDOM, (0xC0A8,), None, b"Z" * 32)),
    "longest-cookie": (f"fefd{R}00ff{'5a' * 255}0002c0a80100", ClientHello(RANDOM, (0xC0A8,), None, b"", b"Z" * 255)),
    "unknown-suite-and-extension": (
        f"fefd{R}0000000413375a5a01000006" + "fafa0002beef",
        ClientHello(RANDOM, (0x1337, 0x5A5A), {0xFAFA: b"\xbe\xef"}),
    ),
}

BAD_CLIENT_HELLOS = {
    "nothing": "",
    "cut-in-random": f"fefd{R}"[:-2],
    "session-id-of-33": f"fefd{R}21{'00' * 33}000002c0a80100",
    "session-id-cut": f"fefd{R}05aabb",
    "cookie-cut": f"fefd{R}0005aabb",
    "no-suites": f"fefd{R}000000000100",
    "odd-suites": f"fefd{R}00000003c0a8c00100",
    "suites-cut": f"fefd{R}00000004c0a8",
    "no-compression-methods": f"fefd{R}00000002c0a800",
    "compression-cut": f"fefd{R}00000002c0a80200",
    "extension-block-length-cut": f"fefd{R}00000002c0a8010000",
    "extension-block-longer-than-message": f"fefd{R}00000002c0a80100000500170000",
    "bytes-after-extension-block": f"fefd{R}00000002c0a801000004001700000f",
    "extension-header-cut": f"fefd{R}00000002c0a8010000030017" + "00",
    "extension-body-cut": f"fefd{R}00000002c0a8010000050017000200",
    # RFC 5246 7.4.1.4: "There MUST NOT be more than one extension of the same type."
    "same-extension-twice": f"fefd{R}00000002c0a8010000080017000000170000",
    "too-many-extensions": f"fefd{R}00000002c0a80100"
    + (4 * (MAX_EXTENSIONS + 1)).to_bytes(2, "big").hex()
    + "".join(f"{number:04x}0000" for number in range(MAX_EXTENSIONS + 1)),
}


@pytest.mark.parametrize(("data", "hello"), CLIENT_HELLOS.values(), ids=CLIENT_HELLOS)
def test_client_hello(data: str, hello: ClientHello) -> None:
    assert ClientHello.decode(bytes.fromhex(data)) == hello
    assert hello.encode().hex() == data


@pytest.mark.parametrize("data", BAD_CLIENT_HELLOS.values(), ids=BAD_CLIENT_HELLOS)
def test_broken_client_hello(data: str) -> None:
    with pytest.raises(DecodeError):
        ClientHello.decode(bytes.fromhex(data))


def test_client_hello_with_as_many_extensions_as_allowed() -> None:
    extensions = dict.fromkeys(range(MAX_EXTENSIONS), b"")
    hello = ClientHello(RANDOM, (0xC0A8,), extensions)
    assert ClientHello.decode(hello.encode()).extensions == extensions


def test_extensions_keep_their_order() -> None:
    extensions = {5: b"", 1: b"", 9: b"", 3: b""}
    decoded = ClientHello.decode(ClientHello(RANDOM, (0xC0A8,), extensions).encode())
    assert list(decoded.extensions or ()) == [5, 1, 9, 3]


@pytest.mark.parametrize(
    ("data", "hello"),
    [
        (f"fefd{R}00c0a800", ServerHello(RANDOM, 0xC0A8)),
        (
            f"fefd{R}01aac02b00000400170000",
            ServerHello(RANDOM, 0xC02B, {0x17: b""}, b"\xaa"),
        ),
        (f"feff{R}00c02b01", ServerHello(RANDOM, 0xC02B, None, b"", 1, 0xFEFF)),
    ],
)
def test_server_hello(data: str, hello: ServerHello) -> None:
    assert ServerHello.decode(bytes.fromhex(data)) == hello
    assert hello.encode().hex() == data


@pytest.mark.parametrize(
    "data",
    [
        "",
        f"fefd{R}21" + "00" * 33 + "c0a800",
        f"fefd{R}00c0",
        f"fefd{R}00c0a8",
        f"fefd{R}00c0a80000",
        f"fefd{R}00c0a8000004001700",
        f"fefd{R}00c0a80000080017000000170000",
        f"fefd{R}00c0a800000000",
    ],
)
def test_broken_server_hello(data: str) -> None:
    with pytest.raises(DecodeError):
        ServerHello.decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        ("feff00", HelloVerifyRequest(b"")),
        ("feff03010203", HelloVerifyRequest(b"\x01\x02\x03")),
        ("fefdff" + "5a" * 255, HelloVerifyRequest(b"Z" * 255, 0xFEFD)),
    ],
)
def test_hello_verify_request(data: str, request_: HelloVerifyRequest) -> None:
    assert HelloVerifyRequest.decode(bytes.fromhex(data)) == request_
    assert request_.encode().hex() == data


@pytest.mark.parametrize("data", ["", "fe", "feff", "feff01", "feff0000"])
def test_broken_hello_verify_request(data: str) -> None:
    with pytest.raises(DecodeError):
        HelloVerifyRequest.decode(bytes.fromhex(data))


PREFIX = f"fefd{R}02aabb03010203000400a8c0ae0100"


def test_prefix_leaves_out_the_cookie_and_nothing_else() -> None:
    prefix = HelloPrefix.decode(bytes.fromhex(PREFIX))
    assert prefix.random == RANDOM
    assert prefix.cookie == b"\x01\x02\x03"
    assert prefix.parameters.hex() == f"fefd{R}02aabb" + "000400a8c0ae" + "0100"


def test_prefix_does_not_look_past_the_compression_methods() -> None:
    exact = bytes.fromhex(PREFIX)
    assert HelloPrefix.decode(exact + b"\xff\xff\xff") == HelloPrefix.decode(exact)
    for length in range(len(exact)):
        with pytest.raises(DecodeError):
            HelloPrefix.decode(exact[:length])


extension_maps = st.none() | st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=40), max_size=MAX_EXTENSIONS)
u16s = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=200).map(tuple)
randoms = st.binary(min_size=32, max_size=32)
session_ids = st.binary(max_size=32)


@given(
    st.builds(
        ClientHello,
        random=randoms,
        cipher_suites=u16s,
        extensions=extension_maps,
        session_id=session_ids,
        cookie=st.binary(max_size=255),
        compression_methods=st.binary(min_size=1, max_size=255),
        version=st.integers(0, 0xFFFF),
    )
)
def test_client_hello_round_trip(hello: ClientHello) -> None:
    data = hello.encode()
    assert ClientHello.decode(data) == hello
    prefix = HelloPrefix.decode(data)
    assert (prefix.random, prefix.cookie) == (hello.random, hello.cookie)


@given(
    st.builds(
        ServerHello,
        random=randoms,
        cipher_suite=st.integers(0, 0xFFFF),
        extensions=extension_maps,
        session_id=session_ids,
        compression_method=st.integers(0, 255),
        version=st.integers(0, 0xFFFF),
    )
)
def test_server_hello_round_trip(hello: ServerHello) -> None:
    assert ServerHello.decode(hello.encode()) == hello


@given(st.builds(HelloVerifyRequest, cookie=st.binary(max_size=255), version=st.integers(0, 0xFFFF)))
def test_hello_verify_request_round_trip(request_: HelloVerifyRequest) -> None:
    assert HelloVerifyRequest.decode(request_.encode()) == request_
