"""Session tickets: what a server remembers of a session, sealed and given to the client to keep (RFC 5077).

A ticket is `name of the key | nonce | ciphertext and tag`, AES-256-GCM. A key serves for one period; keys and their
names are derived from a secret and the number of the period, so that processes that share the secret open each other's
tickets without a word between them. The keys of the period before and of the one after open tickets too: the first
because a ticket outlives the period that it was made in, the second because clocks differ.

Whoever has the secret reads every ticket that was ever made under it: it belongs in a file that is replaced now and
then (RFC 9325 section 3.4). A second secret opens the tickets that were made before the replacement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.dtls.crypto import Aead, AuthenticationFailed, Hmac, ticket_aead
from gateway.dtls.errors import ApiMisuse
from gateway.dtls.limits import MAX_TICKET, MAX_TICKET_SECRETS

NAME_LENGTH: Final = 16
"""Bytes of a key's name (RFC 5077 section 4 suggests 16)."""

MIN_SECRET: Final = 32
"""Bytes of a secret: as long as the keys that are derived from it."""

_NONCE_LENGTH: Final = 12
_HEADER_LENGTH: Final = NAME_LENGTH + _NONCE_LENGTH
_NEIGHBOURS: Final = (0, -1, 1)


@dataclass(frozen=True, slots=True)
class _TicketKey:
    """Attributes:
    name: Stands in front of every ticket that it seals.
    aead: Does the work.
    past: Of an earlier period, or of a secret that was replaced: a ticket under it should be renewed.
    """

    name: bytes
    aead: Aead = field(repr=False)
    past: bool


class TicketKeys:
    """The keys that seal and open tickets at a time: previous, current, next of each secret."""

    __slots__ = ("_by_name", "_current", "_period", "_period_s", "_secrets")

    def __init__(self, secrets: Sequence[bytes], period_s: float) -> None:
        """Derives no key yet.

        Args:
            secrets: The first one seals, all of them open.
            period_s: Seconds that a key seals; it opens for as long again. Not less than a ticket's lifetime, or
                tickets end before their time.

        Raises:
            ApiMisuse: No secret, too many, one that is too short, or no period.
        """
        if not 1 <= len(secrets) <= MAX_TICKET_SECRETS or min(map(len, secrets)) < MIN_SECRET or period_s <= 0:
            raise ApiMisuse(f"1 to {MAX_TICKET_SECRETS} secrets of {MIN_SECRET} bytes at least, and a period above 0")
        self._secrets = [Hmac(secret) for secret in secrets]
        self._period_s = period_s
        self._period: int | None = None
        self._by_name: dict[bytes, _TicketKey] = {}
        self._current: _TicketKey

    def __repr__(self) -> str:
        return f"<TicketKeys of {len(self._secrets)} secrets>"

    @property
    def period_s(self) -> float:
        """Seconds that a key seals."""
        return self._period_s

    def seal(self, content: bytes, random: Callable[[int], bytes], now: float) -> bytes:
        """A ticket.

        Args:
            content: What is to be remembered.
            random: For the nonce. 96 random bits repeat with a chance of 2**-32 after 2**32 tickets of one period
                (NIST SP 800-38D section 8.3); a gateway with 1,000 handshakes a second makes 2**26.5 a day.
            now: Seconds, UTC.
        """
        self._turn(now)
        key, nonce = self._current, random(_NONCE_LENGTH)
        return key.name + nonce + key.aead.encrypt(nonce, content, key.name)

    def open(self, ticket: bytes, now: float) -> tuple[bytes, bool] | None:
        """The content, and whether its key is a past one; None for whatever we did not seal, or forgot the key of.

        Args:
            ticket: Bytes of a peer.
            now: Seconds, UTC.
        """
        if not _HEADER_LENGTH < len(ticket) <= MAX_TICKET:
            return None
        self._turn(now)
        key = self._by_name.get(ticket[:NAME_LENGTH])
        if key is None:
            return None
        try:
            content = key.aead.decrypt(ticket[NAME_LENGTH:_HEADER_LENGTH], ticket[_HEADER_LENGTH:], key.name)
        except AuthenticationFailed:
            return None
        return content, key.past

    def _turn(self, now: float) -> None:
        period = int(now // self._period_s)
        if period == self._period:
            return
        keys = [
            _key(secret, period + step, past=step < 0 or bool(rank))
            for rank, secret in enumerate(self._secrets)
            for step in _NEIGHBOURS
        ]
        self._current = keys[0]
        self._by_name = {key.name: key for key in keys}
        self._period = period


def _key(secret: Hmac, period: int, *, past: bool) -> _TicketKey:
    number = (period & 0xFFFFFFFFFFFFFFFF).to_bytes(8)
    name = secret.mac(b"dtls ticket name" + number)[:NAME_LENGTH]
    return _TicketKey(name, ticket_aead(secret.mac(b"dtls ticket key" + number)), past)
