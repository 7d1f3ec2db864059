"""Finding a path from a device's certificate to a trust anchor, and remembering what was found.

Whether a path is good is for `verifier` to say, always. What is saved is asking twice: above an intermediate that once
stood in a verified path nothing is verified again but its dates, so that a new device of a known factory costs one
signature. And a verifier knows one time at which everything must be valid, so that for an anchor with a grace it is
asked about the last second at which the path still was.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import VerifiedClient

from gateway.pki.anchors import TrustAnchor
from gateway.pki.certificates import parse
from gateway.pki.diagnosis import Shelf, diagnose, leads_to_an_anchor
from gateway.pki.limits import MAX_GRACE_MOMENTS, MAX_KNOWN_ISSUERS
from gateway.pki.policy import check_ca_key, check_leaf_profile, one_of_each_name
from gateway.pki.validity import NO_GRACE, earliest_end
from gateway.pki.verifier import NoPath, Verifier


@dataclass(frozen=True, slots=True)
class Issuers:
    """What stood above a leaf in a verified path.

    Attributes:
        anchor: The trust anchor at the end.
        certificates: From the one that signed the leaf to the anchor's, both included; none above a pinned device.
        begin: Since when all of them are valid.
        end: Until when, that second included.
        group_order: Of the key that signed the leaf; 0 for one that is no ECDSA key, and where nothing did.
    """

    anchor: TrustAnchor
    certificates: tuple[x509.Certificate, ...]
    begin: datetime
    end: datetime
    group_order: int

    @classmethod
    def of(cls, anchor: TrustAnchor, path: Sequence[x509.Certificate]) -> "Issuers":
        """Takes a path, from the leaf to the certificate of the anchor."""
        above = tuple(path[1:])
        dated = above or path
        key = above[0].public_key() if above else None
        order = key.curve.group_order if isinstance(key, ec.EllipticCurvePublicKey) else 0
        return cls(anchor, above, max(c.not_valid_before_utc for c in dated), earliest_end(dated), order)


class Found(NamedTuple):
    """A path, and what the verifier read in the leaf on its way.

    Attributes:
        issuers: What stands above the leaf.
        alternative_names: The names in the leaf's subjectAltName; none without one.
    """

    issuers: Issuers
    alternative_names: Sequence[x509.GeneralName]


@dataclass(frozen=True, slots=True)
class _KnownIssuer:
    """An intermediate that stood directly above a leaf in a verified path.

    The path above it was checked then and needs no second check of its signatures, only of its dates.
    """

    issuers: Issuers
    verifier: Verifier


class Paths:
    """The verifiers over the trust anchors, and the intermediates that they have met."""

    def __init__(self, anchors: Iterable[TrustAnchor], intermediates: Iterable[x509.Certificate]) -> None:
        """Takes what is trusted, and CA certificates for devices that send only their own; those are not trusted."""
        self._anchors = {anchor.certificate: anchor for anchor in anchors}
        self._intermediates = tuple(intermediates)
        self._shelf = Shelf(self._anchors, self._intermediates)
        self._verifiers = _verifiers(self._anchors.values())
        self._grace_of = {c: anchor.expired_grace for c, anchor in self._anchors.items() if anchor.expired_grace}
        self._late_verifiers = _verifiers(self._anchors[certificate] for certificate in self._grace_of)
        self._known: dict[tuple[bytes, ...], _KnownIssuer] = {}

    @property
    def anchors(self) -> Mapping[x509.Certificate, TrustAnchor]:
        """The trust anchors by certificate, in the order given."""
        return self._anchors

    def find(self, leaf: x509.Certificate, chain_der: Sequence[bytes], at: datetime) -> Found:
        """The path from a device's certificate to an anchor.

        The dates on it may be up to `VERIFIER_MAX_AGE` past, or within the anchor's grace: the caller checks them.

        Args:
            leaf: The first certificate of the chain.
            chain_der: All that the device presented.
            at: The present time, with a time zone.

        Raises:
            ChainRefused: There is no path, with the reason why.
        """
        return self._known_path(leaf, chain_der, at) or self._full_path(leaf, chain_der, at)

    def _known_path(self, leaf: x509.Certificate, chain_der: Sequence[bytes], at: datetime) -> Found | None:
        known = self._known.get(_issuers_key(leaf, chain_der))
        if known is None:
            return None
        try:
            if known.issuers.anchor.expired_grace and at > (end := min(known.issuers.end, leaf.not_valid_after_utc)):
                # As it was when the first certificate of the path expired; whether that is long ago is not asked here.
                verified = known.verifier.path_at(leaf, (), end)
            else:
                verified = known.verifier.path(leaf, (), at)
        except NoPath:
            return None
        return Found(known.issuers, verified.subjects or ())

    def _full_path(self, leaf: x509.Certificate, chain_der: Sequence[bytes], at: datetime) -> Found:
        presented = self._presented(chain_der)
        text = ""
        for verifier in self._verifiers:
            try:
                verified = verifier.path(leaf, (*presented, *self._intermediates), at)
            except NoPath as error:
                text = str(error)
            else:
                return self._found(verified, chain_der)
        if self._grace_of and (expired := self._expired_path(leaf, presented, at)):
            return self._found(expired, chain_der)
        check_leaf_profile(leaf)
        raise diagnose(leaf, presented, self._shelf, at, text)

    def _expired_path(
        self, leaf: x509.Certificate, presented: list[x509.Certificate], at: datetime
    ) -> VerifiedClient | None:
        """The path as it was at the last second at which all of it was valid, to an anchor with a grace.

        That second is the end of a certificate on the path: the verifier is asked about the latest ends that may be it.
        Whether its own anchor's grace goes as far is not asked here.
        """
        if not leads_to_an_anchor(leaf, presented, self._shelf):
            return None
        helpers = (*presented, *self._intermediates)
        ends = {each.not_valid_after_utc for each in (leaf, *helpers, *self._grace_of)}
        latest, longest = leaf.not_valid_after_utc, max(self._grace_of.values()) + timedelta(seconds=1)
        moments = sorted((end for end in ends if end <= latest and NO_GRACE < at - end < longest), reverse=True)
        for moment in moments[:MAX_GRACE_MOMENTS]:
            for verifier in self._late_verifiers:
                with suppress(NoPath):
                    return verifier.path_at(leaf, helpers, moment)
        return None

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

    def _found(self, verified: VerifiedClient, chain_der: Sequence[bytes]) -> Found:
        anchor = self._anchors[verified.chain[-1]]
        issuers = Issuers.of(anchor, verified.chain)
        self._remember(verified.chain[0], issuers, chain_der)
        return Found(issuers, verified.subjects or ())

    def _remember(self, leaf: x509.Certificate, issuers: Issuers, chain_der: Sequence[bytes]) -> None:
        # Only a chain that is the beginning of its path, so that there is one way to read it, and so that who has one
        # certificate cannot fill the table with idle company for it. A name constraint above would have to be checked
        # against each leaf, so such a path is never shortened.
        above = [certificate.public_bytes(Encoding.DER) for certificate in issuers.certificates]
        if len(above) < 2 or list(chain_der[1:]) != above[: len(chain_der) - 1]:
            return
        if any(_has_name_constraints(certificate) for certificate in issuers.certificates):
            return
        if len(self._known) >= MAX_KNOWN_ISSUERS:
            del self._known[next(iter(self._known))]
        self._known[_issuers_key(leaf, chain_der)] = _KnownIssuer(
            issuers, Verifier(issuers.certificates[:1], strict=issuers.anchor.strict)
        )


def _verifiers(anchors: Iterable[TrustAnchor]) -> list[Verifier]:
    """At most one for each profile."""
    certificates: dict[bool, list[x509.Certificate]] = {True: [], False: []}
    for anchor in anchors:
        certificates[anchor.strict].append(anchor.certificate)
    return [Verifier(found, strict=strict) for strict, found in certificates.items() if found]


def _issuers_key(leaf: x509.Certificate, chain_der: Sequence[bytes]) -> tuple[bytes, ...]:
    """What a device says about its issuer: the certificates that it sent, or only a name."""
    return tuple(chain_der[1:]) if len(chain_der) > 1 else (b"", leaf.issuer.public_bytes())


def _has_name_constraints(certificate: x509.Certificate) -> bool:
    return any(isinstance(extension.value, x509.NameConstraints) for extension in certificate.extensions)
