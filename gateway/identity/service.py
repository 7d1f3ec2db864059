"""From a presented credential to a device (DESIGN D6).

Who may speak for a device:

- the PSK credentials of the device, by their identity;
- its raw public keys, by the SHA-256 of their SubjectPublicKeyInfo;
- certificates, verified to a trust anchor of the device's tenant, that name the device (`gateway.pki.names`):
  - a device that does not exist is created if the anchor has `auto_provision`; it is bound to that anchor, so that
    another factory trusted by the same tenant cannot speak for it;
  - a device that an operator added without a credential takes the first certificate that names it, of any anchor, and
    is bound to that anchor in the same way;
  - a device with a pre-shared or raw public key takes certificates only after an operator allowed them
    (`allow_certificate`);
  - a device whose certificate an operator allowed takes those of the anchor that was named then, or, when none was
    (`gateway device add ID --certificate`), of any: it is not bound.

A device that is not active is refused before anything is written. What may wait for a network is a step (`Steps`): the
registry, if it is not a file, and a webhook.

The trust store follows the registry: each handshake asks whether anchors changed, in this process or in another one.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.identity.provisioning import provision
from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.identity.remembering import Remembered, recall, remember
from gateway.identity.tenancy import certificate_tenant, check_server_name, check_tenant, psk_candidates
from gateway.identity.texts import add_command, device_command, not_active, shown_psk_identity
from gateway.identity.trusted import Shown, Trusted
from gateway.model import TWIN_LENGTH, AuthKind, Device, DeviceStatus, Principal
from gateway.pki import LEAF_CURVES, ChainRefused, RevocationList, TrustAnchor, VerifiedChain
from gateway.registry import (
    CachedReads,
    CertificateCredential,
    Changes,
    CredentialStatus,
    PskCredential,
    PublicKeyCredential,
    RegistryError,
    Steps,
    Tenant,
)

_USABLE = frozenset({CredentialStatus.ACTIVE, CredentialStatus.NEXT})


@dataclass(slots=True)
class PskAnswer:
    """What a handshake needs of a known PSK identity.

    Attributes:
        key: The pre-shared key.
        principal: Who it proves, once the peer's Finished verifies.
    """

    key: bytes = field(repr=False)
    principal: Principal


def utc_now() -> datetime:
    """The system clock."""
    return datetime.now(UTC)


class IdentityService:
    """Answers the engine's questions: the key of an identity, and whose certificate or public key this is."""

    def __init__(
        self,
        reads: CachedReads,
        clock: Callable[[], datetime] = utc_now,
        *,
        leaf_curves: frozenset[str] = LEAF_CURVES,
    ) -> None:
        """Starts with the registry's trust anchors.

        Args:
            reads: Where devices are.
            clock: The time, with a time zone.
            leaf_curves: Curves accepted for a device's own key, by `cryptography` name.

        Raises:
            RegistryError: The registry cannot be read.
        """
        self._reads = reads
        self._clock = clock
        self._leaf_curves = leaf_curves
        self._outdated = False
        self._trusted = Trusted(reads.trust(), leaf_curves, clock())
        reads.on_change(self._on_change)

    @property
    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The anchors in use."""
        return self._trusted.store.anchors

    @property
    def unusable_anchors(self) -> tuple[str, ...]:
        """Ids of stored anchors that are no certificates, and are left out."""
        return self._trusted.unusable

    @property
    def crl_urls(self) -> tuple[str, ...]:
        """Where the revocation lists of the anchors in use are fetched."""
        urls = (url for record in self._trusted.records.values() for url in record.policy.crl_url.split())
        return tuple(dict.fromkeys(urls))

    @property
    def revocation_lists(self) -> tuple[RevocationList, ...]:
        """The revocation lists in use."""
        return self._trusted.revocations.lists

    def psk(self, identity: bytes, server_name: str | None = None) -> Steps[PskAnswer]:
        """The key of a PSK identity.

        On the wire, an unknown identity must look like a wrong key (RFC 4279 section 2): after any refusal the
        handshake goes on with a random key.

        Args:
            identity: As presented.
            server_name: SNI, if the peer sent it.

        Raises:
            IdentityRefused: There is none, or it may not be used now.
        """
        try:
            self._reads.refresh()
            for tenant_id, name in psk_candidates(self._reads, identity, server_name):
                found = yield from self._reads.find_psk(tenant_id, name)
                if found is not None:
                    break
            else:
                raise _unknown_identity(identity, server_name)
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        self._check_psk(found)
        return PskAnswer(found.key, Principal(found.device, AuthKind.PSK, found.credential_id, found.version))

    def raw_public_key(self, public_key: bytes) -> Steps[Principal]:
        """Finds the device of a raw public key (RFC 7250). Nothing vouches for such a key but the registry.

        The peer must have proven that it holds the private key.

        Args:
            public_key: The SubjectPublicKeyInfo as presented, DER.

        Raises:
            IdentityRefused: It is no device's, or may not be used now.
        """
        return self._public_key_device(hashlib.sha256(public_key).digest())

    def certificate(self, chain_der: Sequence[bytes], server_name: str | None = None) -> Steps[Principal]:
        """Verifies a chain and finds, or makes, its device.

        The peer must have proven that it holds the leaf's key (DESIGN D5b), or strangers could provision.

        Args:
            chain_der: DER certificates, the device's own first.
            server_name: SNI, if the peer sent it.

        Raises:
            IdentityRefused: The chain does not verify, or no device goes with it.
        """
        try:
            trusted = self._current()
            verified = trusted.store.verify(chain_der, self._clock())
            tenant_id, found = yield from self._find_certificate(trusted, verified, server_name)
            if found is None:
                anchor = trusted.records[verified.anchor.id]
                found = yield from provision(self._reads, tenant_id, verified, anchor)
        except ChainRefused as refused:
            raise IdentityRefused(Refusal(refused.problem.value), refused.detail) from refused
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        self._check_usable(found)
        if found.anchor_id is not None and found.anchor_id != verified.anchor.id:
            raise _other_issuer(found.device, found.anchor_id, verified)
        return Principal(
            found.device,
            AuthKind.X509,
            found.credential_id,
            found.version,
            anchor_id=verified.anchor.id,
            fingerprint=verified.fingerprint,
            created=found.created,
            valid_until=verified.not_after.timestamp(),
            issuer_id=trusted.issuer_id(verified.issuers),
            serial=verified.serial,
            twin=bytes.fromhex(verified.twin[: 2 * TWIN_LENGTH]),
            terms=trusted.terms(verified.anchor.id),
        )

    def resume(
        self, auth: AuthKind, identity: bytes, remembered: bytes, server_name: str | None = None
    ) -> Steps[Principal]:
        """Whether the credential that a session began with would still let its device in.

        Args:
            auth: What kind of credential it was.
            identity: The PSK identity, or SHA-256 of the leaf certificate or of the raw public key.
            remembered: What `remembering.remember` made of the principal then.
            server_name: SNI, if the peer sent it.

        Returns:
            The device as it is now.

        Raises:
            IdentityRefused: Device, credential or trust anchor are not what they were; the device has to prove again
                who it is.
        """
        try:
            if auth is AuthKind.PSK:
                known = (yield from self.psk(identity, server_name)).principal
            elif auth is AuthKind.RPK:
                known = yield from self._public_key_device(identity)
            else:
                known = yield from self._certificate_again(identity.hex(), recall(remembered), server_name)
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        if not hmac.compare_digest(remember(known), remembered):
            raise IdentityRefused(
                Refusal.CREDENTIAL_REVOKED, f"the credential of device '{known.device.id}' has changed since then"
            )
        return known

    def still_in(self, principal: Principal) -> Steps[Device]:
        """Whether the credential of a live session is what it was, and its device may be here. Returns the device.

        Raises:
            IdentityRefused: Not any more.
        """
        try:
            found = yield from self._reads.standing(principal.credential_id)
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        device = principal.device
        if found is None:
            raise IdentityRefused(
                Refusal.CREDENTIAL_REVOKED, f"device '{device.id}' or its credential was deleted", device
            )
        if found.device.status is not DeviceStatus.ACTIVE:
            raise not_active(found.device)
        if found.version != principal.credential_version or found.status not in _USABLE:
            raise IdentityRefused(
                Refusal.CREDENTIAL_REVOKED, f"the credential of device '{device.id}' has changed since then", device
            )
        return found.device

    def check_trust(self, principal: Principal) -> None:
        """Whether the kind of proof that a live session began with would still be accepted. Costs no look-up.

        Raises:
            IdentityRefused: Its anchor is no longer trusted, one of its certificates was revoked or banned or has
                ended, or its tenant is disabled or no longer takes pre-shared keys.
        """
        if principal.auth is AuthKind.X509:
            self._check_end(principal.device, principal.valid_until)
            shown = Shown(
                principal.fingerprint or "",
                principal.twin,
                principal.serial or 0,
                principal.issuer_id,
                principal.anchor_id or "",
                principal.device.tenant_id,
            )
            self._check_chain(shown, principal.device, resuming=False)
            if principal.terms != self._trusted.terms(shown.anchor_id):
                raise IdentityRefused(
                    Refusal.CREDENTIAL_REVOKED,
                    f"trust anchor {shown.anchor_id[:16]}... finds names or tenants in another way by now; the device "
                    "has to show its certificate again",
                    principal.device,
                )
        tenant = check_tenant(self._reads, principal.device.tenant_id)
        if principal.auth is AuthKind.PSK:
            self._check_psk_era(tenant, principal.device)

    def reload(self) -> None:
        """Builds the trust store anew from the registry. May wait, and may be called in a thread.

        Raises:
            RegistryError: The registry cannot be read; the old trust store stays.
        """
        # Before it is read: what changes meanwhile is read at the next time.
        self._outdated = False
        try:
            self._trusted = Trusted(self._reads.trust(), self._leaf_curves, self._clock(), self._trusted)
        except BaseException:
            self._outdated = True
            raise

    def _on_change(self, changes: Changes) -> None:
        if changes.trust or changes.everything:
            self._outdated = True

    def _current(self) -> Trusted:
        self._reads.refresh()
        # A registry behind a network is read by whoever watches it, outside the event loop.
        if self._outdated and not self._reads.remote:
            self.reload()
        return self._trusted

    def _public_key_device(self, fingerprint: bytes) -> Steps[Principal]:
        try:
            found = yield from self._reads.find_rpk(fingerprint)
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        if found is None:
            raise IdentityRefused(
                Refusal.UNKNOWN_PUBLIC_KEY,
                f"no device has the public key with the SHA-256 {fingerprint.hex()}; add one with "
                "`gateway device add ID --public-key FILE`",
            )
        self._check_usable(found)
        return Principal(found.device, AuthKind.RPK, found.credential_id, found.version, fingerprint=fingerprint.hex())

    def _find_certificate(
        self, trusted: Trusted, verified: VerifiedChain, server_name: str | None
    ) -> Steps[tuple[str, CertificateCredential | None]]:
        record = trusted.records[verified.anchor.id]
        tenant_id = certificate_tenant(self._reads, record, verified, server_name)
        check_tenant(self._reads, tenant_id)
        found = yield from self._reads.find_certificate_device(tenant_id, verified.device_name)
        return tenant_id, found

    def _certificate_again(self, fingerprint: str, then: Remembered, server_name: str | None) -> Steps[Principal]:
        """The principal that this certificate would prove now, without the certificate."""
        device = Device(then.device_id, then.tenant_id)
        self._check_end(device, then.valid_until)
        trusted = self._current()
        shown = Shown(fingerprint, then.twin, then.serial, then.issuer_id, then.anchor_id, then.tenant_id)
        self._check_chain(shown, device, resuming=True)
        check_server_name(self._reads, trusted.records[then.anchor_id], then.tenant_id, server_name)
        found = yield from self._reads.find_certificate_device(then.tenant_id, then.device_id)
        if found is None:
            raise IdentityRefused(Refusal.NOT_PROVISIONED, f"device '{then.device_id}' is not in the registry")
        self._check_usable(found)
        if found.anchor_id not in (None, then.anchor_id):
            raise IdentityRefused(
                Refusal.OTHER_ISSUER, f"device '{then.device_id}' is bound to another trust anchor by now"
            )
        return Principal(
            found.device,
            AuthKind.X509,
            found.credential_id,
            found.version,
            anchor_id=then.anchor_id,
            fingerprint=fingerprint,
            valid_until=then.valid_until,
            issuer_id=then.issuer_id,
            serial=then.serial,
            twin=then.twin,
            terms=trusted.terms(then.anchor_id),
        )

    def _check_end(self, device: Device, valid_until: float | None) -> None:
        if valid_until is not None and self._clock().timestamp() > valid_until:
            raise IdentityRefused(
                Refusal.EXPIRED,
                f"the certificate chain of device '{device.id}' has ended; renew the device's certificate, or the CA",
                device,
            )

    def _check_chain(self, shown: Shown, device: Device, *, resuming: bool) -> None:
        """What became of the certificates since they verified, as far as it can be told without the leaf.

        Raises:
            IdentityRefused: They would not verify now, or that cannot be told.
        """
        try:
            self._trusted.check_again(shown, self._clock(), resuming=resuming)
        except ChainRefused as refused:
            raise IdentityRefused(Refusal(refused.problem.value), refused.detail, device) from refused

    def _check_psk(self, found: PskCredential) -> None:
        tenant = self._check_usable(found)
        device, begin, end = found.device, found.not_before, found.not_after
        if (begin or end) and not (begin or 0.0) <= self._clock().timestamp() <= (end or float("inf")):
            raise IdentityRefused(
                Refusal.CREDENTIAL_EXPIRED,
                f"the pre-shared key {found.credential_id} of device '{device.id}' is outside its time; give the "
                f"device its new key, or make one with `{device_command('rotate', device, noun='psk')}`",
                device,
            )
        self._check_psk_era(tenant, device)

    def _check_psk_era(self, tenant: Tenant, device: Device) -> None:
        if tenant.limits.psk_until and self._clock().timestamp() > tenant.limits.psk_until:
            raise IdentityRefused(
                Refusal.PSK_ENDED,
                f"tenant '{tenant.id}' no longer takes pre-shared keys; give device '{device.id}' a certificate",
                device,
            )

    def _check_usable(self, found: PskCredential | PublicKeyCredential | CertificateCredential) -> Tenant:
        device = found.device
        tenant = check_tenant(self._reads, device.tenant_id)
        if device.status is not DeviceStatus.ACTIVE:
            raise not_active(device)
        if found.status not in _USABLE:
            raise IdentityRefused(
                Refusal.CREDENTIAL_REVOKED,
                f"the credential {found.credential_id} of device '{device.id}' is {found.status}; "
                "give the device a new one",
                device,
            )
        return tenant


def _unknown_identity(identity: bytes, server_name: str | None) -> IdentityRefused:
    shown, option = shown_psk_identity(identity)
    where = f" (server name {server_name!r})" if server_name else ""
    return IdentityRefused(
        Refusal.UNKNOWN_IDENTITY,
        f"no device has the PSK identity {shown}{where}; add one with `gateway device add ID --psk-identity {option} "
        "--psk-file FILE`",
    )


def _other_issuer(device: Device, bound_to: str | None, verified: VerifiedChain) -> IdentityRefused:
    return IdentityRefused(
        Refusal.OTHER_ISSUER,
        f"device '{device.id}' is bound to the trust anchor {(bound_to or '')[:16]}..., and the certificate presented "
        f"(SHA-256 fingerprint {verified.fingerprint}) is from {verified.anchor.id[:16]}...; this may be an "
        "impersonation by another factory. Only if you know that the device has this certificate, let any CA of its "
        f"tenant speak for it with `{add_command(device)} --certificate`",
        device,
    )
