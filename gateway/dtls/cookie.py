"""The stateless gate (RFC 6347 section 4.2.1).

A client must show that it receives what is sent to its address before anything is allocated, computed or looked up
for it. The cookie is a MAC over the address and the parameters that both ClientHellos share; the key changes with
time and is derived, so that several processes with one secret accept each other's cookies.
"""

import hmac

from gateway.dtls.crypto import Hmac
from gateway.dtls.limits import COOKIE_LENGTH, COOKIE_PERIOD_S

Address = tuple[str, int] | tuple[str, int, int, int]
"""An address as the socket module gives it."""


class CookieJar:
    """Makes and checks cookies; holds a secret and nothing about any client."""

    __slots__ = ("_current", "_period", "_previous", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = Hmac(secret)
        self._period = -1
        self._current = Hmac(b"")
        self._previous = Hmac(b"")

    def make(self, address: Address, parameters: bytes, now: float) -> bytes:
        """The cookie for a client at `address` (`COOKIE_LENGTH` bytes).

        Args:
            address: Where the ClientHello came from.
            parameters: Its version, random, session id, suites and compression methods, as received.
            now: Seconds on the shared monotonic clock.
        """
        self._turn(now)
        return _mac(self._current, address, parameters)

    def verify(self, cookie: bytes, address: Address, parameters: bytes, now: float) -> bool:
        """Whether this cookie was made for this address and these parameters within the last two periods."""
        self._turn(now)
        current = hmac.compare_digest(cookie, _mac(self._current, address, parameters))
        return current or hmac.compare_digest(cookie, _mac(self._previous, address, parameters))

    def _turn(self, now: float) -> None:
        period = int(now // COOKIE_PERIOD_S)
        if period != self._period:
            self._current = self._key(period)
            self._previous = self._key(period - 1)
            self._period = period

    def _key(self, period: int) -> Hmac:
        return Hmac(self._secret.mac(b"dtls cookie" + (period & 0xFFFFFFFFFFFFFFFF).to_bytes(8)))


def _mac(key: Hmac, address: Address, parameters: bytes) -> bytes:
    host = address[0].encode()
    # Length in front of the host, so that no two (address, parameters) pairs give the same input.
    return key.mac(b"%c%b%b%b" % (len(host), host, address[1].to_bytes(2), parameters))[:COOKIE_LENGTH]
