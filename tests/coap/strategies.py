"""Datagrams for the property tests: arbitrary, valid, and valid with a small wound."""

from hypothesis import settings
from hypothesis import strategies as st

# No deadline: how long an example takes is the machine's business, not the property's.
unhurried = settings(deadline=None)

OPTION_NUMBERS = [
    1,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    11,
    12,
    14,
    15,
    16,
    17,
    20,
    23,
    27,
    28,
    35,
    39,
    60,
    252,
    258,
    292,
    2049,
    65535,
]


def nibble(value: int) -> tuple[int, bytes]:
    """RFC 7252 section 3.1, independent of the codec under test."""
    if value <= 12:
        return value, b""
    if value <= 268:
        return 13, (value - 13).to_bytes(1, "big")
    return 14, (value - 269).to_bytes(2, "big")


def wire(
    type: int, code: int, message_id: int, token: bytes, options: list[tuple[int, bytes]], payload: bytes
) -> bytes:
    out = bytearray([0x40 | type << 4 | len(token), code])
    out += message_id.to_bytes(2, "big") + token
    last = 0
    for number, value in options:
        delta, delta_more = nibble(number - last)
        length, length_more = nibble(len(value))
        out.append(delta << 4 | length)
        out += delta_more + length_more + value
        last = number
    if payload:
        out += b"\xff" + payload
    return bytes(out)


values = st.one_of(
    st.binary(max_size=4),
    st.text(max_size=15).map(str.encode),
    st.integers(0, 300).map(lambda length: b"v" * length),
)

options = st.lists(
    st.tuples(st.one_of(st.sampled_from(OPTION_NUMBERS), st.integers(0, 65535)), values), max_size=5
).map(lambda found: sorted(found, key=lambda option: option[0]))

fields = st.tuples(
    st.integers(0, 3),
    st.one_of(st.sampled_from([1, 2, 69]), st.integers(1, 255)),
    st.integers(0, 65535),
    st.binary(max_size=8),
    options,
    st.binary(max_size=30),
)

valid = fields.map(lambda parts: wire(*parts))

# Everything that can go wrong in the first bytes goes wrong here far more often than in arbitrary bytes.
headed = st.builds(
    lambda first, code, rest: bytes([first, code]) + rest,
    st.integers(0x40, 0x7F),
    st.sampled_from([0, 1, 2, 69, 0x20, 0xFF]),
    st.binary(min_size=2, max_size=30),
)

truncated = st.builds(lambda data, cut: data[: len(data) - cut], valid, st.integers(1, 12))


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(valid))
    position = draw(st.integers(0, min(len(data) - 1, 24)))
    data[position] = draw(st.integers(0, 255))
    return bytes(data)


datagrams = st.one_of(st.binary(max_size=40), valid, headed, truncated, flipped())
