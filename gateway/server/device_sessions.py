"""Which sessions each device has, so that a device that restarts again and again does not fill the memory.

A device that lost its power leaves a session behind that nobody closes for a day. The newest session always gets in;
above the limit the one of the same device yields that was silent longest. A device may have several on purpose: two
applications with one key on a modem. A session costs one reference more, by which the sessions of a device are a chain.
"""

from gateway.server.session import Session


class DeviceSessions:
    """The newest session of each device, which leads to the older ones."""

    __slots__ = ("_limit", "_newest")

    def __init__(self, limit: int) -> None:
        """With so many sessions for each device; 0 is no limit, and nothing is remembered."""
        self._limit = limit
        self._newest: dict[str, dict[str, Session]] = {}

    def __len__(self) -> int:
        """How many devices have a session."""
        return sum(map(len, self._newest.values()))

    def enter(self, session: Session) -> Session | None:
        """Takes a session that was established just now; returns the one that has to yield."""
        if not self._limit:
            return None
        device = session.principal.device
        devices = self._newest.setdefault(device.tenant_id, {})
        session.older = devices.get(device.id)
        devices[device.id] = session
        count, stalest, silent_since = 1, None, float("inf")
        older = session.older
        while older is not None:
            association = older.association
            if association is not None and not association.closed:
                count += 1
                if association.last_heard < silent_since:
                    stalest, silent_since = older, association.last_heard
            older = older.older
        return stalest if count > self._limit else None

    def leave(self, session: Session) -> None:
        """Forgets a session that has ended; one that never entered changes nothing."""
        device = session.principal.device
        devices = self._newest.get(device.tenant_id)
        newest = devices.get(device.id) if devices is not None else None
        if devices is None or newest is None:
            return
        if newest is not session:
            while newest is not None and newest.older is not session:
                newest = newest.older
            if newest is not None:
                newest.older = session.older
        elif session.older is not None:
            devices[device.id] = session.older
        else:
            del devices[device.id]
            if not devices:
                del self._newest[device.tenant_id]
        session.older = None
