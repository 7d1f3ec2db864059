"""The replay window against a model: a set of numbers, and the newest of them (RFC 6347 4.1.2.6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import Association, DropReason
from gateway.dtls.crypto import SUITES
from gateway.dtls.limits import REPLAY_WINDOW
from tests.dtls.rawclient import DirectionKeys, raw_record

KEY, SALT = bytes(16), b"salt"
LAST = (1 << 48) - 1
KEYS = DirectionKeys(0xC0A8, KEY, SALT)


def association() -> Association:
    return Association(("192.0.2.1", 1), SUITES[0xC0A8], KEY, SALT, bytes(16), b"else")


def record(sequence: int) -> bytes:
    number = (1 << 48) | sequence
    return raw_record(23, number, KEYS.seal(23, number, b"x"))


def forged(sequence: int) -> bytes:
    good = record(sequence)
    return good[:-1] + bytes((good[-1] ^ 1,))


def opens(receiver: Association, data: bytes) -> bool | str:
    result = receiver.open(23, data[3:11], data[13:])
    return result.value if isinstance(result, DropReason) else True


steps = st.lists(st.tuples(st.integers(-REPLAY_WINDOW - 5, REPLAY_WINDOW + 5), st.booleans()), max_size=80)


@given(st.integers(0, LAST), steps)
def test_against_a_set(start: int, walk: list[tuple[int, bool]]) -> None:
    """Numbers that wander about; some records are forged. Both ways in must do what the model does."""
    slow, direct = association(), association()
    seen: set[int] = set()
    newest = -1
    position = start
    for step, honest in walk:
        position = min(max(position + step, 0), LAST)
        fresh = position > newest or (newest - position < REPLAY_WINDOW and position not in seen)
        data = record(position) if honest else forged(position)
        expected: bool | str = "replay" if not fresh else honest or "bad_mac"
        assert opens(slow, data) == expected
        assert (direct.open_application(data) == b"x") is (expected is True)
        if expected is True:
            seen.add(position)
            newest = max(newest, position)


def test_window_is_64_wide() -> None:
    # RFC 6347 4.1.2.6: "a window size of 64 is preferred"
    assert REPLAY_WINDOW == 64
    receiver = association()
    assert opens(receiver, record(100)) is True
    assert opens(receiver, record(100 - 63)) is True
    assert opens(receiver, record(100 - 64)) == "replay"


def test_first_record_may_have_any_number() -> None:
    for sequence in (0, 1, 63, 64, LAST):
        receiver = association()
        assert opens(receiver, record(sequence)) is True
        assert opens(receiver, record(sequence)) == "replay"


@pytest.mark.parametrize("jump", [1, 63, 64, 65, 1000, LAST - 10])
def test_jump_forward_forgets_only_what_falls_out(jump: int) -> None:
    receiver = association()
    assert opens(receiver, record(10)) is True
    assert opens(receiver, record(10 + jump)) is True
    assert opens(receiver, record(10)) == "replay"
    assert opens(receiver, record(9)) == (True if jump < 63 else "replay")


def test_forgery_with_a_huge_number_does_not_move_the_window() -> None:
    # CVE-2016-2181: the window was moved before the record had been verified.
    receiver = association()
    assert opens(receiver, record(5)) is True
    assert opens(receiver, forged(LAST)) == "bad_mac"
    assert opens(receiver, record(4)) is True
    assert opens(receiver, record(6)) is True
    assert receiver.authentication_failures == 1
