"""Why a chain did not verify.

The verifier answers with prose for programmers. An operator needs a class to count and a sentence to act on, so the
certificates are looked at again here. Nothing in this module decides whether a chain is accepted: it runs only after
the verifier said no, and what it cannot explain is `INVALID` with the verifier's own words. A stranger's chain comes
here, so the signatures that one diagnosis checks are counted: without a signature, names and key ids must do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from gateway.pki.anchors import TrustAnchor
from gateway.pki.certificates import (
    authority_extension,
    authority_key_id,
    describe,
    is_ca,
    printable,
    short_name,
    subject_key_id,
    wanted_issuer,
)
from gateway.pki.errors import ChainProblem, ChainRefused
from gateway.pki.limits import MAX_CHAIN_CERTIFICATES, MAX_CHAIN_DEPTH, MAX_DIAGNOSIS_SIGNATURES
from gateway.pki.validity import earliest_end, refuse_dates, stamp

_TRUST_IT = "trust it with `gateway ca trust FILE` if its devices belong here"


class Shelf:
    """The certificates at hand when issuers are looked for, by subject."""

    def __init__(
        self, anchors: Mapping[x509.Certificate, TrustAnchor], intermediates: Iterable[x509.Certificate]
    ) -> None:
        self._anchors = anchors
        self._by_subject: dict[bytes, list[x509.Certificate]] = {}
        for certificate in (*self._anchors, *intermediates):
            self._by_subject.setdefault(certificate.subject.public_bytes(), []).append(certificate)
        self._organizations = frozenset(
            pair
            for certificates in self._by_subject.values()
            for c in certificates
            for pair in _organization(c.subject)
        )

    @property
    def empty(self) -> bool:
        """Whether there is no trust anchor at all."""
        return not self._anchors

    def anchor(self, certificate: x509.Certificate) -> TrustAnchor | None:
        """The trust anchor that a certificate is itself."""
        return self._anchors.get(certificate)

    def named(self, name: x509.Name) -> list[x509.Certificate]:
        """The anchors and stored intermediates with this subject, anchors first."""
        return self._by_subject.get(name.public_bytes(), [])

    def knows_organization(self, name: x509.Name) -> bool:
        """Whether an anchor or a stored intermediate belongs to the organization that a name states."""
        return not self._organizations.isdisjoint(_organization(name))


@dataclass(frozen=True, slots=True)
class _Path:
    """As far as issuers could be found by name and key id.

    Attributes:
        certificates: From the leaf upwards.
        anchor: The trust anchor that the last one is, if it is one.
        namesakes: Certificates with the right name and another key than the one asked for next.
    """

    certificates: list[x509.Certificate]
    anchor: TrustAnchor | None
    namesakes: list[x509.Certificate]


class _Signatures:
    """The signature checks of one diagnosis, at most `MAX_DIAGNOSIS_SIGNATURES`."""

    def __init__(self) -> None:
        self._left = MAX_DIAGNOSIS_SIGNATURES

    def check(self, subject: x509.Certificate, issuer: x509.Certificate) -> bool | None:
        """Whether the issuer's key signed the subject; None when that may not be found out any more."""
        if self._left == 0:
            return None
        self._left -= 1
        return signed_by(subject, issuer)


def diagnose(
    leaf: x509.Certificate, helpers: list[x509.Certificate], shelf: Shelf, at: datetime, verifier_text: str
) -> ChainRefused:
    """Explains a refusal of the verifier.

    Args:
        leaf: The device's certificate; its own profile is known to be fine.
        helpers: The other certificates that it sent.
        shelf: Anchors and stored intermediates.
        at: The time of the verification.
        verifier_text: What the verifier said.
    """
    if shelf.empty:
        return ChainRefused(
            ChainProblem.UNKNOWN_ROOT,
            f"there is no trust anchor yet; the device's certificate is from {wanted_issuer(leaf)}: {_TRUST_IT}",
        )
    signatures = _Signatures()
    path = _follow(leaf, helpers, shelf, signatures)
    if path.anchor is None:
        return _unanchored(path, shelf)
    try:
        for position, certificate in enumerate(path.certificates):
            _refuse_version(certificate)
            refuse_dates(certificate, at, is_leaf=position == 0, grace=path.anchor.expired_grace)
    except ChainRefused as refused:
        return refused
    return (
        _broken(path.certificates, signatures)
        or _never_valid(path.certificates, at)
        or ChainRefused(
            ChainProblem.INVALID,
            f"the chain of {short_name(leaf)} does not verify: {printable(verifier_text, 300)}; "
            "look at its certificates with `openssl x509 -text`",
        )
    )


def leads_to_an_anchor(leaf: x509.Certificate, helpers: list[x509.Certificate], shelf: Shelf) -> bool:
    """Whether names and key ids do, which is cheap to ask and proves nothing."""
    return _follow(leaf, helpers, shelf, _Signatures()).anchor is not None


def _refuse_version(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3:
        raise ChainRefused(
            ChainProblem.NOT_VERSION_3,
            f"the certificate {short_name(certificate)} is of X.509 version 1, which cannot say whether it is a CA; "
            "issue it as version 3. Some releases of `openssl x509 -req` do that only when given an extension: add "
            "`-extfile FILE` with the line basicConstraints=CA:FALSE (for a device)",
        )


def _follow(leaf: x509.Certificate, helpers: list[x509.Certificate], shelf: Shelf, signatures: _Signatures) -> _Path:
    certificates = [leaf]
    while len(certificates) <= MAX_CHAIN_CERTIFICATES + MAX_CHAIN_DEPTH:
        top = certificates[-1]
        if anchor := shelf.anchor(top):
            return _Path(certificates, anchor=anchor, namesakes=[])
        named = [
            c
            for c in (*shelf.named(top.issuer), *(h for h in helpers if h.subject == top.issuer))
            if c not in certificates
        ]
        fitting = [c for c in named if _key_fits(top, c)]
        if not fitting or (top.issuer == top.subject and signatures.check(top, top) is not False):
            return _Path(certificates, anchor=None, namesakes=named)
        if len(fitting) > 1:
            # The same name and no key id to tell them apart: the one whose key made the signature.
            fitting.sort(key=lambda each: each.not_valid_after_utc, reverse=True)
            fitting = [next((c for c in fitting if signatures.check(top, c)), fitting[0])]
        certificates.append(fitting[0])
    return _Path(certificates, anchor=None, namesakes=[])


def _unanchored(path: _Path, shelf: Shelf) -> ChainRefused:
    top = path.certificates[-1]
    if len(path.certificates) > MAX_CHAIN_CERTIFICATES:
        return _too_long(len(path.certificates))
    if top.issuer == top.subject:
        who = "is self-signed" if len(path.certificates) == 1 else "ends in the self-signed root"
        return ChainRefused(
            ChainProblem.UNKNOWN_ROOT,
            f"the device's chain {who} {describe(top.subject)}, key id {_key_id(top)}, "
            f"which is not a trust anchor; {_TRUST_IT}",
        )
    if path.namesakes:
        have = ", ".join(_key_id(c) for c in path.namesakes[:3])
        return ChainRefused(
            ChainProblem.UNKNOWN_ROOT,
            f"{short_name(top)} is from {wanted_issuer(top)}; a certificate with that name is known, but with "
            f"another key (key id {have}): if the CA made itself a new key, trust its new certificate with "
            "`gateway ca trust FILE`",
        )
    if len(path.certificates) == 1 and _needs_intermediate(top, shelf):
        return ChainRefused(
            ChainProblem.MISSING_INTERMEDIATE,
            f"the device sent its own certificate without the one of its issuer, {wanted_issuer(top)}; install the "
            "chain file (device certificate, then intermediate) on the device, or trust the issuer itself with "
            "`gateway ca trust FILE`",
        )
    return ChainRefused(
        ChainProblem.UNKNOWN_ROOT,
        f"{short_name(top)} is from {wanted_issuer(top)}, which is not a trust anchor; {_TRUST_IT}. If it is an "
        "intermediate CA under a trust anchor, install its certificate on the device instead",
    )


def _needs_intermediate(leaf: x509.Certificate, shelf: Shelf) -> bool:
    """Whether the unknown issuer of a lone certificate is an intermediate of ours rather than a stranger.

    A leaf does not say what its issuer is. Decisive where present: authorityCertIssuer, which names the issuer's issuer
    (RFC 5280 section 4.2.1.1). Otherwise the organization decides: a CA hierarchy shares it.
    """
    authority = authority_extension(leaf)
    if authority and authority.authority_cert_issuer:
        return any(
            isinstance(name, x509.DirectoryName) and shelf.named(name.value) for name in authority.authority_cert_issuer
        )
    return shelf.knows_organization(leaf.issuer)


def _broken(path: list[x509.Certificate], signatures: _Signatures) -> ChainRefused | None:
    for subject, issuer in pairwise(path):
        if not is_ca(issuer):
            return ChainRefused(
                ChainProblem.NOT_A_CA,
                f"{short_name(subject)} is issued by {short_name(issuer)}, which is not a CA certificate "
                "(basicConstraints cA=true is missing); issue it from a CA",
            )
        if not _may_sign(issuer):
            return ChainRefused(
                ChainProblem.NOT_A_CA,
                f"the keyUsage of the CA certificate {short_name(issuer)} lacks keyCertSign; issue it one with it",
            )
        if signatures.check(subject, issuer) is False:
            return ChainRefused(
                ChainProblem.BAD_SIGNATURE,
                f"the signature on {short_name(subject)} was not made by the key of {short_name(issuer)}; the "
                "certificate is damaged or forged, or a CA with the same name made itself a new key: issue it again",
            )
    if len(path) > MAX_CHAIN_DEPTH + 2:
        return _too_long(len(path))
    for above, issuer in enumerate(path[1:]):
        # `above` intermediates lie between this issuer and the leaf (RFC 5280 section 4.2.1.9).
        limit = _path_length(issuer)
        if limit is not None and above > limit:
            return ChainRefused(
                ChainProblem.CHAIN_TOO_LONG,
                f"the CA certificate {short_name(issuer)} allows {limit} intermediate CAs below it "
                f"(pathLenConstraint), the chain has {above}; issue the device's certificate from a CA higher up",
            )
    return None


def _never_valid(path: list[x509.Certificate], at: datetime) -> ChainRefused | None:
    """The reason if one certificate had ended before another one began, which no grace can help."""
    end, begin = earliest_end(path), max(certificate.not_valid_before_utc for certificate in path)
    if begin <= end or at <= end:
        return None
    return ChainRefused(
        ChainProblem.EXPIRED,
        f"the certificates of {short_name(path[0])} and its CAs were never valid at the same time: one expired at "
        f"{stamp(end)}, before another one began at {stamp(begin)}, and the trust anchor's grace cannot help there; "
        "issue the device a new certificate with `gateway cert issue`",
    )


def _too_long(length: int) -> ChainRefused:
    return ChainRefused(
        ChainProblem.CHAIN_TOO_LONG,
        f"the chain has more than {MAX_CHAIN_DEPTH} intermediate certificates ({length} certificates were followed); "
        "trust a CA nearer to the device with `gateway ca trust FILE`",
    )


def _key_fits(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    wanted, has = authority_key_id(subject), subject_key_id(issuer)
    return wanted is None or has is None or wanted == has


def _key_id(certificate: x509.Certificate) -> str:
    key_id = subject_key_id(certificate)
    return key_id.hex() if key_id else "not stated"


def signed_by(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that a certificate was signed with."""
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_sign(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _path_length(issuer: x509.Certificate) -> int | None:
    return issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length


def _organization(name: x509.Name) -> set[tuple[str, str | bytes]]:
    kinds = (NameOID.ORGANIZATION_NAME, NameOID.DOMAIN_COMPONENT)
    return {(a.oid.dotted_string, a.value) for kind in kinds for a in name.get_attributes_for_oid(kind)}
