"""The return routability check (RFC 9853): whether a peer whose address seems to have changed is really there.

Basic (section 5.1 of the draft that became the RFC): a challenge to the new address; its answer moves the association.
Enhanced (5.2): first a challenge to the old one, because somebody on the way may have copied the datagram and sent the
copy from elsewhere. A peer that still answers there stays there. Sans-IO, and without a word about records.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.dtls.connection_id import PROVEN, IdentifiedAssociation
from gateway.dtls.cookie import Address
from gateway.dtls.errors import DecodeError
from gateway.dtls.limits import (
    AMPLIFICATION_FACTOR,
    MAX_PATH_CHECKS,
    MIN_PATH_CHECK_TIMEOUT_S,
    PATH_CHECK_ROUND_TRIPS,
    PATH_CHECK_TIMEOUT_S,
)
from gateway.dtls.numbers import PathMessage

COOKIE_LENGTH: Final = 8
"""Bytes of cookie in each message (RFC 9853 section 4)."""

NEVER: Final = float("inf")


def decode_path_message(content: bytes) -> tuple[int, bytes] | None:
    """Kind and cookie of a message; None for a kind that we do not know, which is to be ignored (RFC 9853 section 4).

    Raises:
        DecodeError: It is empty, or one that we know has the wrong length.
    """
    if not content:
        raise DecodeError("empty return routability check")
    if content[0] > PathMessage.DROP:
        return None
    if len(content) != 1 + COOKIE_LENGTH:
        raise DecodeError("a return routability check has a cookie of 8 bytes")
    return content[0], content[1:]


def encode_path_message(kind: PathMessage, cookie: bytes) -> bytes:
    return b"%c%b" % (kind, cookie)


@dataclass(slots=True)
class PathCheck:
    """A check in progress.

    Attributes:
        candidate: Where the newest record came from.
        on_old_path: Whether the challenges go to the address that the association still has.
        cookies: Of this path's challenges: any of them may be answered.
        first_sent_at: When the first of them went out, seconds.
        expires_at: When the path counts as dead, seconds.
        due: When the next challenge goes out, or the path is given up, seconds.
        round_trip_s: Measured on the old path; None while unknown.
    """

    candidate: Address
    on_old_path: bool
    cookies: tuple[bytes, ...] = ()
    first_sent_at: float = 0.0
    expires_at: float = 0.0
    due: float = 0.0
    round_trip_s: float | None = None


class PathChecks:
    """All checks of an endpoint, at most `MAX_PATH_CHECKS`."""

    __slots__ = ("_challenge", "_checks", "_due", "_enhanced", "_random", "_rebind")

    def __init__(
        self,
        random: Callable[[int], bytes],
        *,
        enhanced: bool,
        challenge: Callable[[IdentifiedAssociation, bytes, Address], None],
        rebind: Callable[[IdentifiedAssociation, Address], None],
    ) -> None:
        """Ties checks to an endpoint.

        Args:
            random: Gives cookies.
            enhanced: Ask the old address first.
            challenge: Sends a message of a check to an address.
            rebind: Moves an association to an address, because the peer is there.
        """
        self._random = random
        self._enhanced = enhanced
        self._challenge = challenge
        self._rebind = rebind
        self._checks: dict[IdentifiedAssociation, PathCheck] = {}
        self._due = NEVER

    def __len__(self) -> int:
        return len(self._checks)

    @property
    def timer(self) -> float:
        """When `handle_timer` is due; perhaps too early. `NEVER` without checks."""
        return self._due

    def candidate(self, association: IdentifiedAssociation) -> Address | None:
        """The address that is being checked; None if none is."""
        check = self._checks.get(association)
        return check.candidate if check is not None else None

    def observe(self, association: IdentifiedAssociation, address: Address, size: int, now: float) -> None:
        """The newest record of an association came from another address than the one it has.

        Args:
            association: Whose record it was.
            address: Where it came from.
            size: Bytes of the datagram.
            now: Seconds.
        """
        check = self._checks.get(association)
        if check is None:
            if len(self._checks) >= MAX_PATH_CHECKS:
                return
            check = self._checks[association] = PathCheck(address, self._enhanced)
            association.credit = AMPLIFICATION_FACTOR * size
            self._ask(association, check, now)
        elif check.candidate == address:
            association.credit += AMPLIFICATION_FACTOR * size
        else:
            check.candidate = address
            association.credit = AMPLIFICATION_FACTOR * size
            if not check.on_old_path:
                self._ask(association, check, now)

    def answered(
        self, association: IdentifiedAssociation, kind: int, cookie: bytes, source: Address, now: float
    ) -> bool:
        """A response or drop came in. False if it answers nothing: then it is to be ignored (RFC 9853 section 5)."""
        check = self._checks.get(association)
        if check is None or source != (association.address if check.on_old_path else check.candidate):
            return False
        if not any([hmac.compare_digest(cookie, asked) for asked in check.cookies]):
            return False
        if check.on_old_path:
            if kind == PathMessage.RESPONSE:
                self.forget(association)  # the peer is where it was
            else:
                check.round_trip_s = now - check.first_sent_at
                self._turn_to_candidate(association, check, now)
            return True
        self.forget(association)
        if kind == PathMessage.RESPONSE:
            self._rebind(association, source)
        return True

    def forget(self, association: IdentifiedAssociation) -> None:
        """Ends a check, if there is one: the association keeps its address."""
        if self._checks.pop(association, None) is not None:
            association.credit = PROVEN
        if not self._checks:
            self._due = NEVER

    def handle_timer(self, now: float) -> None:
        """Repeats challenges and gives paths up."""
        if now < self._due:
            return
        for association, check in list(self._checks.items()):
            if check.due > now:
                continue
            if now < check.expires_at:
                self._send(association, check, now)
            elif check.on_old_path:
                self._turn_to_candidate(association, check, now)
            else:
                self.forget(association)
        self._due = min((check.due for check in self._checks.values()), default=NEVER)

    def _turn_to_candidate(self, association: IdentifiedAssociation, check: PathCheck, now: float) -> None:
        check.on_old_path = False
        self._ask(association, check, now)

    def _ask(self, association: IdentifiedAssociation, check: PathCheck, now: float) -> None:
        """Begins to challenge a path."""
        check.cookies = ()
        check.first_sent_at = now
        timeout = PATH_CHECK_TIMEOUT_S
        if check.round_trip_s is not None:
            timeout = max(PATH_CHECK_ROUND_TRIPS * check.round_trip_s, MIN_PATH_CHECK_TIMEOUT_S)
        check.expires_at = now + timeout
        self._send(association, check, now)

    def _send(self, association: IdentifiedAssociation, check: PathCheck, now: float) -> None:
        """One challenge, each with a cookie of its own; at most one a round trip (RFC 9853 section 5.3)."""
        cookie = self._random(COOKIE_LENGTH)
        check.cookies = (*check.cookies, cookie)
        pace = (check.expires_at - check.first_sent_at) / PATH_CHECK_ROUND_TRIPS
        due = check.first_sent_at + pace * len(check.cookies)
        last = len(check.cookies) == PATH_CHECK_ROUND_TRIPS
        check.due = check.expires_at if last else due
        self._due = min(self._due, check.due)
        address = association.address if check.on_old_path else check.candidate
        self._challenge(association, encode_path_message(PathMessage.CHALLENGE, cookie), address)
