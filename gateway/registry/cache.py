"""Credentials of devices that connect again and again, and what all handshakes go by, kept in memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gateway.registry.errors import RegistryError
from gateway.registry.limits import CACHE_CHECK_S, MAX_CACHED_CREDENTIALS
from gateway.registry.policy import AnchorPolicy
from gateway.registry.records import (
    AnchorRecord,
    CertificateCredential,
    Changes,
    CrlRecord,
    PskCredential,
    PublicKeyCredential,
    Standing,
    Tenant,
)
from gateway.registry.registry import Registry
from gateway.registry.steps import Steps, wait_for

_K = TypeVar("_K")
_V = TypeVar("_V")
_Credential = TypeVar("_Credential", PskCredential, PublicKeyCredential, CertificateCredential)


@dataclass(frozen=True, slots=True)
class Trust:
    """All that chains are verified by."""

    anchors: list[AnchorRecord]
    intermediates: list[bytes]
    crls: list[CrlRecord]
    bans: dict[str, str]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the change log said, with the tenants where they are among it."""

    changes: Changes
    tenants: list[Tenant] | None


class CachedReads:
    """What handshakes read, out of memory.

    The change log tells what to forget: changes by this process at once, those of others within `CACHE_CHECK_S`. Only
    what exists is kept, so that a search for identities drives no device out. While the store cannot be read, what is
    cached still serves, and everything else fails as it does without a cache.

    A store in a file looks at its log by itself, before a read. One behind a network does not: whoever owns the event
    loop calls `fetch` in a thread, and `apply` in the loop, again and again.
    """

    def __init__(self, store: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins with the tenants.

        Args:
            store: What is read on a miss.
            clock: Seconds that never go back.

        Raises:
            Unavailable: The store cannot be read.
        """
        self._store = store
        self._clock = clock
        self._listeners: list[Callable[[Changes], None]] = []
        self._psks: dict[tuple[str, bytes], PskCredential] = {}
        self._public_keys: dict[bytes, PublicKeyCredential] = {}
        self._certificates: dict[tuple[str, str], CertificateCredential] = {}
        self._tenants: dict[str, Tenant] = {}
        self._by_server_name: dict[str, str] = {}
        self._generation = 0
        self._checked_at = clock()
        self._writes = store.writes
        self._touched = store.touched()
        # First where the log stands: what changes while the tenants are read is read again.
        self._seq = store.changes_since(-1).seq
        self._take_tenants(store.tenants())

    @property
    def remote(self) -> bool:
        """Whether the store's owner has to call `fetch` and `apply`."""
        return self._store.remote

    def on_change(self, listener: Callable[[Changes], None]) -> None:
        """Tells somebody else who keeps copies, after this cache has forgotten its own."""
        self._listeners.append(listener)

    def find_psk(self, tenant_id: str, identity: bytes) -> Steps[PskCredential | None]:
        """As `Registry.find_psk`."""
        key = tenant_id, identity
        return self._find(self._psks, key, lambda: self._store.find_psk(tenant_id, identity))

    def find_rpk(self, fingerprint: bytes) -> Steps[PublicKeyCredential | None]:
        """As `Registry.find_rpk`."""
        return self._find(self._public_keys, fingerprint, lambda: self._store.find_rpk(fingerprint))

    def find_certificate_device(self, tenant_id: str, device_id: str) -> Steps[CertificateCredential | None]:
        """As `Registry.find_certificate_device`."""
        key = tenant_id, device_id
        return self._find(self._certificates, key, lambda: self._store.find_certificate_device(tenant_id, device_id))

    def standing(self, credential_id: str) -> Steps[Standing | None]:
        """As `Registry.standing`. Never out of memory: it is asked because something changed."""
        if self._store.remote:
            return (yield from wait_for(lambda: self._store.standing(credential_id)))
        return self._store.standing(credential_id)

    def provision_device(
        self, tenant_id: str, device_id: str, *, anchor_id: str, policy: AnchorPolicy, serial: str
    ) -> Steps[CertificateCredential]:
        """As `Registry.provision_device`."""

        def work() -> CertificateCredential:
            return self._store.provision_device(tenant_id, device_id, anchor_id=anchor_id, policy=policy, serial=serial)

        if self._store.remote:
            return (yield from wait_for(work))
        return work()

    def tenant(self, tenant_id: str) -> Tenant | None:
        """A tenant, as of the last `refresh`; None when there is none."""
        return self._tenants.get(tenant_id)

    def tenant_of_server_name(self, server_name: str) -> str | None:
        """Which tenant a server name asks for, in whatever case; None for no particular one."""
        return self._by_server_name.get(server_name.lower())

    def trust(self) -> Trust:
        """All that chains are verified by, as it is now. May wait.

        Raises:
            Unavailable: The store cannot be read.
        """
        store = self._store
        return Trust(store.trust_anchors(), store.intermediates(), store.crls(), store.bans())

    def refresh(self) -> None:
        """Looks at the log, if the store is a file and it is time to. Never raises."""
        store = self._store
        if store.remote:
            return
        now = self._clock()
        if store.writes == self._writes and now - self._checked_at < CACHE_CHECK_S:
            return
        self._checked_at = now
        try:
            writes, touched = store.writes, store.touched()
            if writes == self._writes and touched == self._touched:
                return
            self._writes, self._touched = writes, touched
            fetched = self.fetch()
        except RegistryError:
            self._touched = -1  # looked at again as soon as it can be
            return
        self.apply(fetched)

    def fetch(self) -> Fetched:
        """What the log says since the last `apply`. May wait.

        Raises:
            Unavailable: The store cannot be read.
        """
        changes = self._store.changes_since(self._seq)
        return Fetched(changes, self._store.tenants() if changes.tenants or changes.everything else None)

    def apply(self, fetched: Fetched) -> None:
        """Forgets what has changed, and tells the listeners."""
        changes = fetched.changes
        self._seq = changes.seq
        if not changes:
            return
        self._generation += 1
        if changes.everything:
            self._psks.clear()
            self._public_keys.clear()
            self._certificates.clear()
        elif changes.devices:
            gone = set(changes.devices)
            _forget(self._psks, gone)
            _forget(self._public_keys, gone)
            _forget(self._certificates, gone)
        if fetched.tenants is not None:
            self._take_tenants(fetched.tenants)
        for listener in self._listeners:
            listener(changes)

    def _find(self, cache: dict[_K, _V], key: _K, look: Callable[[], _V | None]) -> Steps[_V | None]:
        self.refresh()
        found = cache.get(key)
        if found is not None:
            return found
        generation = self._generation
        found = (yield from wait_for(look)) if self._store.remote else look()
        # What was read while something changed may be the old state already.
        if found is not None and generation == self._generation:
            if len(cache) >= MAX_CACHED_CREDENTIALS:
                del cache[next(iter(cache))]
            cache[key] = found
        return found

    def _take_tenants(self, tenants: list[Tenant]) -> None:
        self._tenants = {tenant.id: tenant for tenant in tenants}
        self._by_server_name = {name: tenant.id for tenant in tenants for name in tenant.sni_names}


def _forget(cache: dict[_K, _Credential], gone: set[tuple[str, str]]) -> None:
    outdated = [key for key, value in cache.items() if (value.device.tenant_id, value.device.id) in gone]
    for key in outdated:
        del cache[key]
