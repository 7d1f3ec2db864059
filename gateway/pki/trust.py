"""Verifying a device's certificate chain to a trust anchor, and what the anchor's policy makes of it."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from gateway.pki.anchors import TrustAnchor
from gateway.pki.certificates import parse, peer_data, short_name
from gateway.pki.errors import ChainProblem, ChainRefused, PkiError
from gateway.pki.fingerprints import equivalent_fingerprints, twin_fingerprint
from gateway.pki.limits import MAX_CHAIN_CERTIFICATES, MAX_KNOWN_ISSUERS, MAX_VERIFIED_CHAINS
from gateway.pki.names import NameSource, organizations
from gateway.pki.paths import Issuers, Paths
from gateway.pki.policy import LEAF_CURVES, check_leaf_key
from gateway.pki.revocation import CrlPolicy, CrlStatus, Revocations
from gateway.pki.validity import refuse_dates, with_grace

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class VerifiedChain:
    """A chain that verified. It is remembered and shared, so nobody changes it; to freeze it would cost 1.5 us.

    Attributes:
        leaf_der: The device's certificate as it was presented.
        anchor: The trust anchor that the path ends in.
        issuers: The path above the leaf, up to the anchor's certificate; empty for an anchor that pins one device.
        device_name: The name by the anchor's identity rule.
        name_source: Where in the certificate the rule found it.
        fingerprint: SHA-256 fingerprint of the leaf as presented, lower-case hex.
        twin: Its fingerprint with the other encoding of its signature, which anybody can make of it; empty for none.
        serial: The leaf's serial number.
        not_before: Since when every certificate of the path is valid, with a time zone.
        not_after: Until when the path counts, that second included: its earliest end, and the anchor's grace after it.
        expired_within_grace: Its earliest end is past.
        crl: What the revocation lists said. Its `problem` is what the policy `fail_closed` would have refused the chain
            for, a missing or outdated list, and its `detail` is that in words; always None where lists are ignored.
    """

    leaf_der: bytes = field(repr=False)
    anchor: TrustAnchor
    issuers: tuple[x509.Certificate, ...] = field(repr=False)
    device_name: str
    name_source: NameSource
    fingerprint: str
    twin: str
    serial: int
    not_before: datetime
    not_after: datetime
    expired_within_grace: bool
    crl: CrlStatus

    @property
    def leaf(self) -> x509.Certificate:
        """The device's certificate, read anew: twenty thousand verdicts are remembered, and a read one takes 2 kB."""
        return parse(self.leaf_der, 0)

    @property
    def organizations(self) -> tuple[str, ...]:
        """The organizationName attributes of the leaf's subject, as its CA signed them; none if it is unreadable."""
        return organizations(self.leaf)


@dataclass(slots=True)
class _Remembered:
    """A path whose signatures are good, and the last verdict about it.

    Attributes:
        issuers: The path above the leaf.
        judge: Under which revocations the verdict was given; under others it says nothing.
        since: The time that it was given for.
        until: The last second for which it would be the same.
        verified: The verdict.
    """

    issuers: Issuers
    judge: object
    since: datetime
    until: datetime
    verified: VerifiedChain


class TrustStore:
    """The trust anchors, what is revoked, and the verifiers over them.

    When anchors change, make a new one. When only revocations change, `with_revocations` keeps what was verified.
    """

    def __init__(
        self,
        anchors: Iterable[TrustAnchor],
        intermediates: Iterable[x509.Certificate] = (),
        *,
        leaf_curves: frozenset[str] = LEAF_CURVES,
        revocations: Revocations | None = None,
        distrusted: Iterable[str] = (),
    ) -> None:
        """Takes the anchors; none at all is allowed and refuses everybody.

        Args:
            anchors: What is trusted.
            intermediates: CA certificates to complete the chains of devices that send only their own. Not trusted.
            leaf_curves: Curves accepted for the device's own key, by `cryptography` name.
            revocations: The CAs' revocation lists; each anchor says what they decide.
            distrusted: SHA-256 fingerprints of certificates, a device's or a CA's: a path with one of them is refused,
                in whatever encoding it comes.

        Raises:
            PkiError: A fingerprint that is none.
        """
        self._paths = Paths(anchors, intermediates)
        self._leaf_curves = leaf_curves
        self._remembered: dict[bytes, _Remembered] = {}
        self._revocations = revocations or Revocations()
        self._distrusted = frozenset(map(_fingerprint, distrusted))
        self._judge = object()
        # CA certificates that are not banned, by identity, held: the library encodes a certificate to hash it.
        self._innocent: dict[int, x509.Certificate] = {}

    @property
    def anchors(self) -> tuple[TrustAnchor, ...]:
        """The trust anchors, in the order given."""
        return tuple(self._paths.anchors.values())

    def with_revocations(self, revocations: Revocations, distrusted: Iterable[str]) -> "TrustStore":
        """The same trust under other revocations. What verified is judged anew, but no signature is checked again.

        Raises:
            PkiError: A fingerprint that is none.
        """
        made = TrustStore((), leaf_curves=self._leaf_curves, revocations=revocations, distrusted=distrusted)
        made._paths, made._remembered = self._paths, self._remembered
        return made

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
            # Signatures that verified once verify again: of a device that comes back only the rest is looked at, and
            # that only when it may have changed.
            seen = b"".join([hashlib.sha256(der).digest() for der in chain_der])
            known = self._remembered.get(seen)
            if known is None:
                leaf = parse(chain_der[0], 0)
                check_leaf_key(leaf, chain_der[0], self._leaf_curves)
                issuers, alternative_names = self._paths.find(leaf, chain_der, at)
            elif known.judge is self._judge and known.since <= at and at.replace(microsecond=0) <= known.until:
                return known.verified
            else:
                leaf, issuers, alternative_names = parse(chain_der[0], 0), known.issuers, None
            fingerprint = seen[: hashlib.sha256().digest_size].hex()
            judged = self._judged(leaf, issuers, alternative_names, chain_der[0], fingerprint, at)
            if known is None and len(self._remembered) >= MAX_VERIFIED_CHAINS:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[seen] = judged
            return judged.verified

    def _judged(
        self,
        leaf: x509.Certificate,
        issuers: Issuers,
        alternative_names: Sequence[x509.GeneralName] | None,
        leaf_der: bytes,
        fingerprint: str,
        at: datetime,
    ) -> _Remembered:
        """What the anchor's policy says about a path that verified.

        Raises:
            ChainRefused: No.
        """
        anchor, path = issuers.anchor, (leaf, *issuers.certificates)
        begin, end = max(issuers.begin, leaf.not_valid_before_utc), min(issuers.end, leaf.not_valid_after_utc)
        expired = False
        if not begin <= at <= end:
            # The verifier's clock may be a minute old, or stand where the path was still valid; ours does not.
            for certificate in path:
                refuse_dates(certificate, at, is_leaf=certificate is leaf, grace=anchor.expired_grace)
            expired = at.replace(microsecond=0) > end
        if self._distrusted:
            self._refuse_distrusted(path, leaf_der, anchor)
        crl = CrlStatus() if anchor.crl is CrlPolicy.IGNORE else self._revocations.check(path, at)
        if crl.problem is not None and anchor.crl is CrlPolicy.FAIL_CLOSED:
            raise ChainRefused(crl.problem, crl.detail)
        issuer = issuers.certificates[0] if issuers.certificates else None
        found = anchor.identity_rule.find(leaf, issuer, alternative_names)
        last = with_grace(end, anchor.expired_grace) if anchor.expired_grace else end
        verified = VerifiedChain(
            leaf_der,
            anchor,
            issuers.certificates,
            found.name,
            found.source,
            fingerprint,
            twin_fingerprint(leaf, issuers.group_order, leaf_der) if issuers.group_order else "",
            leaf.serial_number,
            begin,
            last,
            expired,
            crl,
        )
        until = last if expired else end
        return _Remembered(issuers, self._judge, at, min(until, crl.until) if crl.until else until, verified)

    def _refuse_distrusted(self, path: tuple[x509.Certificate, ...], leaf_der: bytes, anchor: TrustAnchor) -> None:
        for position, certificate in enumerate(path):
            is_leaf = position == 0
            if id(certificate) in self._innocent:
                continue
            # The anchor is what was given as such, byte for byte.
            names = (
                equivalent_fingerprints(certificate, path[position + 1], leaf_der if is_leaf else None)
                if position + 1 < len(path)
                else frozenset({anchor.id})
            )
            if banned := self._distrusted & names:
                remedy = (
                    "give the device a new key and issue a certificate for it"
                    if is_leaf
                    else "issue the devices below it certificates from another CA"
                )
                raise ChainRefused(
                    ChainProblem.DISTRUSTED,
                    f"the {'device' if is_leaf else 'CA'} certificate {short_name(certificate)} is banned here "
                    f"(SHA-256 fingerprint {min(banned)}); {remedy}, or lift the ban if it was a mistake",
                )
            if not is_leaf:
                if len(self._innocent) >= MAX_KNOWN_ISSUERS:
                    self._innocent.clear()
                self._innocent[id(certificate)] = certificate


def _fingerprint(text: str) -> str:
    """A fingerprint as it is compared; colons and capitals, as OpenSSL prints them, are allowed."""
    plain = text.replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(plain):
        raise PkiError(
            f"{text[:80]!r} is no SHA-256 fingerprint of a certificate; `openssl x509 -in FILE -noout -fingerprint "
            "-sha256` prints it"
        )
    return plain
