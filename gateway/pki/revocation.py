"""What is known to be revoked: the lists of all CAs, and what they say about a path."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.pki.certificates import describe, short_name
from gateway.pki.crl import CrlProblem, CrlRefused, RevocationList
from gateway.pki.errors import ChainProblem, ChainRefused
from gateway.pki.limits import MAX_KNOWN_ISSUERS
from gateway.pki.serials import Revoked


class CrlPolicy(StrEnum):
    """What revocation lists decide about the devices of a trust anchor."""

    IGNORE = "ignore"
    """Lists are not looked at."""

    FAIL_OPEN = "fail_open"
    """What a list revokes is refused. A list that is missing or outdated is reported, and the device let in."""

    FAIL_CLOSED = "fail_closed"
    """A device is let in only if the current list of each CA on its path does not revoke it."""


class CrlStatus(NamedTuple):
    """What the lists say about a path that none of them revokes.

    Attributes:
        problem: What the policy `fail_closed` refuses it for; None if every list is there and current.
        issuer: The CA whose list that is about.
        until: Until when that stays so at the latest; None for as long as the lists stay the same.
        due: When the next list of an outdated one should have come.
    """

    problem: ChainProblem | None = None
    issuer: x509.Certificate | None = None
    until: datetime | None = None
    due: datetime | None = None

    @property
    def detail(self) -> str:
        """The problem for the operator, and what to do about it; empty without one."""
        if self.issuer is None:
            return ""
        whose = f"the CA {describe(self.issuer.subject)}"
        if self.due is None:
            return (
                f"there is no revocation list of {whose}, so that nobody knows which of its certificates are revoked; "
                "import its current one (the trust anchor's policy says whether devices are let in without: fail_open)"
            )
        return (
            f"the revocation list of {whose} is outdated, the next one was due at {self.due:%Y-%m-%d %H:%M:%SZ}; "
            "import its newest one (the trust anchor's policy says whether devices are let in without: fail_open)"
        )


class Revocations:
    """The revocation lists, at most one of each CA's key. A value: a new list makes a new one."""

    def __init__(self, lists: Iterable[RevocationList] = ()) -> None:
        """Takes lists of different CAs, or several of one, of which the newest counts."""
        self._by_key: dict[bytes, tuple[RevocationList, ...]] = {}
        # By identity, with the certificate held: the library encodes a certificate to hash it.
        self._found: dict[int, tuple[x509.Certificate, RevocationList | None]] = {}
        for each in sorted(lists, key=_age):
            self._put(each)

    @property
    def lists(self) -> tuple[RevocationList, ...]:
        """The lists that count."""
        return tuple(each for lists in self._by_key.values() for each in lists)

    def with_list(self, new: RevocationList) -> "Revocations":
        """The same with one more list, or with a newer list of a CA that has one.

        Raises:
            CrlRefused: There is a newer list of that CA already (`OLDER`).
        """
        old = self.find(new.issuer)
        if old is not None and _age(new) < _age(old):
            raise CrlRefused(
                CrlProblem.OLDER,
                f"the revocation list of {describe(new.issuer.subject)} is older ({_shown(new)}) than the one in use "
                f"({_shown(old)}), which stays; somebody may have sent an old list again: take the newest of the CA",
            )
        made = Revocations()
        made._by_key = dict(self._by_key)
        made._put(new)
        return made

    def find(self, issuer: x509.Certificate) -> RevocationList | None:
        """The list of a CA, by its name and key: a CA may have several certificates."""
        known = self._found.get(id(issuer))
        if known is not None:
            return known[1]
        lists = self._by_key.get(_key(issuer), ())
        found = next((each for each in lists if each.issuer.subject == issuer.subject), None)
        if len(self._found) >= MAX_KNOWN_ISSUERS:
            self._found.clear()
        self._found[id(issuer)] = issuer, found
        return found

    def check(self, path: Sequence[x509.Certificate], at: datetime) -> CrlStatus:
        """Looks each certificate of a verified path up in its issuer's list; the anchor at its end is trusted as it is.

        Args:
            path: From the leaf to the anchor.
            at: The present time, with a time zone.

        Raises:
            ChainRefused: One of them is revoked (`REVOKED`), be the list current or outdated.
        """
        if not self._by_key:
            return CrlStatus(ChainProblem.CRL_UNAVAILABLE, path[1]) if len(path) > 1 else CrlStatus()
        leaf = path[0]
        return self._look_up([(leaf.serial_number, leaf), *_serials(path[1:])], path[1:], at)

    def check_without_leaf(self, serial: int, above: Sequence[x509.Certificate], at: datetime) -> CrlStatus:
        """The same for a path of whose leaf only the serial number is left.

        Args:
            serial: The leaf's.
            above: From the certificate that signed the leaf to the anchor; at least one.
            at: The present time, with a time zone.

        Raises:
            ChainRefused: As `check`.
        """
        return self._look_up([(serial, None), *_serials(above)], above, at)

    def _look_up(
        self,
        subjects: Sequence[tuple[int, x509.Certificate | None]],
        issuers: Sequence[x509.Certificate],
        at: datetime,
    ) -> CrlStatus:
        """Serial numbers, with their certificates where those are there, each in the list of its issuer."""
        missing: CrlStatus | None = None
        until: datetime | None = None
        now = at.replace(microsecond=0)
        for position, issuer in enumerate(issuers):
            serial, certificate = subjects[position]
            found = self.find(issuer)
            if found is None:
                missing = missing or CrlStatus(ChainProblem.CRL_UNAVAILABLE, issuer)
                continue
            if entry := found.find(serial):
                raise _revoked(certificate, issuer, entry, is_leaf=position == 0)
            if now > found.next_update:
                missing = missing or CrlStatus(ChainProblem.CRL_EXPIRED, issuer, due=found.next_update)
            elif until is None or found.next_update < until:
                until = found.next_update
        return CrlStatus(until=until) if missing is None else missing._replace(until=until)

    def _put(self, new: RevocationList) -> None:
        key = _key(new.issuer)
        others = (each for each in self._by_key.get(key, ()) if each.issuer.subject != new.issuer.subject)
        self._by_key[key] = (*others, new)
        self._found.clear()


def _key(issuer: x509.Certificate) -> bytes:
    # Names are compared as names, by the library: a CA that renews its certificate may encode its name anew.
    return issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _age(one: RevocationList) -> tuple[int, datetime]:
    # RFC 5280 section 5.2.3: the number only ever grows. A list without one is from before the CA counted.
    return -1 if one.number is None else one.number, one.this_update


def _shown(one: RevocationList) -> str:
    number = "no number" if one.number is None else f"number {one.number}"
    return f"{number}, of {one.this_update:%Y-%m-%d %H:%M:%SZ}"


def _serials(path: Sequence[x509.Certificate]) -> list[tuple[int, x509.Certificate | None]]:
    return [(certificate.serial_number, certificate) for certificate in path[:-1]]


def _revoked(
    certificate: x509.Certificate | None, issuer: x509.Certificate, entry: Revoked, *, is_leaf: bool
) -> ChainRefused:
    named = f" {short_name(certificate)}" if certificate is not None else ""
    what = f"the {'device' if is_leaf else 'CA'} certificate{named}, serial {entry.serial:x},"
    if entry.reason is x509.ReasonFlags.certificate_hold:
        state, remedy = "is on hold", "if it may be used again, let the CA release it and take its next list"
    else:
        state = "is revoked"
        remedy = (
            "give the device a new key and issue a certificate for it"
            if is_leaf
            else "issue the devices below it certificates from another CA"
        )
    return ChainRefused(
        ChainProblem.REVOKED,
        f"{what} {state} by {short_name(issuer)} since {entry.at:%Y-%m-%d %H:%M:%SZ} ({entry.reason.value}); {remedy}",
    )
