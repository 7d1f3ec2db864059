"""The last handshakes that failed, for whoever asks why a device cannot connect.

Kept by reason, a few of each, so that a flood of one kind does not push the others out; what repeats from one host
under one name is one entry with a number. Names cost a stranger nothing: where there is no room left, the network that
has most entries of the reason gives up its oldest one, so that whoever makes names up pushes out only its own. Plain
values only, and no keys. Of a certificate that was refused the chain is kept as it was presented, so that it can be
seen later whether another trust anchor would let the device in. Written by the event loop, read by the threads of the
admin server, which only ever see whole entries, and look for a chain's issuer only there.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from gateway.dtls import FailureReason, network_of
from gateway.server.limits import MAX_FAILURE_CHAIN, MAX_FAILURE_TEXT, MAX_FAILURES_PER_REASON
from gateway.server.presented import issuer_of
from gateway.server.refusals import REASON_FOR
from gateway.server.remedies import REMEDY_FOR, command_for

_OF_A_CREDENTIAL: Final = frozenset(REASON_FOR.values())
_SHOWN_APART: Final = frozenset({"chain"})


@dataclass(frozen=True, slots=True)
class Failure:
    """A handshake that failed, or several of the same kind from the same host, under the same name.

    Attributes:
        last_at: When the newest of them ended, seconds since the epoch.
        first_at: When the oldest of them did.
        count: How many they were.
        reason: See `FailureReason`.
        hint: What the log line says.
        peer: Address and port of the newest.
        device: The one that the peer claimed to be and did not prove to be; None where it named none that exists.
        tenant: Its tenant.
        identity: Who it said it is: a PSK identity, or the name in its certificate (`claimed_identity`).
        chain: The certificates of a refused one as they were presented, DER, the device's own first; as many as are
            kept. The device has proven that it has the key.
        alert: Name of the alert that was sent or received.
        auth: How the peer was to prove itself.
        suite: What was negotiated.
        suite_offer: What the peer offered.
        server_name: What the peer called us.
        duration_ms: From the verified cookie to the end.
        retransmissions: Flights that were sent again.
    """

    last_at: float
    first_at: float
    count: int
    reason: FailureReason
    hint: str
    peer: str
    device: str | None
    tenant: str | None
    identity: str | None
    alert: str | None
    auth: str
    suite: str | None
    suite_offer: tuple[str, ...]
    server_name: str | None
    duration_ms: float
    retransmissions: int
    chain: tuple[bytes, ...] = field(default=(), repr=False)

    def as_json(self, *, chains: bool = False) -> dict[str, Any]:
        """Plain values, times as RFC 3339, with what to do about it.

        Args:
            chains: With the presented certificates, in base64.
        """
        shown = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _SHOWN_APART}
        shown["last_at"], shown["first_at"] = _shown(self.last_at), _shown(self.first_at)
        shown["reason"] = self.reason.value
        shown["suite_offer"] = list(self.suite_offer)
        issuer = issuer_of(self.chain)
        shown |= {"issuer": issuer.name, "issuer_key_id": issuer.key_id}
        shown["remedy"] = REMEDY_FOR[self.reason]
        shown["command"] = command_for(self.reason, device=self.device, tenant=self.tenant, identity=self.identity)
        if chains:
            shown["chain"] = [b64encode(der).decode() for der in self.chain]
        return shown


class _Kind(NamedTuple):
    """What makes two failures of one reason the same."""

    network: str
    host: str
    device: str | None
    identity: str | None
    hint: str


class Failures:
    """A bounded memory of failures."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """With a clock that gives seconds since the epoch."""
        self._clock = clock
        self._kept: dict[FailureReason, dict[_Kind, Failure]] = {reason: {} for reason in FailureReason}

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def add(
        self,
        host: str,
        *,
        reason: FailureReason,
        hint: str,
        server_name: str | None,
        chain: tuple[bytes, ...] = (),
        **facts: Any,
    ) -> None:
        """Keeps one. Of its reason the newest stay, as long as no network has more than another.

        Args:
            host: Where it came from, without the port.
            reason: Typed.
            hint: Words for the operator; perhaps with a stranger's words in them.
            server_name: A stranger's word.
            chain: What it presented; kept where its credential was refused.
            facts: The other attributes of `Failure` but the times and the number.
        """
        now = self._clock()
        hint = hint[:MAX_FAILURE_TEXT]
        name = server_name[:MAX_FAILURE_TEXT] if server_name is not None else None
        kept = self._kept[reason]
        kind = _Kind(network_of((host, 0)), host, facts["device"], facts["identity"], hint)
        before = kept.pop(kind, None)
        failure = Failure(
            last_at=now,
            first_at=now,
            count=1,
            reason=reason,
            hint=hint,
            server_name=name,
            chain=_bounded(chain) if reason in _OF_A_CREDENTIAL else (),
            **facts,
        )
        if before is not None:
            failure = replace(failure, first_at=before.first_at, count=before.count + 1)
        kept[kind] = failure
        if len(kept) > MAX_FAILURES_PER_REASON:
            del kept[_next_to_go(kept)]

    def newest(self) -> list[Failure]:
        """All that are kept, the newest first; safe in any thread."""
        found = [failure for kept in self._kept.values() for failure in list(kept.values())]
        return sorted(found, key=lambda failure: failure.last_at, reverse=True)

    def refused_chains(self) -> list[Failure]:
        """Those of a refused certificate, with what was presented, the newest first; safe in any thread."""
        return [failure for failure in self.newest() if failure.chain]

    def page(self, *, chains: bool) -> dict[str, Any]:
        """What `/debug/failures` shows."""
        return {"failures": [failure.as_json(chains=chains) for failure in self.newest()]}


def _next_to_go(kept: Iterable[_Kind]) -> _Kind:
    """The oldest of a network that has most."""
    held = Counter(kind.network for kind in kept)
    most = max(held.values())
    return next(kind for kind in kept if held[kind.network] == most)


def _bounded(chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    kept, left = [], MAX_FAILURE_CHAIN
    for der in chain:
        left -= len(der)
        if left < 0:
            break
        kept.append(der)
    return tuple(kept)


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
