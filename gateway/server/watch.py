"""Follows the registry: what operators and other processes change bites within two seconds, in live sessions too.

Every half second it is asked what changed. Sessions of a device that changed are looked at at once. When anchors, bans,
revocation lists or tenants changed, all sessions are looked at, some at a time, while requests go on; and every ten
minutes, for what time alone has ended. The other way round, it notes who was seen and which credentials were used.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from gateway.dtls import ServerEndpoint
from gateway.identity import IdentityRefused, IdentityService, Refusal
from gateway.model import DeviceStatus
from gateway.registry import CachedReads, Changes, Registry, RegistryError, run
from gateway.registry.limits import CACHE_CHECK_S
from gateway.server.clones import Clones
from gateway.server.device_sessions import DeviceSessions
from gateway.server.limits import PRUNE_INTERVAL_S, RECHECK_INTERVAL_S, RECHECK_SLICE, SEEN_INTERVAL_S
from gateway.server.session import Session
from gateway.telemetry import get_logger

T = TypeVar("T")


class RegistryWatch:
    """One task for as long as the worker runs.

    Attributes:
        clones: Identities that are alive from two places.
    """

    def __init__(
        self,
        registry: Registry,
        reads: CachedReads,
        identity: IdentityService,
        endpoint: ServerEndpoint,
        of_devices: DeviceSessions,
        *,
        flush_soon: Callable[[], None],
        clock: Callable[[], float],
        utc: Callable[[], float],
    ) -> None:
        """Connects registry and sessions.

        Args:
            registry: Where changes come from.
            reads: The cache in front of it.
            identity: Says whether a session may go on.
            endpoint: Ends those that may not.
            of_devices: The sessions.
            flush_soon: Called when something is to be sent.
            clock: Seconds that never go back.
            utc: Seconds since the epoch, UTC.
        """
        self._registry = registry
        self._reads = reads
        self._identity = identity
        self._endpoint = endpoint
        self._of_devices = of_devices
        self._flush_soon = flush_soon
        self._clock = clock
        self._utc = utc
        self._log = get_logger("gateway.server").bind()
        # Devices to look at, and whether the registry must be asked about them: what is trusted is known here.
        self._changed: dict[tuple[str, str], bool] = {}
        self._trust_changed = False
        self._everything = False
        self._changed_at = float("-inf")
        self._seen: dict[tuple[str, str], float] = {}
        self._used: dict[str, float] = {}
        self.clones = Clones(reads, of_devices, clock=clock, close=self.close, set_status=self._set_status)
        self._seen_due = clock() + SEEN_INTERVAL_S
        self._prune_due = clock() + PRUNE_INTERVAL_S
        self._recheck_due = clock() + RECHECK_INTERVAL_S
        reads.on_change(self._on_change)

    def entered(self, session: Session, since: float) -> None:
        """A session begins; its device's older ones are still there.

        Args:
            session: Of a device that was let in at some time of its handshake.
            since: When that began, seconds. What has changed after it is looked at again.
        """
        self.clones.entered(session)
        device, at = session.principal.device, self._utc()
        if since <= self._changed_at:
            # Whoever sees a ban coming could hold the last message of a handshake back until it was made.
            self._changed[device.tenant_id, device.id] = True
        self._seen[device.tenant_id, device.id] = at
        self._used[session.principal.credential_id] = at

    def read_again(self) -> str | None:
        """Has what is trusted read again, whatever the change log says.

        Returns:
            What is wrong, if something is. Of a database that is not asked in the event loop it comes out at the next
            look, and /readyz says it.
        """
        if self._reads.remote:
            self._trust_changed = True
            return None
        try:
            self._identity.reload()
        except RegistryError as error:
            return str(error)
        return None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(CACHE_CHECK_S)
            try:
                await self.look()
            except RegistryError:
                # /readyz says so. Live sessions and cached credentials go on; what changed is read when it can be.
                continue
            except Exception as fault:  # a bug of ours must not end the watch
                self._log.error("server.fault", exc_info=fault)

    async def look(self) -> None:
        """Once: reads what changed, and ends what may not go on.

        Raises:
            RegistryError: The registry cannot be read or written now.
        """
        if self._reads.remote:
            self._reads.apply(await asyncio.to_thread(self._reads.fetch))
        else:
            self._reads.refresh()
        if self._trust_changed:
            self._trust_changed = False
            try:
                await self._wait(self._identity.reload)
            except RegistryError:
                self._trust_changed = True
                raise
            # Until now, handshakes were judged by what was trusted before.
            self._changed_at = self._clock()
            self._look_at_all(ask=self._everything)
            self._everything = False
        if self._clock() >= self._recheck_due:
            self._recheck_due = self._clock() + RECHECK_INTERVAL_S
            self._look_at_all(ask=False)
        await self._look_at_changed()
        await self.clones.look()
        await self._note()

    async def note_all(self) -> None:
        """Writes down at once who was seen, before the end."""
        self._seen_due = 0.0
        with contextlib.suppress(RegistryError):
            await self._note()

    def _on_change(self, changes: Changes) -> None:
        self._changed_at = self._clock()
        if changes.everything or changes.trust or changes.tenants:
            self._trust_changed = True
        self._everything = self._everything or changes.everything
        self._changed.update(dict.fromkeys(changes.devices, True))

    def _look_at_all(self, *, ask: bool) -> None:
        for key in self._of_devices.devices():
            self._changed.setdefault(key, ask)

    async def _look_at_changed(self) -> None:
        looked = 0
        while self._changed:
            key = next(iter(self._changed))
            ask = self._changed.pop(key)
            for session in self._of_devices.of(*key):
                try:
                    await self._look_at(session, ask=ask)
                except RegistryError:
                    self._changed[key] = ask  # looked at again when the registry is back
                    raise
                looked += 1
            if looked >= RECHECK_SLICE:
                looked = 0
                await asyncio.sleep(0)

    async def _look_at(self, session: Session, *, ask: bool) -> None:
        principal = session.principal
        try:
            self._identity.check_trust(principal)
            if ask:
                session.renew(await self._wait(lambda: run(self._identity.still_in(principal))))
        except IdentityRefused as refused:
            if refused.reason is Refusal.REGISTRY_UNAVAILABLE:
                raise RegistryError(refused.detail) from refused
            self._expel(session, refused)

    def close(self, session: Session, reason: str = "superseded") -> None:
        """Ends a session whose device has another one.

        Args:
            session: The one that yields.
            reason: Of `CLOSE_REASONS`.
        """
        if session.association is not None:
            self._endpoint.close(session.association, self._clock(), reason)
            self._flush_soon()

    async def _set_status(self, tenant_id: str, device_id: str, status: DeviceStatus, note: str) -> None:
        await self._wait(lambda: self._registry.set_status(device_id, status, tenant_id=tenant_id, note=note))

    def _expel(self, session: Session, refused: IdentityRefused) -> None:
        association = session.association
        if association is None or association.closed:
            return
        device = session.principal.device
        self._log.warning(
            "identity.session_revoked",
            device=device.id,
            tenant=device.tenant_id,
            reason=refused.reason.value,
            hint=refused.detail,
        )
        self._endpoint.expel(association)
        self._flush_soon()

    async def _note(self) -> None:
        now = self._clock()
        if now < self._seen_due:
            return
        self._seen_due = now + SEEN_INTERVAL_S
        if self._seen or self._used:
            seen, used = self._seen, self._used
            self._seen, self._used = {}, {}
            devices = [(tenant, device, at) for (tenant, device), at in seen.items()]
            try:
                await self._wait(lambda: self._registry.seen(devices, used.items()))
            except RegistryError:
                self._seen, self._used = {**seen, **self._seen}, {**used, **self._used}
                raise
        if now >= self._prune_due:
            self._prune_due = now + PRUNE_INTERVAL_S
            await self._wait(self._registry.prune)

    async def _wait(self, work: Callable[[], T]) -> T:
        """Does what may wait: in a thread, if the registry is behind a network."""
        return await asyncio.to_thread(work) if self._reads.remote else work()
