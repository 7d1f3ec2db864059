"""What handshakes read again and again, kept in memory until the store changes."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from gateway.registry.errors import RegistryError
from gateway.registry.interface import HandshakeReads
from gateway.registry.limits import CACHE_CHECK_S, MAX_CACHED_CREDENTIALS
from gateway.registry.records import AnchorRecord, CertificateCredential, PskCredential, PublicKeyCredential

_K = TypeVar("_K")
_V = TypeVar("_V")


class CachedReads:
    """`HandshakeReads` out of memory.

    Any change of the store empties the cache: a change by this process at once, one by another process within
    `CACHE_CHECK_S`. Only what exists is kept, so that a search for identities drives no device out. While the store
    cannot be read, what is cached still serves, and everything else fails as it does without a cache.
    """

    def __init__(self, store: HandshakeReads, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins empty.

        Args:
            store: What is read on a miss.
            clock: Seconds that never go back.
        """
        self._store = store
        self._clock = clock
        self._checked_at = float("-inf")
        self._own_changes = -1
        self._foreign_changes = -1
        self._anchor_revision: int | None = None
        self._psks: dict[bytes, PskCredential] = {}
        self._public_keys: dict[bytes, PublicKeyCredential] = {}
        self._certificates: dict[tuple[str, str], CertificateCredential] = {}

    def find_psk(self, identity: bytes) -> PskCredential | None:
        self._refresh()
        found = self._psks.get(identity)
        if found is None:
            found = self._store.find_psk(identity)
            if found is not None:
                _keep(self._psks, identity, found)
        return found

    def find_rpk(self, fingerprint: bytes) -> PublicKeyCredential | None:
        self._refresh()
        found = self._public_keys.get(fingerprint)
        if found is None:
            found = self._store.find_rpk(fingerprint)
            if found is not None:
                _keep(self._public_keys, fingerprint, found)
        return found

    def find_certificate_device(self, tenant_id: str, device_id: str) -> CertificateCredential | None:
        self._refresh()
        key = tenant_id, device_id
        found = self._certificates.get(key)
        if found is None:
            found = self._store.find_certificate_device(tenant_id, device_id)
            if found is not None:
                _keep(self._certificates, key, found)
        return found

    def provision_device(
        self, tenant_id: str, device_id: str, *, anchor_id: str, create: bool
    ) -> CertificateCredential:
        return self._store.provision_device(tenant_id, device_id, anchor_id=anchor_id, create=create)

    def anchor_revision(self) -> int:
        self._refresh()
        if self._anchor_revision is None:
            self._anchor_revision = self._store.anchor_revision()
        return self._anchor_revision

    def trust_anchors(self) -> list[AnchorRecord]:
        return self._store.trust_anchors()

    def intermediates(self) -> Sequence[bytes]:
        return self._store.intermediates()

    def own_changes(self) -> int:
        return self._store.own_changes()

    def foreign_changes(self) -> int:
        return self._store.foreign_changes()

    def _refresh(self) -> None:
        now = self._clock()
        try:
            own = self._store.own_changes()
            if now - self._checked_at >= CACHE_CHECK_S:
                self._checked_at = now
                foreign = self._store.foreign_changes()
            elif own == self._own_changes:
                return
            else:
                foreign = self._foreign_changes
        except RegistryError:
            return
        if (own, foreign) != (self._own_changes, self._foreign_changes):
            self._own_changes, self._foreign_changes = own, foreign
            self._anchor_revision = None
            self._psks.clear()
            self._public_keys.clear()
            self._certificates.clear()


def _keep(cache: dict[_K, _V], key: _K, value: _V) -> None:
    if len(cache) >= MAX_CACHED_CREDENTIALS:
        del cache[next(iter(cache))]
    cache[key] = value
