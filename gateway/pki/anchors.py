"""What an operator trusts to name devices, and for how much."""

from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509

from gateway.model import DEFAULT_TENANT
from gateway.pki.certificates import fingerprint
from gateway.pki.errors import PkiError
from gateway.pki.limits import MAX_EXPIRED_GRACE
from gateway.pki.names import DEFAULT_RULE, IdentityRule
from gateway.pki.revocation import CrlPolicy

_NO_GRACE = timedelta(0)


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """A certificate that an operator trusts to name devices.

    Usually a root CA or an intermediate CA. A self-signed device certificate works too: it pins that one device.

    Attributes:
        id: SHA-256 fingerprint of the certificate, lower-case hex.
        certificate: The trusted certificate.
        auto_provision: A device seen for the first time under this anchor is created in the registry.
        tenant_id: The tenant whose devices this anchor names.
        strict: CAs under this anchor must follow the web PKI's profile; by default the factory profile (see `policy`).
        identity_rule: Where its devices' certificates have their name.
        crl: What revocation lists decide about its devices.
        expired_grace: How long after its end a certificate of a path to this anchor still counts, itself included: for
            devices that nobody renews and that have no clock to notice.

    Raises:
        PkiError: The grace is negative, or longer than `MAX_EXPIRED_GRACE`.
    """

    id: str
    certificate: x509.Certificate
    auto_provision: bool = False
    tenant_id: str = DEFAULT_TENANT
    strict: bool = False
    identity_rule: IdentityRule = DEFAULT_RULE
    crl: CrlPolicy = CrlPolicy.FAIL_OPEN
    expired_grace: timedelta = _NO_GRACE

    def __post_init__(self) -> None:
        if not _NO_GRACE <= self.expired_grace <= MAX_EXPIRED_GRACE:
            raise PkiError(
                f"the grace for expired certificates is {self.expired_grace}; give one between none and "
                f"{MAX_EXPIRED_GRACE.days} days"
            )

    @classmethod
    def of(
        cls,
        certificate: x509.Certificate,
        *,
        auto_provision: bool = False,
        tenant_id: str = DEFAULT_TENANT,
        strict: bool = False,
        identity_rule: IdentityRule = DEFAULT_RULE,
        crl: CrlPolicy = CrlPolicy.FAIL_OPEN,
        expired_grace: timedelta = _NO_GRACE,
    ) -> "TrustAnchor":
        """Makes an anchor of a certificate, its id computed."""
        return cls(
            fingerprint(certificate),
            certificate,
            auto_provision,
            tenant_id,
            strict,
            identity_rule,
            crl,
            expired_grace,
        )
