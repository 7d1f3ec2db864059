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

A device that is not active is refused before anything is written.

The trust store follows the registry: each handshake asks whether anchors changed, in this process or in another one.
"""

import hashlib
import hmac
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509

from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.identity.remembering import Remembered, recall, remember
from gateway.model import DEFAULT_TENANT, AuthKind, Device, DeviceStatus, Principal
from gateway.pki import (
    LEAF_CURVES,
    ChainRefused,
    PkiError,
    TrustAnchor,
    TrustStore,
    VerifiedChain,
    parse_certificates,
)
from gateway.registry import (
    AnchorRecord,
    CertificateCredential,
    Conflict,
    CredentialStatus,
    HandshakeReads,
    InvalidValue,
    LimitReached,
    NotActive,
    NotFound,
    PskCredential,
    PublicKeyCredential,
    RegistryError,
)

_SHOWN_IDENTITY_BYTES = 64
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
        registry: HandshakeReads,
        clock: Callable[[], datetime] = utc_now,
        *,
        leaf_curves: frozenset[str] = LEAF_CURVES,
    ) -> None:
        """Starts with the registry's trust anchors.

        Args:
            registry: Where devices are.
            clock: The time, with a time zone.
            leaf_curves: Curves accepted for a device's own key, by `cryptography` name.

        Raises:
            RegistryError: The registry cannot be read.
        """
        self._registry = registry
        self._clock = clock
        self._leaf_curves = leaf_curves
        self._revision = 0
        self._trust = TrustStore([])
        self._unusable: tuple[str, ...] = ()
        self.reload()

    @property
    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The anchors in use."""
        return self._trust.anchors

    @property
    def unusable_anchors(self) -> tuple[str, ...]:
        """Ids of stored anchors that are no certificates, and are left out."""
        return self._unusable

    def psk(self, identity: bytes) -> PskAnswer:
        """The key of a PSK identity.

        On the wire, an unknown identity must look like a wrong key (RFC 4279 section 2): after any refusal the
        handshake goes on with a random key.

        Raises:
            IdentityRefused: There is none, or it may not be used now.
        """
        try:
            found = self._registry.find_psk(identity)
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        if found is None:
            shown, option = _shown(identity)
            raise IdentityRefused(
                Refusal.UNKNOWN_IDENTITY,
                f"no device has the PSK identity {shown}; add one with `gateway device add ID --psk-identity {option} "
                "--psk-file FILE`",
            )
        _check_usable(found)
        principal = Principal(found.device, AuthKind.PSK, found.credential_id, found.version)
        return PskAnswer(found.key, principal)

    def raw_public_key(self, public_key: bytes) -> Principal:
        """Finds the device of a raw public key (RFC 7250). Nothing vouches for such a key but the registry.

        The peer must have proven that it holds the private key.

        Args:
            public_key: The SubjectPublicKeyInfo as presented, DER.

        Raises:
            IdentityRefused: It is no device's, or may not be used now.
        """
        return self._public_key_device(hashlib.sha256(public_key).digest())

    def _public_key_device(self, fingerprint: bytes) -> Principal:
        try:
            found = self._registry.find_rpk(fingerprint)
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        if found is None:
            raise IdentityRefused(
                Refusal.UNKNOWN_PUBLIC_KEY,
                f"no device has the public key with the SHA-256 {fingerprint.hex()}; add one with "
                "`gateway device add ID --public-key FILE`",
            )
        _check_usable(found)
        return Principal(found.device, AuthKind.RPK, found.credential_id, found.version, fingerprint=fingerprint.hex())

    def certificate(self, chain_der: Sequence[bytes]) -> Principal:
        """Verifies a chain and finds, or makes, its device.

        The peer must have proven that it holds the leaf's key (DESIGN D5b), or strangers could provision.

        Args:
            chain_der: DER certificates, the device's own first.

        Raises:
            IdentityRefused: The chain does not verify, or no device goes with it.
        """
        try:
            if self._registry.anchor_revision() != self._revision:
                self.reload()
            verified = self._trust.verify(chain_der, self._clock())
            found = self._registry.find_certificate_device(verified.anchor.tenant_id, verified.device_name)
            if found is None:
                found = self._provision(verified)
        except ChainRefused as refused:
            raise IdentityRefused(Refusal(refused.problem.value), refused.detail) from refused
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        _check_usable(found)
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
        )

    def resume(self, auth: AuthKind, identity: bytes, remembered: bytes) -> Principal:
        """Whether the credential that a session began with would still let its device in.

        Args:
            auth: What kind of credential it was.
            identity: The PSK identity, or SHA-256 of the leaf certificate or of the raw public key.
            remembered: What `remembering.remember` made of the principal then.

        Returns:
            The device as it is now.

        Raises:
            IdentityRefused: Device, credential or trust anchor are not what they were; the device has to prove again
                who it is.
        """
        try:
            if auth is AuthKind.PSK:
                known = self.psk(identity).principal
            elif auth is AuthKind.RPK:
                known = self._public_key_device(identity)
            else:
                known = self._certificate_again(identity, recall(remembered))
        except RegistryError as error:
            raise IdentityRefused(Refusal.REGISTRY_UNAVAILABLE, str(error)) from error
        if not hmac.compare_digest(remember(known), remembered):
            raise IdentityRefused(
                Refusal.CREDENTIAL_REVOKED, f"the credential of device '{known.device.id}' has changed since then"
            )
        return known

    def _certificate_again(self, fingerprint: bytes, then: Remembered) -> Principal:
        """The principal that this certificate would prove now, without the certificate."""
        if self._registry.anchor_revision() != self._revision:
            self.reload()
        now = self._clock()
        if not any(
            anchor.id == then.anchor_id
            and anchor.tenant_id == then.tenant_id
            and anchor.certificate.not_valid_after_utc >= now
            for anchor in self._trust.anchors
        ):
            raise IdentityRefused(Refusal.UNKNOWN_ROOT, f"trust anchor {then.anchor_id[:16]}... is no longer trusted")
        if now.timestamp() > then.valid_until:
            raise IdentityRefused(Refusal.EXPIRED, f"the certificate chain of device '{then.device_id}' has ended")
        found = self._registry.find_certificate_device(then.tenant_id, then.device_id)
        if found is None:
            raise IdentityRefused(Refusal.NOT_PROVISIONED, f"device '{then.device_id}' is not in the registry")
        _check_usable(found)
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
            fingerprint=fingerprint.hex(),
            valid_until=then.valid_until,
        )

    def reload(self) -> None:
        """Builds the trust store anew from the registry.

        Raises:
            RegistryError: The registry cannot be read; the old trust store stays.
        """
        # The revision is read first: a change between the two reads is then seen as one at the next handshake.
        revision = self._registry.anchor_revision()
        records = self._registry.trust_anchors()
        anchors = [(record.id, _anchor(record)) for record in records]
        intermediates = [c for der in self._registry.intermediates() for c in _certificates(der)]
        self._trust = TrustStore(
            [anchor for _, anchor in anchors if anchor is not None], intermediates, leaf_curves=self._leaf_curves
        )
        self._unusable = tuple(anchor_id for anchor_id, anchor in anchors if anchor is None)
        self._revision = revision

    def _provision(self, verified: VerifiedChain) -> CertificateCredential:
        name, anchor = verified.device_name, verified.anchor
        device = Device(name, anchor.tenant_id)
        try:
            return self._registry.provision_device(
                anchor.tenant_id, name, anchor_id=anchor.id, create=anchor.auto_provision
            )
        except NotFound as error:
            raise IdentityRefused(
                Refusal.NOT_PROVISIONED,
                f"device '{name}' has a valid certificate, but is not in the registry; add it with `{_add(device)}`, "
                f"or let trust anchor {anchor.id[:16]}... add devices with `gateway ca trust --auto-provision FILE`",
            ) from error
        except Conflict as error:
            raise IdentityRefused(
                Refusal.NOT_PROVISIONED,
                f"device '{name}' has a valid certificate, but the registry allows it only its key; allow the "
                f"certificate with `{_add(device)} --certificate`",
                device,
            ) from error
        except NotActive as error:
            raise _disabled(error.device) from error
        except LimitReached as error:
            raise IdentityRefused(Refusal.REGISTRY_FULL, str(error)) from error
        except InvalidValue as error:
            raise IdentityRefused(Refusal.NO_IDENTITY, str(error)) from error


def _check_usable(found: PskCredential | PublicKeyCredential | CertificateCredential) -> None:
    device = found.device
    if device.status is not DeviceStatus.ACTIVE:
        raise _disabled(device)
    if found.status not in _USABLE:
        raise IdentityRefused(
            Refusal.CREDENTIAL_REVOKED,
            f"the credential {found.credential_id} of device '{device.id}' is {found.status}; "
            "give the device a new one",
            device,
        )


def _other_issuer(device: Device, bound_to: str, verified: VerifiedChain) -> IdentityRefused:
    return IdentityRefused(
        Refusal.OTHER_ISSUER,
        f"device '{device.id}' is bound to the trust anchor {bound_to[:16]}..., and the certificate presented (SHA-256 "
        f"fingerprint {verified.fingerprint}) is from {verified.anchor.id[:16]}...; this may be an impersonation by "
        "another factory. Only if you know that the device has this certificate, let any CA of its tenant speak for it "
        f"with `{_add(device)} --certificate`",
        device,
    )


def _disabled(device: Device) -> IdentityRefused:
    return IdentityRefused(
        Refusal.DEVICE_DISABLED,
        f"device '{device.id}' is {device.status}; let it in with `{_command('enable', device)}`",
        device,
    )


def _add(device: Device) -> str:
    return _command("add", device)


def _command(verb: str, device: Device) -> str:
    tenant = "" if device.tenant_id == DEFAULT_TENANT else f" --tenant {shlex.quote(device.tenant_id)}"
    return f"gateway device {verb} {shlex.quote(device.id)}{tenant}"


def _shown(identity: bytes) -> tuple[str, str]:
    """An identity for a log line, and as a command line word where it can be one."""
    cut = identity[:_SHOWN_IDENTITY_BYTES]
    dots = "..." if len(identity) > len(cut) else ""
    try:
        text = cut.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        return f"0x{cut.hex()}{dots}", "TEXT"
    return f"{text!r}{dots}", "TEXT" if dots else shlex.quote(text)


def _anchor(record: AnchorRecord) -> TrustAnchor | None:
    certificates = _certificates(record.certificate)
    if not certificates:
        return None
    return TrustAnchor(record.id, certificates[0], record.auto_provision, record.tenant_id, record.strict)


def _certificates(der: bytes) -> list[x509.Certificate]:
    try:
        return parse_certificates(der)
    except PkiError:
        return []
