"""The registry's trust, as something that verifies."""

from datetime import datetime

from cryptography import x509

from gateway.identity.limits import MAX_ISSUER_PATHS
from gateway.pki import (
    ChainProblem,
    ChainRefused,
    PkiError,
    TrustAnchor,
    TrustStore,
    fingerprint,
    parse_certificates,
    short_name,
)
from gateway.registry import AnchorRecord, Trust

Path = tuple[x509.Certificate, ...]


class Trusted:
    """What chains are verified by at one time. When the registry's trust changes, a new one is made.

    Attributes:
        store: Verifies.
        records: The usable trust anchors by id.
        unusable: Ids of stored anchors that are no certificates.
    """

    def __init__(self, trust: Trust, leaf_curves: frozenset[str]) -> None:
        """Builds the verifiers.

        Args:
            trust: What the registry says.
            leaf_curves: Curves accepted for a device's own key, by `cryptography` name.
        """
        self.records: dict[str, AnchorRecord] = {}
        anchors: list[TrustAnchor] = []
        unusable: list[str] = []
        for record in trust.anchors:
            anchor = _anchor(record)
            if anchor is None:
                unusable.append(record.id)
            else:
                anchors.append(anchor)
                self.records[record.id] = record
        self.unusable = tuple(unusable)
        intermediates = [each for der in trust.intermediates for each in _certificates(der)]
        self.store = TrustStore(anchors, intermediates, leaf_curves=leaf_curves)

        self._bans = trust.bans
        self._paths: dict[str, Path] = {}

    def issuer_id(self, issuers: Path) -> str | None:
        """The fingerprint of the certificate right above a leaf; None for a leaf that is trusted by itself.

        The path above it is remembered, for `check_again`.
        """
        if not issuers:
            return None
        id = fingerprint(issuers[0])
        if id not in self._paths:
            if len(self._paths) >= MAX_ISSUER_PATHS:
                del self._paths[next(iter(self._paths))]
            self._paths[id] = issuers
        return id

    def take_paths(self, before: "Trusted") -> None:
        """Remembers the paths that an older one has met. Whether they still lead to an anchor is asked each time."""
        self._paths.update(before._paths)

    def check_again(self, leaf: str, serial: int, issuer_id: str | None, anchor_id: str, at: datetime) -> None:
        """What became of a verified chain, without the leaf: who has it is who had it, its dates are the caller's.

        Args:
            leaf: SHA-256 of the leaf certificate, lower-case hex.
            serial: Its serial number.
            issuer_id: As `issuer_id` said.
            anchor_id: The trust anchor that it verified to.
            at: The present time, with a time zone.

        Raises:
            ChainRefused: It would not verify now, or that cannot be told without the chain.
        """
        if anchor_id not in self.records:
            raise ChainRefused(
                ChainProblem.UNKNOWN_ROOT,
                f"trust anchor {anchor_id[:16]}... is no longer trusted; trust it again with `gateway ca trust FILE`",
            )
        path = self._paths.get(issuer_id or "")
        if issuer_id is not None and path is None:
            raise ChainRefused(ChainProblem.MISSING_INTERMEDIATE, "the device has to show its chain again")
        for certificate in path or ():
            if certificate.not_valid_after_utc < at.replace(microsecond=0):
                raise ChainRefused(ChainProblem.EXPIRED, f"{short_name(certificate)} has expired")
        for id in (leaf, anchor_id, *map(fingerprint, path or ())):
            if id in self._bans:
                reason = f" ({self._bans[id]})" if self._bans[id] else ""
                raise ChainRefused(
                    ChainProblem.DISTRUSTED,
                    f"the certificate {id} is banned here{reason}; lift the ban if it was a mistake",
                )


def _anchor(record: AnchorRecord) -> TrustAnchor | None:
    certificates = _certificates(record.certificate)
    if not certificates:
        return None
    return TrustAnchor(record.id, certificates[0], record.auto_provision, record.tenant_id, record.policy.strict)


def _certificates(der: bytes) -> list[x509.Certificate]:
    try:
        return parse_certificates(der)
    except PkiError:
        return []
