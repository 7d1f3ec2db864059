"""Verifying a device's certificate chain to a trust anchor."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.model import DEFAULT_TENANT
from gateway.pki.certificates import fingerprint, parse, peer_data
from gateway.pki.diagnosis import Shelf, diagnose, refuse_dates
from gateway.pki.errors import ChainProblem, ChainRefused
from gateway.pki.limits import MAX_CHAIN_CERTIFICATES, MAX_KNOWN_ISSUERS, MAX_VERIFIED_CHAINS
from gateway.pki.names import device_name
from gateway.pki.policy import LEAF_CURVES, check_ca_key, check_leaf_key, check_leaf_profile, one_of_each_name
from gateway.pki.verifier import NoPath, Verifier


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """A certificate that an operator trusts to name devices.

    Usually a root CA or an intermediate CA. A self-signed device certificate works too: it pins that one device.

    Attributes:
        id: SHA-256 fingerprint of the certificate, lower-case hex.
        certificate: The trusted certificate.
        auto_provision: A device seen for the first time under this anchor is created in the registry.
        tenant_id: The tenant whose devices this anchor names. Tenants are told apart by nothing else.
        strict: CAs under this anchor must follow the web PKI's profile; by default the factory profile (see `policy`).
    """

    id: str
    certificate: x509.Certificate
    auto_provision: bool = False
    tenant_id: str = DEFAULT_TENANT
    strict: bool = False

    @classmethod
    def of(
        cls,
        certificate: x509.Certificate,
        *,
        auto_provision: bool = False,
        tenant_id: str = DEFAULT_TENANT,
        strict: bool = False,
    ) -> "TrustAnchor":
        """Makes an anchor of a certificate, its id computed."""
        return cls(fingerprint(certificate), certificate, auto_provision, tenant_id, strict)


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A chain that verified.

    Attributes:
        anchor: The trust anchor that the path ends in; it decides the tenant.
        issuers: The path above the leaf, up to the anchor's certificate; empty for an anchor that pins one device.
        device_name: The name by the rule of `names`.
        fingerprint: SHA-256 fingerprint of the leaf, lower-case hex.
        not_before: Since when every certificate of the path is valid, with a time zone.
        not_after: Until when, that second included.
        serial: The leaf's serial number.
        organizations: The organizationName attributes of the leaf's subject.
    """

    anchor: TrustAnchor
    issuers: tuple[x509.Certificate, ...] = field(repr=False)
    device_name: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    serial: int
    organizations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _KnownIssuer:
    """An intermediate that stood directly above a leaf in a verified path.

    The path above it was checked then and needs no second check of its signatures, only of its dates.
    """

    path: tuple[x509.Certificate, ...]
    verifier: Verifier


class TrustStore:
    """The trust anchors, and the verifiers over them. When anchors change, make a new one."""

    def __init__(
        self,
        anchors: Iterable[TrustAnchor],
        intermediates: Iterable[x509.Certificate] = (),
        *,
        leaf_curves: frozenset[str] = LEAF_CURVES,
    ) -> None:
        """Takes the anchors.

        Args:
            anchors: What is trusted.
            intermediates: Untrusted helpers for devices that send only their own certificate.
            leaf_curves: Curves accepted for a device's own key, by `cryptography` name.
        """
        # By certificate, as the verifier hands it back: its hash is cheaper than a fingerprint.
        self._anchors = {anchor.certificate: anchor for anchor in anchors}
        self._intermediates = tuple(intermediates)
        self._leaf_curves = leaf_curves
        self._shelf = Shelf(self._anchors, self._intermediates)
        self._verifiers: list[Verifier] = []
        for strict in (True, False):
            certificates = [a.certificate for a in self._anchors.values() if a.strict is strict]
            if certificates:
                self._verifiers.append(Verifier(certificates, strict=strict))
        self._known: dict[bytes, _KnownIssuer] = {}
        self._verified: dict[bytes, VerifiedChain] = {}

    @property
    def anchors(self) -> tuple[TrustAnchor, ...]:
        """The trust anchors, in the order given."""
        return tuple(self._anchors.values())

    def verify(self, chain_der: Sequence[bytes], at: datetime) -> VerifiedChain:
        """Verifies what a device presented.

        Args:
            chain_der: DER certificates, the device's own first (RFC 5246 section 7.4.2); the others in any order.
            at: The time to verify for, with a time zone.

        Raises:
            ChainRefused: The chain is not acceptable. No other exception, whatever the bytes.
        """
        if not chain_der:
            raise ChainRefused(
                ChainProblem.NO_CERTIFICATE,
                "the device sent no certificate; install one on it (`gateway cert issue --device ID`), or let it use a "
                "pre-shared key",
            )
        if len(chain_der) > MAX_CHAIN_CERTIFICATES:
            raise ChainRefused(
                ChainProblem.CHAIN_TOO_LONG,
                f"the device sent {len(chain_der)} certificates, at most {MAX_CHAIN_CERTIFICATES} are accepted; "
                "install only its own certificate and the intermediates on it",
            )
        with peer_data("the device's chain"):
            # Signatures that verified once verify again: of a device that comes back only the dates are looked at.
            seen = _digest(chain_der)
            known = self._verified.get(seen)
            if known is not None and known.not_before <= at and at.replace(microsecond=0) <= known.not_after:
                return known
            leaf = parse(chain_der[0], 0)
            check_leaf_key(leaf, self._leaf_curves)
            path = self._known_path(leaf, chain_der, at) or self._full_path(leaf, chain_der, at)
            for certificate in path:
                # The verifier's clock may be a minute old; ours is not.
                refuse_dates(certificate, at, is_leaf=certificate is leaf)
            verified = VerifiedChain(
                self._anchors[path[-1]],
                path[1:],
                device_name(leaf),
                fingerprint(leaf),
                max(certificate.not_valid_before_utc for certificate in path),
                min(certificate.not_valid_after_utc for certificate in path),
                leaf.serial_number,
                tuple(str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
            )
            if len(self._verified) >= MAX_VERIFIED_CHAINS:
                del self._verified[next(iter(self._verified))]
            self._verified[seen] = verified
            return verified

    def _known_path(
        self, leaf: x509.Certificate, chain_der: Sequence[bytes], at: datetime
    ) -> tuple[x509.Certificate, ...] | None:
        known = self._known.get(chain_der[1]) if len(chain_der) == 2 else None
        if known is None:
            return None
        try:
            known.verifier.path(leaf, (), at)
        except NoPath:
            return None
        return (leaf, *known.path)

    def _full_path(
        self, leaf: x509.Certificate, chain_der: Sequence[bytes], at: datetime
    ) -> tuple[x509.Certificate, ...]:
        presented = self._presented(chain_der)
        text = ""
        for verifier in self._verifiers:
            try:
                path = tuple(verifier.path(leaf, (*presented, *self._intermediates), at))
            except NoPath as error:
                text = str(error)
            else:
                self._remember(path, chain_der)
                return path
        check_leaf_profile(leaf)
        raise diagnose(leaf, presented, self._shelf, at, text)

    def _presented(self, chain_der: Sequence[bytes]) -> list[x509.Certificate]:
        """The CA certificates that the device sent, none of which costs much to look at. Anchors are known anyway."""
        strangers = []
        for position, der in enumerate(chain_der[1:], 1):
            if der == chain_der[0]:
                continue  # some clients send their own certificate again, in front of those above it
            certificate = parse(der, position)
            if certificate not in self._anchors:
                check_ca_key(certificate, position)
                strangers.append(certificate)
        return one_of_each_name(strangers)

    def _remember(self, path: tuple[x509.Certificate, ...], chain_der: Sequence[bytes]) -> None:
        # Only the plain case, leaf and issuer sent and nothing else, so that there is one way to read the chain. A name
        # constraint above would have to be checked against each leaf, so such a path is never shortened.
        if len(chain_der) != 2 or len(path) < 3 or path[1].public_bytes(Encoding.DER) != chain_der[1]:
            return
        if any(_has_name_constraints(certificate) for certificate in path[1:]):
            return
        if len(self._known) >= MAX_KNOWN_ISSUERS:
            del self._known[next(iter(self._known))]
        strict = self._anchors[path[-1]].strict
        self._known[chain_der[1]] = _KnownIssuer(path[1:], Verifier([path[1]], strict=strict))


def _digest(chain_der: Sequence[bytes]) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    for der in chain_der:
        digest.update(len(der).to_bytes(4) + der)
    return digest.finalize()


def _has_name_constraints(certificate: x509.Certificate) -> bool:
    return any(isinstance(extension.value, x509.NameConstraints) for extension in certificate.extensions)
