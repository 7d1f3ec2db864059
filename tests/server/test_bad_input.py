"""The table "Bad input" of docs/coap.md, row by row, by bytes that no library would send, through a whole gateway."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.coap import limits
from gateway.handlers import App, Content, Request
from tests.coap.strategies import wire
from tests.server.support import Gateway, WireDevice, running

pytestmark = pytest.mark.asyncio

RST = "70000001"
NOTHING = None
# 4.02, 4.05 and so on, as the code byte.
BAD_REQUEST, BAD_OPTION, METHOD_NOT_ALLOWED, INCOMPLETE, TOO_LARGE = 0x80, 0x82, 0x85, 0x88, 0x8D
CONTENT, CHANGED, CONTINUE = 0x45, 0x44, 0x5F


class Sender:
    """A device that sends bytes and sees what comes back for them.

    Attributes:
        calls: Payloads that came to a handler.
    """

    def __init__(self, wire: WireDevice, calls: list[bytes]) -> None:
        self.calls = calls
        self._wire = wire
        self._pings = 0x8000

    async def send(self, message: str | bytes) -> bytes | None:
        """The answer; None if there is none: then the next one is that to a ping."""
        data = bytes.fromhex(message) if isinstance(message, str) else message
        self._pings += 1
        ping = self._pings.to_bytes(2, "big")
        self._wire.send(self._wire.client.data(data))
        self._wire.send(self._wire.client.data(b"\x40\x00" + ping))
        answer = await self._wire.plaintext()
        if answer == b"\x70\x00" + ping:
            return None
        assert await self._wire.plaintext() == b"\x70\x00" + ping
        return answer

    async def expect(self, message: str, answer: str | None) -> None:
        """No handler runs, and this comes back."""
        found = await self.send(message)
        assert (None if found is None else found.hex()) == answer, message
        assert self.calls == []

    async def code(self, message: str | bytes) -> int:
        """The code of the answer."""
        answer = await self.send(message)
        assert answer is not None
        return answer[1]


@pytest.fixture
def calls() -> list[bytes]:
    """The payloads that the handler has seen."""
    return []


@pytest_asyncio.fixture
async def gateway(tmp_path: Path, calls: list[bytes]) -> AsyncIterator[Gateway]:
    app = App()

    @app.route("/a", methods=["GET", "POST"], max_body=100)
    def a(request: Request) -> Content:
        calls.append(request.payload)
        return Content(request.payload or b"x" * 100, content_format=None, max_age=request.content_format)

    async with running(tmp_path, app) as gateway:
        yield gateway


@pytest_asyncio.fixture
async def device(gateway: Gateway, calls: list[bytes]) -> AsyncIterator[Sender]:
    async with gateway.wire() as own:
        yield Sender(own, calls)


# b161 is Uri-Path "a". A message is type and token length, code, message id, token, options, payload.
A = "b161"


@pytest.mark.parametrize("message", ["", "40", "400100", "00010001" + A, "80010001" + A, "c0010001" + A])
async def test_a_header_that_is_none_gets_nothing(device: Sender, message: str) -> None:
    if message:
        await device.expect(message, NOTHING)


MALFORMED = [
    "400100 01f1".replace(" ", ""),  # delta 15
    "40010001b2",  # a value that is not there
    "40010001" + A + "ff",
    "49010001000000000000000000",
    "42010001aa",  # a token that is cut off
    "400000 01b161".replace(" ", ""),  # an Empty message that is not
]


@pytest.mark.parametrize("message", MALFORMED)
async def test_a_malformed_confirmable_message_is_reset(device: Sender, message: str) -> None:
    await device.expect(message, RST)


@pytest.mark.parametrize("message", MALFORMED)
async def test_a_malformed_non_confirmable_message_gets_nothing(device: Sender, message: str) -> None:
    await device.expect(f"5{message[1:]}", NOTHING)


@pytest.mark.parametrize("option", ["f0", "f1", "0f", "1f", "ef0000", "f16161", "bf"])
async def test_an_option_nibble_of_15_is_reset(device: Sender, option: str) -> None:
    await device.expect(f"40010001{option}", RST)


@pytest.mark.parametrize("options", ["b1", "b2" + "61", "bd", "be00", "d0", "e000", A + "bd0161"])
async def test_options_past_the_end_are_reset(device: Sender, options: str) -> None:
    await device.expect(f"40010001{options}", RST)


@pytest.mark.parametrize("options", ["", A, A + "1132"])
async def test_a_payload_marker_with_nothing_behind_is_reset(device: Sender, options: str) -> None:
    await device.expect(f"40020001{options}ff", RST)


@pytest.mark.parametrize("length", range(9, 16))
async def test_a_token_of_9_to_15_bytes_is_reset(device: Sender, length: int) -> None:
    await device.expect(f"4{length:x}010001" + "aa" * length + A, RST)


async def refused(device: Sender, options: str) -> None:
    """4.02 for a confirmable request, RST for one that is not, and no handler runs."""
    assert await device.code(f"40010001{options}") == BAD_OPTION
    assert await device.send(f"50010002{options}") == bytes.fromhex("70000002")
    assert device.calls == []


@pytest.mark.parametrize(
    "options",
    [
        A + "6100" + "0100",  # Accept
        "3161" + "0162" + "8161",  # Uri-Host
        A + "c10e" + "010e",  # Block2
        "50" + "00" + "6161",  # If-None-Match
    ],
)
async def test_a_repeated_critical_option_is_4_02_or_rst(device: Sender, options: str) -> None:
    await refused(device, options)


async def test_of_a_repeated_elective_option_the_first_counts(device: Sender) -> None:
    # Content-Format 50 and then 60; the handler says which one it saw by Max-Age.
    answer = await device.send("40020001" + A + "1132" + "013c" + "ff78")
    assert answer is not None
    assert (answer[1], answer[4:6].hex()) == (CONTENT, "d101")
    assert answer[6] == 50


def asking(message_id: int, kind: int, *options: tuple[int, bytes]) -> bytes:
    """GET /a with further options, by an encoder that knows nothing of ours."""
    return wire(kind, 1, message_id, b"", sorted([(11, b"a"), *options]), b"")


# OSCORE, Q-Block1, EDHOC, Q-Block2, and numbers that nobody has.
@pytest.mark.parametrize("number", [9, 13, 19, 21, 31, 2049, 65535])
async def test_an_unknown_critical_option_is_4_02_or_rst(device: Sender, number: int) -> None:
    assert await device.code(asking(1, 0, (number, b"x"))) == BAD_OPTION
    assert await device.send(asking(2, 1, (number, b"x"))) == bytes.fromhex("70000002")
    assert device.calls == []


@pytest.mark.parametrize("number", [2, 10, 22, 26, 1000, 2048, 65534])
async def test_an_unknown_elective_option_is_ignored(device: Sender, number: int) -> None:
    assert await device.code(asking(1, 0, (number, b"x" * 20))) == CONTENT
    assert len(device.calls) == 1


@pytest.mark.parametrize(
    "options",
    [
        "30" + "8161",  # an empty Uri-Host
        "73010203" + "4161",  # a Uri-Port of 3 bytes
        A + "63010203",  # an Accept of 3
        A + "c401020304",  # a Block2 of 4
        "19010203040506070809" + "a161",  # an If-Match of 9
        "5161" + "6161",  # an If-None-Match with a value
        "b1ff",  # a Uri-Path that is no UTF-8
        "b22e2e" + "0161",  # "..": RFC 7252 section 5.10.1
    ],
)
async def test_a_critical_option_of_a_wrong_length_is_4_02_or_rst(device: Sender, options: str) -> None:
    await refused(device, options)


@pytest.mark.parametrize("method", [8, 9, 31])
async def test_an_unknown_method_is_4_05(device: Sender, method: int) -> None:
    assert await device.code(f"40{method:02x}0001" + A) == METHOD_NOT_ALLOWED
    assert device.calls == []


# --- blocks --------------------------------------------------------------------------------------------------------


def block(
    message_id: int, number: int, more: bool, payload: bytes, rest: str = "", szx: int = 0, before: str = ""
) -> bytes:
    """POST /a with a Block1 option; by hand."""
    value = number << 4 | more << 3 | szx
    data = value.to_bytes((value.bit_length() + 7) // 8, "big").hex()
    delta = 27 - 11 - (1 if before else 0)
    head = f"4002{message_id:04x}{A}{before}d{len(data) // 2:x}{delta - 13:02x}{data}{rest}"
    return bytes.fromhex(head) + (b"\xff" + payload if payload else b"")


SIXTEEN = b"sixteen bytes..."


async def goes_on(device: Sender, message_id: int) -> None:
    """The transfer that was begun with one block of 16 bytes is unharmed."""
    assert await device.code(block(message_id, 1, False, b"end")) == CONTENT
    assert device.calls == [SIXTEEN + b"end"]


@pytest.mark.parametrize("options", [A + "d1030f", A + "d10307", A + "c107", A + "c10f"])
async def test_the_reserved_block_size_is_4_00(device: Sender, options: str) -> None:
    assert await device.code(f"40020001{options}ff" + "78" * 16) == BAD_REQUEST
    assert device.calls == []


async def test_a_block_of_another_length_is_4_00(device: Sender) -> None:
    assert await device.code(block(1, 0, True, SIXTEEN)) == CONTINUE
    for message_id, payload in enumerate((SIXTEEN[:15], SIXTEEN + b"x", b""), 2):
        assert await device.code(block(message_id, 1, True, payload)) == BAD_REQUEST
    assert await device.code(block(9, 1, False, SIXTEEN + b"x")) == BAD_REQUEST
    await goes_on(device, 10)


async def test_blocks_out_of_order_are_4_08(device: Sender) -> None:
    assert await device.code(block(1, 1, True, SIXTEEN)) == INCOMPLETE
    assert await device.code(block(2, 0, True, SIXTEEN)) == CONTINUE
    assert await device.code(block(3, 2, True, SIXTEEN)) == INCOMPLETE
    assert await device.code(block(4, 5, False, SIXTEEN)) == INCOMPLETE
    await goes_on(device, 5)


async def test_an_older_block_again_is_2_31(device: Sender) -> None:
    for message_id, number in enumerate((0, 1, 2, 1, 2), 1):
        assert await device.code(block(message_id, number, True, SIXTEEN)) == CONTINUE
    assert await device.code(block(6, 1, True, b"sixteen others..")) == INCOMPLETE
    assert await device.code(block(7, 3, False, b"end")) == CONTENT
    assert device.calls == [SIXTEEN * 3 + b"end"]


async def test_overlapping_blocks_are_4_08(device: Sender) -> None:
    assert await device.code(block(1, 0, True, SIXTEEN * 2, szx=1)) == CONTINUE
    assert await device.code(block(2, 1, True, b"sixteen others..")) == INCOMPLETE
    assert await device.code(block(3, 1, False, b"others")) == INCOMPLETE
    assert await device.code(block(4, 2, False, b"end")) == CONTENT
    assert device.calls == [SIXTEEN * 2 + b"end"]


async def test_a_block_of_another_content_format_is_4_08(device: Sender) -> None:
    assert await device.code(block(1, 0, True, SIXTEEN)) == CONTINUE
    assert await device.code(block(2, 1, False, b"end", before="1132")) == INCOMPLETE
    await goes_on(device, 3)


def size1(answer: bytes | None) -> int:
    """Of a 4.13, whose first option it is."""
    assert answer is not None
    assert (answer[1], answer[4:6].hex()) == (TOO_LARGE, "d12f")  # 13 + 47 = 60, one byte
    return answer[6]


async def test_a_body_that_says_it_is_too_large_is_4_13_at_once(device: Sender) -> None:
    # Size1 is 60, so 33 behind Block1.
    assert size1(await device.send(block(1, 0, True, SIXTEEN, rest="d11465"))) == 100
    assert await device.code(block(2, 1, False, b"end")) == INCOMPLETE


async def test_a_body_that_never_ends_is_4_13(device: Sender) -> None:
    for number in range(6):
        assert await device.code(block(1 + number, number, True, SIXTEEN)) == CONTINUE
    assert size1(await device.send(block(10, 6, True, SIXTEEN))) == 100
    assert await device.code(block(11, 7, True, SIXTEEN)) == INCOMPLETE
    assert device.calls == []
    # In one message it is the same.
    assert size1(await device.send(bytes.fromhex("4002000c" + A + "ff") + bytes(101))) == 100


async def test_uploads_that_are_never_completed_give_way(device: Sender, gateway: Gateway) -> None:
    for number in range(40):
        # Request-Tag is 292, so 265 behind Block1: 13 + 252.
        assert await device.code(block(1 + number, 0, True, SIXTEEN, rest=f"d1fc{number:02x}")) == CONTINUE
    assert gateway.worker._dispatcher.transfers.uploads == limits.UPLOADS_OF_ONE
    assert await device.code(block(100, 1, False, b"end", rest="d1fc00")) == INCOMPLETE
    assert await device.code(block(101, 1, False, b"end", rest=f"d1fc{39:02x}")) == CONTENT


@pytest.mark.parametrize("value", ["70", "ff00", "fffff0"])
async def test_a_block_beyond_the_end_is_4_00(device: Sender, value: str) -> None:
    # The body has 100 bytes, which are blocks 0 to 6 of 16.
    assert await device.code("40010001" + A + f"c{len(value) // 2}{value}") == BAD_REQUEST
    assert await device.code("40010002" + A + "c160") == CONTENT


# --- what fits nothing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observe", ["60", "6101", "62ffff"])
async def test_observing_what_cannot_be_observed_is_a_plain_request(device: Sender, observe: str) -> None:
    # Observe is 6, so the path is 5 behind it.
    answer = await device.send(f"40010001{observe}5161")
    assert answer is not None
    # RFC 7641 section 4.1: no Observe option in it. Its first byte is the marker: there are no options at all.
    assert (answer[0], answer[1], answer[4]) == (0x60, CONTENT, 0xFF)
    assert len(device.calls) == 1


async def test_a_response_to_nobody_is_reset(device: Sender) -> None:
    await device.expect("41450001aaff78", RST)
    # RFC 7252 section 4.3 allows it, and RFC 7641 section 3.6 counts on it.
    await device.expect("51450001aaff78", RST)
    await device.expect("41840001aa", RST)


async def test_an_ack_or_reset_of_nothing_is_ignored(device: Sender) -> None:
    await device.expect("61450001aaff78", NOTHING)
    await device.expect("60000001", NOTHING)
    await device.expect("70000001", NOTHING)


@pytest.mark.parametrize("code", ["20", "3f", "c0", "e1", "ff"])
async def test_a_reserved_code_is_reset_or_ignored(device: Sender, code: str) -> None:
    # RFC 7252 section 12.1: the classes 1, 6 and 7.
    await device.expect(f"40{code}0001", RST)
    await device.expect(f"50{code}0001", NOTHING)
