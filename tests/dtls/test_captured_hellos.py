"""ClientHellos of foreign clients: read as they meant them, written back to the byte, and answered."""

from dataclasses import replace

import pytest

from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.framing import decode_fragments
from gateway.dtls.messages.hello import ClientHello, HelloPrefix, HelloVerifyRequest, ServerHello
from gateway.dtls.numbers import ExtensionType
from gateway.dtls.record import split_records
from tests.dtls.captured import CAPTURES, Capture
from tests.dtls.rawclient import HANDSHAKE, handshake, raw_record, split
from tests.dtls.support import World

each = pytest.mark.parametrize("capture", CAPTURES.values(), ids=CAPTURES)


def body(capture: Capture) -> bytes:
    (record,), whole = split_records(capture.datagram)
    assert whole
    (fragment,) = decode_fragments(record.fragment)
    assert (fragment.type, fragment.message_seq, fragment.offset) == (1, 0, 0)
    assert fragment.length == len(fragment.data)
    return fragment.data


@each
def test_is_read_as_it_was_meant(capture: Capture) -> None:
    hello = ClientHello.decode(body(capture))
    assert hello.version == 0xFEFD
    assert (hello.session_id, hello.cookie, hello.compression_methods) == (b"", b"", b"\x00")
    assert hello.cipher_suites == capture.suites
    assert hello.extensions is not None
    assert tuple(hello.extensions) == capture.extensions
    name = hello.extensions.get(ExtensionType.SERVER_NAME)
    assert (ext.decode_server_name(name) if name is not None else None) == capture.server_name


@each
def test_is_written_back_to_the_byte(capture: Capture) -> None:
    assert ClientHello.decode(body(capture)).encode() == body(capture)


@each
def test_prefix_covers_all_but_cookie_and_extensions(capture: Capture) -> None:
    data = body(capture)
    prefix = HelloPrefix.decode(data)
    assert prefix.random == data[2:34]
    # No session id and no cookie: one length byte each, at 34 and 35; the cookie's is left out.
    end = 36 + 2 + 2 * len(capture.suites) + 2
    assert prefix.parameters == data[:35] + data[36:end]


@each
def test_is_challenged_then_answered_with_the_server_s_first_choice(capture: Capture) -> None:
    world = World()
    (challenge,) = world.deliver(capture.datagram)
    assert len(challenge) <= len(capture.datagram)
    ((_, _, number, content),) = split(challenge)
    assert number == 0
    cookie = HelloVerifyRequest.decode(content[12:]).cookie
    second = replace(ClientHello.decode(body(capture)), cookie=cookie).encode()
    flight = world.deliver(raw_record(HANDSHAKE, 1, handshake(1, 1, second)))
    _, _, number, content = split(flight[0])[0]
    length = int.from_bytes(content[1:4], "big")
    assert number == 1
    assert content[0] == 2
    hello = ServerHello.decode(content[12 : 12 + length])
    assert hello.cipher_suite == capture.chosen
    # RFC 5246 7.4.1.4: nothing that the client did not offer; RFC 5746 3.6: the SCSV counts as an offer.
    assert set(hello.extensions or ()) <= {*capture.extensions, 0xFF01}
    assert {23, 0xFF01} <= set(hello.extensions or ())
