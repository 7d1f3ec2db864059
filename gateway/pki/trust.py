"""Verifying a device's certificate chain to a trust anchor.

The one place that calls `cryptography.x509.verification`, whose API its authors still call unstable.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.verification import ClientVerifier, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from gateway.model import DEFAULT_TENANT
from gateway.pki.certificates import fingerprint, parse, peer_data
from gateway.pki.diagnosis import Shelf, diagnose, refuse_dates
from gateway.pki.errors import ChainProblem, ChainRefused
from gateway.pki.limits import MAX_CHAIN_CERTIFICATES, MAX_CHAIN_DEPTH, VERIFIER_MAX_AGE
from gateway.pki.names import device_name
from gateway.pki.policy import (
    LEAF_CURVES,
    check_leaf_key,
    check_leaf_profile,
    device_policy,
    factory_ca_policy,
    strict_ca_policy,
)


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
        leaf: The device's certificate.
        anchor: The trust anchor that the path ends in; it decides the tenant.
        chain: The path, from the leaf to the anchor's certificate, both included.
        device_name: The name by the rule of `names`.
        fingerprint: SHA-256 fingerprint of the leaf, lower-case hex.
    """

    leaf: x509.Certificate
    anchor: TrustAnchor
    chain: tuple[x509.Certificate, ...] = field(repr=False)
    device_name: str
    fingerprint: str


class TrustStore:
    """The trust anchors, and the verifiers over them.

    Immutable but for its clock: when anchors change, make a new one.
    """

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
        self._anchors = {anchor.id: anchor for anchor in anchors}
        self._intermediates = list(intermediates)
        self._leaf_curves = leaf_curves
        self._shelf = Shelf([a.certificate for a in self._anchors.values()], self._intermediates)
        self._built_at = datetime.min.replace(tzinfo=UTC)
        self._verifiers: list[ClientVerifier] = []

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
        leaf, helpers = self._parse(chain_der)
        check_leaf_key(leaf, self._leaf_curves)
        path = self._path(leaf, helpers, at)
        for certificate in path:
            # The verifier's clock may be a minute old; ours is not.
            refuse_dates(certificate, at, is_leaf=certificate is path[0])
        anchor = self._anchors[fingerprint(path[-1])]
        return VerifiedChain(leaf, anchor, tuple(path), device_name(leaf), fingerprint(leaf))

    def _parse(self, chain_der: Sequence[bytes]) -> tuple[x509.Certificate, list[x509.Certificate]]:
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
        parsed = [parse(der, position) for position, der in enumerate(chain_der)]
        return parsed[0], parsed[1:]

    def _path(
        self, leaf: x509.Certificate, helpers: list[x509.Certificate], at: datetime
    ) -> Sequence[x509.Certificate]:
        if not self._built_at <= at < self._built_at + VERIFIER_MAX_AGE:
            self._build(at)
        path, text = self._try(leaf, helpers)
        if path is None and any(self._built_at < c.not_valid_before_utc <= at for c in (leaf, *helpers)):
            # Issued since the verifier was built: valid now, but not by the verifier's clock.
            self._build(at)
            path, text = self._try(leaf, helpers)
        if path is not None:
            return path
        check_leaf_profile(leaf)
        with peer_data("the chain"):
            refused = diagnose(leaf, helpers, self._shelf, at, text)
        raise refused

    def _try(
        self, leaf: x509.Certificate, helpers: list[x509.Certificate]
    ) -> tuple[Sequence[x509.Certificate] | None, str]:
        text = ""
        for verifier in self._verifiers:
            with peer_data("the chain"):
                try:
                    return verifier.verify(leaf, [*helpers, *self._intermediates]).chain, ""
                except VerificationError as error:
                    text = str(error)
        return None, text

    def _build(self, at: datetime) -> None:
        # X.509 knows whole seconds; so does the verifier.
        self._built_at = at.astimezone(UTC).replace(microsecond=0)
        self._verifiers = []
        for strict, ca_policy in ((True, strict_ca_policy()), (False, factory_ca_policy())):
            certificates = [a.certificate for a in self._anchors.values() if a.strict is strict]
            if certificates:
                self._verifiers.append(_verifier(certificates, ca_policy, self._built_at))


def _verifier(anchors: list[x509.Certificate], ca_policy: ExtensionPolicy, at: datetime) -> ClientVerifier:
    return (
        PolicyBuilder()
        .store(Store(anchors))
        .time(at)
        .max_chain_depth(MAX_CHAIN_DEPTH)
        .extension_policies(ca_policy=ca_policy, ee_policy=device_policy())
        .build_client_verifier()
    )
