"""Durations and addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Address, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1.5s", 1.5),
        ("1s500ms", 1.5),
        ("30", 30.0),
        ("0.25", 0.25),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 s", "1w", "5min", "1e3", "s5", "1s x", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@given(st.integers(min_value=1, max_value=40 * 86_400_000))
def test_every_millisecond_survives_writing_and_reading(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:5684", "0.0.0.0", 5684),
        ("[::]:5684", "::", 5684),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("localhost:0", "localhost", 0),
        ("[::ffff:10.0.0.1]:65535", "::ffff:10.0.0.1", 65535),
    ],
)
def test_addresses_are_read_and_written_alike(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, str(address)) == (host, port, text)
    assert address.is_ipv6 == text.startswith("[")


@pytest.mark.parametrize("text", ["", ":", ":5684", "host", "host:", "::1:5684", "[::1]", "h:-1", "h:999999", "a b:1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address and a port"):
        Address.parse(text)
