"""Cookies (RFC 6347 4.2.1): bound to address and parameters, and short-lived."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import Address, ApiMisuse, ServerConfig, ServerParameters
from gateway.dtls.cookie import CookieJar
from gateway.dtls.limits import COOKIE_LENGTH, COOKIE_PERIOD_S
from tests.dtls.rawclient import RawClient
from tests.dtls.support import World

JAR = CookieJar(b"a secret of the server")
HERE: Address = ("192.0.2.1", 5684)
PARAMETERS = b"version random session suites compression"


def test_verifies() -> None:
    cookie = JAR.make(HERE, PARAMETERS, 0.0)
    assert len(cookie) == COOKIE_LENGTH <= 255
    assert JAR.verify(cookie, HERE, PARAMETERS, 0.0)
    assert CookieJar(b"a secret of the server").verify(cookie, HERE, PARAMETERS, 0.0)


def test_every_bit_counts() -> None:
    cookie = JAR.make(HERE, PARAMETERS, 0.0)
    for bit in range(8 * len(cookie)):
        broken = bytearray(cookie)
        broken[bit // 8] ^= 1 << (bit % 8)
        assert not JAR.verify(bytes(broken), HERE, PARAMETERS, 0.0)


@given(st.binary(max_size=40))
def test_no_other_bytes_verify(cookie: bytes) -> None:
    good = JAR.make(HERE, PARAMETERS, 0.0)
    assert JAR.verify(cookie, HERE, PARAMETERS, 0.0) is (cookie == good)
    assert not JAR.verify(good + cookie + b"x", HERE, PARAMETERS, 0.0)
    assert not JAR.verify(good[: min(len(cookie), COOKIE_LENGTH - 1)], HERE, PARAMETERS, 0.0)


@pytest.mark.parametrize(
    "there",
    [("192.0.2.2", 5684), ("192.0.2.1", 5685), ("192.0.2.1", 0), ("::1", 5684, 0, 0), ("192.0.2.15", 684)],
)
def test_from_elsewhere(there: Address) -> None:
    assert not JAR.verify(JAR.make(HERE, PARAMETERS, 0.0), there, PARAMETERS, 0.0)
    assert not JAR.verify(JAR.make(there, PARAMETERS, 0.0), HERE, PARAMETERS, 0.0)


def test_ipv6() -> None:
    there: Address = ("2001:db8::1", 5684, 0, 0)
    assert JAR.verify(JAR.make(there, PARAMETERS, 0.0), there, PARAMETERS, 0.0)


@given(st.binary(max_size=60))
def test_other_parameters(parameters: bytes) -> None:
    cookie = JAR.make(HERE, PARAMETERS, 0.0)
    assert JAR.verify(cookie, HERE, parameters, 0.0) is (parameters == PARAMETERS)


def test_host_and_parameters_do_not_run_into_each_other() -> None:
    assert JAR.make(("a", 0x6262), b"c", 0.0) != JAR.make(("ab", 0x6263), b"", 0.0)
    assert JAR.make(("a", 0x6262), b"", 0.0) != JAR.make(("", 0x6162), b"b", 0.0)


def test_other_secret() -> None:
    assert not CookieJar(b"another secret of ours").verify(JAR.make(HERE, PARAMETERS, 0.0), HERE, PARAMETERS, 0.0)


@pytest.mark.parametrize("age", [0.0, COOKIE_PERIOD_S - 0.5, COOKIE_PERIOD_S, 2 * COOKIE_PERIOD_S - 0.5])
def test_is_accepted_in_its_period_and_the_next(age: float) -> None:
    made_at = 7 * COOKIE_PERIOD_S
    cookie = JAR.make(HERE, PARAMETERS, made_at)
    assert JAR.verify(cookie, HERE, PARAMETERS, made_at + age)


@pytest.mark.parametrize("periods", [2, 3, 100, 1 << 33])
def test_is_refused_two_periods_later(periods: int) -> None:
    made_at = 8 * COOKIE_PERIOD_S - 0.5
    cookie = JAR.make(HERE, PARAMETERS, made_at)
    assert not JAR.verify(cookie, HERE, PARAMETERS, made_at + periods * COOKIE_PERIOD_S)


def test_key_changes_with_the_period() -> None:
    cookies = {JAR.make(HERE, PARAMETERS, period * COOKIE_PERIOD_S) for period in range(100)}
    assert len(cookies) == 100


def test_process_that_wakes_up_late_accepts_what_its_neighbour_made() -> None:
    made, checks = CookieJar(b"a secret of the server"), CookieJar(b"a secret of the server")
    checks.make(HERE, PARAMETERS, 0.0)
    cookie = made.make(HERE, PARAMETERS, 500.0)
    assert checks.verify(cookie, HERE, PARAMETERS, 501.0)


ALTERED = {
    "version": lambda client: setattr(client, "version", 0xFEFC),
    "random": lambda client: setattr(client, "random", b"x" * 32),
    "session id": lambda client: setattr(client, "session_id", b"x"),
    "suites": lambda client: setattr(client, "suites", (0xC0A4,)),
    "order of suites": lambda client: setattr(client, "suites", (0xC0A4, 0xC0A8)),
    "compression": lambda client: setattr(client, "compression", b"\x00\x01"),
}


@pytest.mark.parametrize("what", ALTERED)
def test_altered_second_hello_is_challenged_again(what: str) -> None:
    world, client = World(), RawClient(suites=(0xC0A8, 0xC0A4))
    client.read(world.deliver(client.hello()))
    cookie = client.cookie
    ALTERED[what](client)
    (answer,) = world.deliver(client.hello())
    client.read([answer])
    assert [message[0] for message in client.messages] == [3, 3]
    assert client.cookie != cookie
    assert world.endpoint.handshakes_in_progress == 0
    assert world.endpoint.counters.hello_verify_invalid == 1
    # The new cookie is good for the altered one.
    world.deliver(client.hello())
    assert world.endpoint.handshakes_in_progress == 1


def test_short_secret_is_refused() -> None:
    with pytest.raises(ApiMisuse):
        ServerConfig(ServerParameters(), cookie_secret=bytes(15))


def test_secret_does_not_show() -> None:
    assert "hidden" not in repr(ServerConfig(ServerParameters(), cookie_secret=b"hidden hidden hidden"))
