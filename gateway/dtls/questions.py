"""What handshakes want to ask the shell: how many may wait for an answer, and which of them have to wait for their
turn.

A device that fails to prove itself is not refused the next time, its question is held back for a while (`backoff` has
the reasons). What is asked about is a credential as presented, an identity or a leaf certificate, from one network;
and, from many failures on, that network. Never the identity alone: whoever knows the identity of a device could slow it
down from anywhere.
"""

import heapq
from typing import Final

from gateway.dtls.admission import Places, network_of
from gateway.dtls.backoff import Backoff
from gateway.dtls.cookie import Address
from gateway.dtls.errors import FailureReason
from gateway.dtls.events import (
    CertificatePresented,
    HandshakeFacts,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionRequested,
)
from gateway.dtls.limits import (
    BACKOFF_CAP_S,
    BACKOFF_DECAY_S,
    BACKOFF_FIRST_S,
    BACKOFF_FREE,
    MAX_BACKOFF_ENTRIES,
    NETWORK_BACKOFF_CAP_S,
    NETWORK_BACKOFF_DECAY_S,
    NETWORK_BACKOFF_FIRST_S,
    NETWORK_BACKOFF_FREE,
    TIMER_SLACK,
)

Question = PskRequested | CertificatePresented | RawPublicKeyPresented | ResumptionRequested

FAILED_PROOFS: Final = frozenset(
    {
        FailureReason.UNKNOWN_IDENTITY,
        FailureReason.WRONG_KEY,
        FailureReason.FINISHED_MISMATCH,
        FailureReason.POSSESSION_NOT_PROVEN,
        FailureReason.BAD_CERTIFICATE,
        FailureReason.CERTIFICATE_EXPIRED,
        FailureReason.CERTIFICATE_NOT_YET_VALID,
        FailureReason.CERTIFICATE_REVOKED,
        FailureReason.CERTIFICATE_BANNED,
        FailureReason.UNKNOWN_ROOT,
        FailureReason.MISSING_INTERMEDIATE,
        FailureReason.CA_AS_LEAF,
        FailureReason.WRONG_KEY_USAGE,
        FailureReason.WEAK_KEY,
        FailureReason.CHAIN_TOO_LONG,
        FailureReason.NO_DEVICE_NAME,
        FailureReason.UNKNOWN_PUBLIC_KEY,
        FailureReason.NOT_PROVISIONED,
        FailureReason.DEVICE_DISABLED,
        FailureReason.DEVICE_PENDING,
        FailureReason.DEVICE_QUARANTINED,
        FailureReason.TENANT_DISABLED,
        FailureReason.NO_TENANT,
        FailureReason.CREDENTIAL_EXPIRED,
        FailureReason.PSK_ENDED,
        FailureReason.PROVISIONING_DENIED,
        FailureReason.CREDENTIAL_REVOKED,
        FailureReason.OTHER_ISSUER,
    }
)
"""Failures that are the peer's: its credential was no good. A registry that cannot be read is not."""


class Questions:
    """Those under way, and those held back."""

    __slots__ = ("_credentials", "_held", "_limit", "_networks", "_open", "_waiting")

    def __init__(self, limit: int) -> None:
        """With no more than `limit` handshakes waiting, be it for an answer or for their turn to ask."""
        self._limit = limit
        self._open: dict[int, Question] = {}
        self._held: list[tuple[float, int]] = []
        self._waiting = Places()  # those held back
        self._credentials = Backoff(
            free=BACKOFF_FREE,
            first_s=BACKOFF_FIRST_S,
            cap_s=BACKOFF_CAP_S,
            decay_s=BACKOFF_DECAY_S,
            size=MAX_BACKOFF_ENTRIES,
        )
        self._networks = Backoff(
            free=NETWORK_BACKOFF_FREE,
            first_s=NETWORK_BACKOFF_FIRST_S,
            cap_s=NETWORK_BACKOFF_CAP_S,
            decay_s=NETWORK_BACKOFF_DECAY_S,
            size=MAX_BACKOFF_ENTRIES,
        )

    def __len__(self) -> int:
        return len(self._open)

    @property
    def held(self) -> int:
        """How many are held back, with those of which nobody waits any more."""
        return len(self._held)

    @property
    def remembered(self) -> int:
        """How many credentials and networks have failed lately."""
        return len(self._credentials) + len(self._networks)

    def ask(self, question: Question, address: Address, now: float) -> tuple[bool, float]:
        """Takes a question.

        Returns:
            Whether there is room for it, and the seconds that it has to wait before it is put.
        """
        if len(self._open) >= self._limit:
            return False, 0.0
        self._open[question.handshake] = question
        # Who resumes holds a session of ours, which is no guess.
        if isinstance(question, ResumptionRequested) or not self.remembered:
            return True, 0.0
        network = network_of(address)
        shown = _presented(question)
        wait = max(self._credentials.delay(_key(network, shown), now), self._networks.delay(hash(network), now))
        if wait:
            self._hold(now + wait, question.handshake)
            self._waiting.enter(question.handshake, address)
        return True, wait

    def next_to_go(self) -> int | None:
        """The handshake that yields so that one more has room: of those held back, the oldest of the network with most.

        None where there is room, and where nobody is held back. Else one network that fails on purpose would fill the
        house with what waits for its turn, and everybody else's first question would find no room.
        """
        return self._waiting.next_to_go() if len(self._open) >= self._limit and len(self._waiting) else None

    def close(self, handshake: int) -> None:
        """It was answered, or nobody wants to know any more."""
        if self._open.pop(handshake, None) is not None and len(self._waiting):
            self._waiting.leave(handshake)

    def due(self, now: float) -> list[Question]:
        """Questions whose turn it is."""
        questions = []
        while self._held and self._held[0][0] <= now:
            question = self._open.get(heapq.heappop(self._held)[1])
            if question is not None:
                self._waiting.leave(question.handshake)
                questions.append(question)
        self._credentials.forget(now)
        self._networks.forget(now)
        return questions

    @property
    def next_timer(self) -> float:
        """When `due` has something to do next, seconds; infinite if never."""
        at = min(self._credentials.expires_at, self._networks.expires_at)
        return min(at, self._held[0][0]) if self._held else at

    def failed(self, facts: HandshakeFacts, reason: FailureReason, now: float) -> None:
        if reason not in FAILED_PROOFS:
            return
        network = network_of(facts.address)
        self._networks.failed(hash(network), now)
        shown = _shown(facts)
        if shown is not None:
            self._credentials.failed(_key(network, shown), now)

    def succeeded(self, facts: HandshakeFacts, now: float) -> None:
        if not self.remembered:
            return
        network = network_of(facts.address)
        self._networks.eased(hash(network), now)
        shown = _shown(facts)
        if shown is not None:
            self._credentials.succeeded(_key(network, shown))

    def suspect(self, address: Address, now: float) -> bool:
        """Whether a newcomer from this network had better go last where not all can be served."""
        return bool(len(self._networks)) and self._networks.delay(hash(network_of(address)), now) > 0

    def _hold(self, until: float, handshake: int) -> None:
        """Entries of handshakes that have ended stay until they outnumber the others."""
        heapq.heappush(self._held, (until, handshake))
        if len(self._held) > 2 * len(self._open) + TIMER_SLACK:
            self._held = [entry for entry in self._held if entry[1] in self._open]
            heapq.heapify(self._held)


def _presented(question: PskRequested | CertificatePresented | RawPublicKeyPresented) -> bytes:
    if isinstance(question, PskRequested):
        return question.identity
    return question.chain[0] if isinstance(question, CertificatePresented) else question.public_key


def _shown(facts: HandshakeFacts) -> bytes | None:
    """What the peer named itself by."""
    if facts.psk_identity is not None:
        return facts.psk_identity
    return facts.chain[0] if facts.chain else facts.public_key or None


def _key(network: str, shown: bytes) -> int:
    # Python's hash of text and bytes is keyed for each process, so that nobody can choose what collides.
    return hash((network, shown))
