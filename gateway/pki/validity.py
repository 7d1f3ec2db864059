"""Validity periods (RFC 5280 section 4.1.2.5: both ends inclusive, whole seconds), and grace after their end."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509

from gateway.pki.certificates import short_name
from gateway.pki.errors import ChainProblem, ChainRefused
from gateway.pki.limits import ENDS_SOON

NO_GRACE = timedelta(0)


class Standing(StrEnum):
    """How a certificate of the operator's own stands to the time."""

    VALID = "valid"
    NOT_YET_VALID = "not_yet_valid"
    ENDS_SOON = "ends_soon"
    EXPIRED = "expired"


def standing(certificate: x509.Certificate, at: datetime) -> Standing:
    """How a certificate stands at a time, with a time zone."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at < begin:
        return Standing.NOT_YET_VALID
    if at.replace(microsecond=0) > end:
        return Standing.EXPIRED
    return Standing.ENDS_SOON if end - at < min(ENDS_SOON, (end - begin) / 3) else Standing.VALID


def refuse_dates(certificate: x509.Certificate, at: datetime, *, is_leaf: bool, grace: timedelta = NO_GRACE) -> None:
    """Checks the validity period of one certificate of a path.

    Args:
        certificate: The certificate.
        at: The present time, with a time zone.
        is_leaf: Whether it is the device's own.
        grace: How long after its end it still counts.

    Raises:
        ChainRefused: `EXPIRED` or `NOT_YET_VALID`.
    """
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begin <= at and at.replace(microsecond=0) - end <= grace:
        return
    what = f"the {'device' if is_leaf else 'CA'} certificate {short_name(certificate)}"
    if at < begin:
        raise ChainRefused(
            ChainProblem.NOT_YET_VALID,
            f"{what} is valid only from {stamp(begin)}, in {_span(begin - at)}; our own clock says {stamp(at)}. "
            "If that is right, the clock of whatever issued the certificate, often the device itself, is ahead: set it "
            "and issue the certificate again",
        )
    remedy = (
        "issue the device a new certificate with `gateway cert issue`"
        if is_leaf
        else "renew the CA and trust the new one with `gateway ca trust FILE`"
    )
    over = f", longer than the grace of {_span(grace)} that its trust anchor gives" if grace else ""
    raise ChainRefused(ChainProblem.EXPIRED, f"{what} expired at {stamp(end)}, {_span(at - end)} ago{over}; {remedy}")


def earliest_end(path: Iterable[x509.Certificate]) -> datetime:
    """The last second at which every certificate is valid."""
    return min(certificate.not_valid_after_utc for certificate in path)


def with_grace(end: datetime, grace: timedelta) -> datetime:
    """The last second that counts. "Never" (9999-12-31, RFC 5280 section 4.1.2.5) stays the last second there is."""
    try:
        return end + grace
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def stamp(moment: datetime) -> str:
    """A moment as operators read it."""
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")


def _span(span: timedelta) -> str:
    """A duration in its two largest units; the reader wants "3 days", not seconds."""
    seconds = max(int(span.total_seconds()), 0)
    parts = [
        (seconds // 86400, "day"),
        (seconds // 3600 % 24, "hour"),
        (seconds // 60 % 60, "minute"),
        (seconds % 60, "second"),
    ]
    shown = [f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in parts if n][:2]
    return " ".join(shown) or "less than a second"
