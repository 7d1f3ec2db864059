"""Servers that resume, and clients that come back."""

from typing import Any

from gateway.dtls import Association, ResumptionConfig, TicketKeys
from tests.dtls.rawclient import Device, RawClient, default_extensions
from tests.dtls.support import World, device

SECRET = b"the secret of the ticket keys..."
DAY = 86_400.0
EPOCH = 1_790_000_000.0
"""What time of day it is when a world begins, seconds, UTC."""

TICKET, SNI, EMS = 35, 0, 23


class Clock:
    """The time of day, which a test moves."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> float:
        return self.now


class ResumingWorld(World):
    """A world with a time of day.

    Attributes:
        clock: See `Clock`.
    """

    def __init__(
        self,
        *,
        keys: TicketKeys | None = None,
        tickets: bool = True,
        lifetime_s: float = DAY,
        max_sessions: int = 100,
        **others: Any,
    ) -> None:
        self.clock = Clock()
        if keys is None and tickets:
            keys = TicketKeys([SECRET], DAY)
        super().__init__(
            resumption=ResumptionConfig(self.clock, keys, lifetime_s=lifetime_s, max_sessions=max_sessions), **others
        )

    def outcomes(self) -> dict[str, int]:
        """What became of the offers to resume."""
        assert self.endpoint.sessions is not None
        return {outcome.value: count for outcome, count in self.endpoint.sessions.outcomes.items()}

    @property
    def kept(self) -> int:
        """Sessions in the cache."""
        assert self.endpoint.sessions is not None
        return len(self.endpoint.sessions.cache)


def newcomer(suite: int = 0xC0A8, *, tickets: bool = True, **fields: Any) -> RawClient:
    """A client without a session, that knows tickets or does not."""
    extensions: dict[int, bytes] = {**default_extensions(), **fields.pop("extensions", {})}
    if tickets:
        extensions[TICKET] = b""
    identity: Device = device()
    return RawClient(suites=(suite,), device=identity, extensions=extensions, **fields)


def returning(before: RawClient, **fields: Any) -> RawClient:
    """The same client later: it offers the ticket that it got, or else the session id. Fields may differ."""
    assert before.server_hello is not None
    extensions = dict(before.extensions or {})
    session_id = before.server_hello.session_id
    if before.ticket:
        extensions[TICKET] = before.ticket
        session_id = b"my own session id"
    given: dict[str, Any] = {
        "suites": before.suites,
        "identity": before.identity,
        "psk": before.psk,
        "device": before.device,
        "extensions": extensions,
        "session_id": session_id,
        "resuming": before.master,
        "ticket": before.ticket,
        "random": bytes(reversed(before.random)),
    }
    return type(before)(**(given | fields))


def move_session(client: RawClient, association: Association, there: ResumingWorld, here: ResumingWorld) -> None:
    """What one world keeps of a client without tickets, another one knows."""
    assert client.server_hello is not None
    assert there.endpoint.sessions is not None
    assert here.endpoint.sessions is not None
    session_id = client.server_hello.session_id
    state = there.endpoint.sessions.cache.find(session_id)
    assert state is not None
    here.endpoint.sessions.cache.forget(session_id)  # if it is there already
    here.endpoint.sessions.keep(session_id, state, association)


def less(extensions: dict[int, bytes] | None, *without: int) -> dict[int, bytes]:
    """Extensions but for these."""
    return {number: body for number, body in (extensions or {}).items() if number not in without}
