"""Which sessions each device has: where to reach it, and that one which restarts again and again fills no memory.

A device that lost its power leaves a session behind that nobody closes for a day. The newest session always gets in;
above the limit the one of the same device yields that was silent longest. A device may have several on purpose: two
applications with one key on a modem. The sessions of a device are a chain, from the newest to the oldest.
"""

from typing import Protocol

from gateway.server.session import Session


class Listener(Protocol):
    """Who wants to know where devices are."""

    def on_entered(self, session: Session) -> None:
        """A session was established, and is the newest of its device."""

    def on_left(self, session: Session, heir: Session | None) -> None:
        """A session has ended; the heir is the newest that its device has left."""


class DeviceSessions:
    """The newest session of each device, which leads to the older ones.

    Attributes:
        limit: Sessions that one device may have, 0 for any number; may change, and closes none then.
        listener: Told of each session, if there is one.
    """

    __slots__ = ("_newest", "limit", "listener")

    def __init__(self, limit: int) -> None:
        """With so many sessions for each device; 0 is no limit."""
        self.listener: Listener | None = None
        self.limit = limit
        self._newest: dict[str, dict[str, Session]] = {}

    def __len__(self) -> int:
        """How many devices have a session."""
        return sum(map(len, self._newest.values()))

    def newest(self, tenant_id: str, device_id: str) -> Session | None:
        """Where to reach a device; None when it is not connected."""
        session = self._newest.get(tenant_id, {}).get(device_id)
        while session is not None and not session.is_open:
            session = session.older
        return session

    def of(self, tenant_id: str, device_id: str) -> list[Session]:
        """All sessions of a device, the newest first."""
        found = []
        session = self._newest.get(tenant_id, {}).get(device_id)
        while session is not None:
            found.append(session)
            session = session.older
        return found

    def devices(self) -> list[tuple[str, str]]:
        """(tenant, device) of all that have a session; takes time and memory in proportion."""
        return [(tenant_id, device_id) for tenant_id, devices in self._newest.items() for device_id in devices]

    def enter(self, session: Session) -> Session | None:
        """Takes a session that was established just now; returns the one that has to yield."""
        device = session.principal.device
        devices = self._newest.setdefault(device.tenant_id, {})
        older = session.older = devices.get(device.id)
        if older is not None:
            older.newer = session
        devices[device.id] = session
        if self.listener is not None:
            self.listener.on_entered(session)
        return self._stalest(session) if self.limit else None

    def leave(self, session: Session) -> None:
        """Forgets a session that has ended; one that never entered changes nothing."""
        device = session.principal.device
        devices = self._newest.get(device.tenant_id)
        if devices is None:
            return
        if session.newer is not None:
            session.newer.older = session.older
        elif devices.get(device.id) is not session:
            return
        elif session.older is not None:
            devices[device.id] = session.older
        else:
            del devices[device.id]
            if not devices:
                del self._newest[device.tenant_id]
        if session.older is not None:
            session.older.newer = session.newer
        session.older = session.newer = None
        if self.listener is not None:
            self.listener.on_left(session, self.newest(device.tenant_id, device.id))

    def _stalest(self, session: Session) -> Session | None:
        count, stalest, silent_since = 1, None, float("inf")
        older = session.older
        while older is not None:
            association = older.association
            if association is not None and not association.closed:
                count += 1
                if association.last_heard < silent_since:
                    stalest, silent_since = older, association.last_heard
            older = older.older
        return stalest if count > self.limit else None
