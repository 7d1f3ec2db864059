"""Notices when one identity is alive from two places at once: somebody copied a device's key.

A device that restarts or gets another address falls silent where it was before. So when a device makes a session while
it has an older one at another host, that pair is kept in mind, and looked at now and then, off the data path: when the
older session is still heard of after the newer one began, and both are at different hosts still, two devices have one
identity. A session that moved by its connection id, or a return routability check, is at its new address by then. Two
applications with one key on one machine are at one host.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.model import DeviceStatus
from gateway.registry import CachedReads, OnClone, RegistryError
from gateway.server.device_sessions import DeviceSessions
from gateway.server.limits import CLONE_GRACE_S, CLONE_WATCH_S, MAX_CLONE_SUSPECTS
from gateway.server.session import Session
from gateway.telemetry import get_logger


@dataclass(slots=True)
class _Suspect:
    """Attributes:
    older: The session that ought to be silent.
    newer: The one after it, if it is in this worker.
    newer_host: Where that one is now; empty when it has ended, None where that cannot be known at present.
    since: When it began.
    """

    older: Session
    newer: Session | None
    newer_host: Callable[[], Awaitable[str | None]]
    since: float


class Clones:
    """The pairs that may be two devices, and what a tenant wants done about them.

    Attributes:
        found: How often, by what was done.
    """

    def __init__(
        self,
        reads: CachedReads,
        of_devices: DeviceSessions,
        *,
        clock: Callable[[], float],
        close: Callable[[Session], None],
        set_status: Callable[[str, str, DeviceStatus, str], Awaitable[None]],
    ) -> None:
        """Begins with no suspicion.

        Args:
            reads: Knows the tenants' policies.
            of_devices: The sessions.
            clock: The engine's time.
            close: Ends a session that a newer one replaces.
            set_status: Changes a device in the registry: tenant, device, status, note.
        """
        self.found: Counter[OnClone] = Counter({action: 0 for action in OnClone})
        self._reads = reads
        self._of_devices = of_devices
        self._clock = clock
        self._close = close
        self._set_status = set_status
        # By device: the newest pair says it.
        self._suspects: dict[tuple[str, str], _Suspect] = {}
        self._log = get_logger("gateway.server").bind()

    def __len__(self) -> int:
        return len(self._suspects)

    def entered(self, session: Session) -> None:
        """A session begins; its device's older ones are still there."""
        device = session.principal.device
        others = self._of_devices.of(device.tenant_id, device.id)
        if not others:
            return  # nearly always

        async def host_now() -> str:
            return _host(session)

        self._compare(session.owner, others, session, _host(session), host_now)

    def entered_elsewhere(
        self, owner: tuple[str, str], host: str, host_now: Callable[[], Awaitable[str | None]]
    ) -> None:
        """A session begins in another worker; what its device has here are older ones.

        Args:
            owner: Tenant and device.
            host: Where the session is.
            host_now: Asks where it is by then; empty when it has ended, None where nobody says: it is asked again.
        """
        self._compare(owner, self._of_devices.of(*owner), None, host, host_now)

    def _compare(
        self,
        key: tuple[str, str],
        others: list[Session],
        newer: Session | None,
        host: str,
        host_now: Callable[[], Awaitable[str | None]],
    ) -> None:
        elsewhere = [older for older in others if older is not newer and older.is_open and _host(older) != host]
        if not elsewhere:
            return
        if self._policy(key[0]) is OnClone.NEWEST_WINS:
            # A device that only moved loses nothing: it left the older session behind.
            for older in elsewhere:
                self._close(older)
            return
        self._suspects.pop(key, None)
        if len(self._suspects) >= MAX_CLONE_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]
        self._suspects[key] = _Suspect(elsewhere[0], newer, host_now, self._clock())

    async def look(self) -> None:
        """Judges the pairs.

        Raises:
            RegistryError: A device could not be quarantined now; it is tried again.
        """
        now = self._clock()
        heard = []
        for key, suspect in list(self._suspects.items()):
            ended = not suspect.older.is_open or (suspect.newer is not None and not suspect.newer.is_open)
            if ended or now - suspect.since > CLONE_WATCH_S:
                del self._suspects[key]
                continue
            older = suspect.older.association
            if older is not None and older.last_heard > suspect.since + CLONE_GRACE_S:
                heard.append((key, suspect))
        hosts = await asyncio.gather(*(suspect.newer_host() for _, suspect in heard))
        for (key, suspect), newer_host in zip(heard, hosts, strict=True):
            if newer_host is None or self._suspects.get(key) is not suspect:
                continue  # it is asked again at the next look; or a newer pair took its place meanwhile
            del self._suspects[key]
            if newer_host and _host(suspect.older) not in ("", newer_host):
                await self._found(key, suspect, newer_host)

    async def _found(self, key: tuple[str, str], suspect: _Suspect, newer_host: str) -> None:
        tenant_id, device_id = key
        action = self._policy(tenant_id)
        peers = [_host(suspect.older), newer_host]
        if action is OnClone.QUARANTINE:
            note = f"alive from {peers[0]} and {peers[1]} at once: its key was copied, or two devices were given one"
            try:
                await self._set_status(tenant_id, device_id, DeviceStatus.QUARANTINED, note)
            except RegistryError:
                self._suspects[key] = suspect
                raise
        self.found[action] += 1
        self._log.warning(
            "security.clone_detected",
            device=device_id,
            tenant=tenant_id,
            peers=peers,
            action=action.value,
            hint="give each device a credential of its own, and replace this one; `gateway tenant set ID --on-clone` "
            "decides what happens",
        )

    def _policy(self, tenant_id: str) -> OnClone:
        tenant = self._reads.tenant(tenant_id)
        return tenant.limits.on_clone if tenant is not None else OnClone.FLAG


def _host(session: Session) -> str:
    association = session.association
    return association.address[0] if association is not None else ""
