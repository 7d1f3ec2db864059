"""The registry's trust, as something that verifies."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from gateway.identity.limits import MAX_ISSUER_PATHS
from gateway.identity.reasons import IdentityRefused, Refusal
from gateway.model import TWIN_LENGTH
from gateway.pki import (
    ChainProblem,
    ChainRefused,
    CrlPolicy,
    CrlRefused,
    IdentityRule,
    PkiError,
    RevocationList,
    Revocations,
    TrustAnchor,
    TrustStore,
    equivalent_fingerprints,
    fingerprint,
    parse_certificates,
    read_crl,
    short_name,
)
from gateway.registry import AnchorRecord, Trust

_TERMS_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class _IssuerPath:
    """The certificates above a leaf, up to the anchor's, and every fingerprint by which one of them may be banned."""

    certificates: tuple[x509.Certificate, ...]
    fingerprints: frozenset[str]


@dataclass(frozen=True, slots=True)
class Shown:
    """What is kept of a device's certificate after its chain has verified.

    Attributes:
        fingerprint: SHA-256 as presented, lower-case hex.
        twin: See `Principal`.
        serial: Its serial number.
        issuer_id: As `Trusted.issuer_id` said.
        anchor_id: The trust anchor that it verified to.
        tenant_id: The tenant that it was for.
    """

    fingerprint: str
    twin: bytes
    serial: int
    issuer_id: str | None
    anchor_id: str
    tenant_id: str


class Trusted:
    """What chains are verified by at one time. When the registry's trust changes, a new one is made.

    Attributes:
        store: Verifies.
        records: The usable trust anchors by id.
        unusable: Ids of stored anchors that cannot be used, and issuers of revocation lists that cannot be read.
    """

    def __init__(
        self, trust: Trust, leaf_curves: frozenset[str], at: datetime, before: "Trusted | None" = None
    ) -> None:
        """Builds the verifiers.

        Args:
            trust: What the registry says.
            leaf_curves: Curves accepted for a device's own key, by `cryptography` name.
            at: The present time, with a time zone.
            before: The one that this one replaces: what it has verified is not verified again, if the anchors are the
                same; the paths that it has met are remembered.
        """
        self._trust = trust
        self.records: dict[str, AnchorRecord] = {}
        anchors: list[TrustAnchor] = []
        unusable: list[str] = []
        for record in trust.anchors:
            try:
                anchors.append(usable_anchor(record))
                self.records[record.id] = record
            except PkiError:
                unusable.append(record.id)
        intermediates = [each for der in trust.intermediates for each in _certificates(der)]
        issuers = [anchor.certificate for anchor in anchors] + intermediates
        self._lists: dict[bytes, RevocationList] = {}
        for stored in trust.crls:
            # A list of 100,000 entries takes a second to read: not again for every change of something else.
            known = before._lists.get(stored.der) if before is not None else None
            if known is not None and known.issuer in issuers:
                self._lists[stored.der] = known
                continue
            try:
                self._lists[stored.der] = read_crl(stored.der, issuers, at)
            except CrlRefused:  # its CA is no longer known here
                unusable.append(stored.issuer)
        self.unusable = tuple(unusable)
        self._revocations = Revocations(self._lists.values())
        self.store: TrustStore
        if before is not None and before._same_anchors(trust):
            self.store = before.store.with_revocations(self._revocations, trust.bans)
        else:
            self.store = TrustStore(
                anchors,
                intermediates,
                leaf_curves=leaf_curves,
                revocations=self._revocations,
                distrusted=trust.bans,
            )
        self._banned_starts = frozenset(ban[: 2 * TWIN_LENGTH] for ban in trust.bans)
        self._terms = {anchor_id: _terms(record) for anchor_id, record in self.records.items()}
        self._paths: dict[str, _IssuerPath] = before._paths if before is not None else {}
        # By identity, and held: the library encodes a certificate to hash it.
        self._issuer_ids: dict[int, tuple[x509.Certificate, str]] = {}

    @property
    def revocations(self) -> Revocations:
        """The revocation lists in use."""
        return self._revocations

    def issuer_id(self, issuers: tuple[x509.Certificate, ...]) -> str | None:
        """The fingerprint of the certificate right above a leaf; None for a leaf that is trusted by itself.

        The path above it is remembered, for `check_again`.
        """
        if not issuers:
            return None
        issuer = issuers[0]
        known = self._issuer_ids.get(id(issuer))
        if known is not None and known[1] in self._paths:
            return known[1]
        name = fingerprint(issuer)
        if len(self._issuer_ids) >= MAX_ISSUER_PATHS:
            self._issuer_ids.clear()
        self._issuer_ids[id(issuer)] = issuer, name
        if name not in self._paths:
            if len(self._paths) >= MAX_ISSUER_PATHS:
                del self._paths[next(iter(self._paths))]
            names = {fingerprint(issuers[-1])}
            for position, issuer in enumerate(issuers[1:]):
                names |= equivalent_fingerprints(issuers[position], issuer)
            self._paths[name] = _IssuerPath(issuers, frozenset(names))
        return name

    def terms(self, anchor_id: str) -> bytes:
        """Stands for what an anchor says about whose a certificate is; empty for one that is not trusted."""
        return self._terms.get(anchor_id, b"")

    def check_again(self, shown: Shown, at: datetime, *, resuming: bool) -> None:
        """What became of a verified chain, without the leaf: who has it is who had it, its dates are the caller's.

        Args:
            shown: What is kept of it.
            at: The present time, with a time zone.
            resuming: A session is taken up again, and does not just go on: a revocation list that is missing or
                outdated counts as in a full handshake.

        Raises:
            ChainRefused: It would not verify now, or that cannot be told without the chain.
            IdentityRefused: The anchor may no longer name devices of that tenant.
        """
        anchor_id, issuer_id = shown.anchor_id, shown.issuer_id
        record = self.records.get(anchor_id)
        if record is None:
            raise ChainRefused(
                ChainProblem.UNKNOWN_ROOT,
                f"trust anchor {anchor_id[:16]}... is no longer trusted; trust it again with `gateway ca trust FILE`",
            )
        if shown.tenant_id not in record.tenant_ids:
            raise IdentityRefused(
                Refusal.NO_TENANT,
                f"trust anchor {anchor_id[:16]}... may no longer name devices of tenant '{shown.tenant_id}'; if it "
                "should, trust it for that tenant again with `gateway ca trust FILE --tenant ...`",
            )
        path = self._paths.get(issuer_id or "")
        if issuer_id is not None and path is None:
            raise ChainRefused(ChainProblem.MISSING_INTERMEDIATE, "the device has to show its chain again")
        above = path.certificates if path is not None else ()
        grace = timedelta(seconds=record.policy.expired_grace_s)
        for certificate in above:
            if at.replace(microsecond=0) - certificate.not_valid_after_utc > grace:
                raise ChainRefused(
                    ChainProblem.EXPIRED,
                    f"the CA certificate {short_name(certificate)} has expired; renew the CA and trust the new one",
                )
        names = path.fingerprints if path is not None else frozenset()
        banned = next(iter(self._trust.bans.keys() & (names | {shown.fingerprint, anchor_id})), None)
        if banned is None and shown.twin and (start := shown.twin.hex()) in self._banned_starts:
            banned = next(each for each in self._trust.bans if each.startswith(start))
        if banned is not None:
            said = f" ({self._trust.bans[banned]})" if self._trust.bans[banned] else ""
            raise ChainRefused(
                ChainProblem.DISTRUSTED,
                f"the certificate {banned} is banned here{said}; lift the ban with `gateway ca unban {banned}` if it "
                "was a mistake",
            )
        crl = CrlPolicy(record.policy.crl.value)
        if above and crl is not CrlPolicy.IGNORE:
            status = self._revocations.check_without_leaf(shown.serial, above, at)
            if status.problem is not None and resuming and crl is CrlPolicy.FAIL_CLOSED:
                raise ChainRefused(status.problem, status.detail)

    def _same_anchors(self, trust: Trust) -> bool:
        return self._trust.anchors == trust.anchors and self._trust.intermediates == trust.intermediates


def _terms(record: AnchorRecord) -> bytes:
    said = f"{record.policy.tenant_by} {record.policy.identity_rule}"
    return hashlib.sha256(said.encode()).digest()[:_TERMS_LENGTH]


def usable_anchor(record: AnchorRecord) -> TrustAnchor:
    """A stored anchor as the verifier takes it.

    Raises:
        PkiError: It is no certificate, or its policy says what cannot be followed.
    """
    (certificate, *_) = parse_certificates(record.certificate)
    policy = record.policy
    rule = {"identity_rule": IdentityRule.parse(policy.identity_rule)} if policy.identity_rule else {}
    return TrustAnchor(
        record.id,
        certificate,
        record.auto_provision,
        record.tenant_id,
        policy.strict,
        crl=CrlPolicy(policy.crl.value),
        expired_grace=timedelta(seconds=policy.expired_grace_s),
        **rule,
    )


def _certificates(der: bytes) -> list[x509.Certificate]:
    try:
        return parse_certificates(der)
    except PkiError:
        return []
