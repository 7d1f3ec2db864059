"""Operations on the certificates that our own CAs issued: the book that `cert revoke` and `ca crl publish` go by."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from gateway.management.limits import DEFAULT_PAGE, MAX_PAGE
from gateway.management.managing import Management
from gateway.management.operation import Context, operation
from gateway.management.values import Answer, DeviceName, Given, TenantName, Text
from gateway.pki import RevocationReason
from gateway.registry import IssuedCertificate

_Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
_Serial = Annotated[str, StringConstraints(pattern="^[0-9a-f]{1,64}$")]
_Seconds = Annotated[float, Field(ge=-(2**40), le=2**40, allow_inf_nan=False)]


class Line(Answer):
    """A certificate in the book."""

    number: int = Field(description="Grows with every certificate.")
    issuer: str = Field(description="SHA-256 of the CA's certificate, lower-case hex.")
    serial: str = Field(description="Lower-case hex, without leading zeros.")
    tenant: str
    device: str
    fingerprint: str
    not_before: float = Field(description="Seconds since the epoch, UTC, as all times of the book.")
    not_after: float
    revoked_at: float | None
    reason: str | None


class Lines(Answer):
    """Some of the certificates, oldest first."""

    certificates: list[Line]
    next: int | None = Field(description="`after` of the next page; null on the last one.")


class Recorded(Answer):
    """How many certificates were given; those that stood there already are among them."""

    certificates: int


class CrlNumber(Answer):
    """The number of a CA's next revocation list."""

    number: int


class Filter(Given):
    """Which certificates."""

    issuer: Text | None = None
    tenant: TenantName | None = None
    device: DeviceName | None = None
    serial: Text | None = None
    revoked: bool | None = Field(default=None, description="Only those that are, or only those that are not.")
    after: Annotated[int, Field(ge=0, le=2**62)] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE


class NewLine(Given):
    """A certificate to write down."""

    issuer: _Digest
    serial: _Serial
    tenant: TenantName
    device: Text
    fingerprint: _Digest
    not_before: _Seconds
    not_after: _Seconds


class NewLines(Given):
    """Certificates to write down, all or none."""

    certificates: list[NewLine] = Field(max_length=MAX_PAGE)


class Revoke(Given):
    """A certificate, and why it is revoked."""

    issuer: Text
    serial: Text
    reason: RevocationReason = RevocationReason.UNSPECIFIED


class Issuer(Given):
    """A CA."""

    issuer: _Digest


@operation("certificate.list", "GET", "/certificates")
def list_page(context: Context, given: Filter) -> Lines:
    """List the certificates that were issued here, a page at a time."""
    found = context.registry.issued(
        issuer_id=given.issuer,
        tenant_id=given.tenant,
        device_id=given.device,
        serial=given.serial,
        revoked=given.revoked,
        after=given.after,
        limit=given.limit + 1,
    )
    page = found[: given.limit]
    lines = [_line(number, each) for number, each in page]
    return Lines(certificates=lines, next=page[-1][0] if len(found) > given.limit else None)


@operation("certificate.record", "POST", "/certificates")
def record(context: Context, given: NewLines) -> Recorded:
    """Write issued certificates down. One that stands there already is passed over."""
    context.registry.record_issued(
        [
            IssuedCertificate(
                *(each.issuer, each.serial, each.tenant, each.device, each.fingerprint, each.not_before, each.not_after)
            )
            for each in given.certificates
        ]
    )
    return Recorded(certificates=len(given.certificates))


@operation("certificate.revoke", "PUT", "/certificates/{issuer}/{serial}/revocation")
def revoke(context: Context, given: Revoke) -> Line:
    """Revoke a certificate, from its CA's next revocation list on. A second time changes nothing."""
    done = context.registry.revoke_issued(given.issuer, given.serial, reason=given.reason.value)
    [(number, _)] = context.registry.issued(issuer_id=given.issuer, serial=given.serial)
    return _line(number, done)


@operation("crl.number", "POST", "/crl-numbers/{issuer}")
def crl_number(context: Context, given: Issuer) -> CrlNumber:
    """Take the number of a CA's next revocation list; each time another one."""
    return CrlNumber(number=context.registry.next_crl_number(given.issuer))


class Book:
    """The book as those use it who issue and revoke, wherever it is kept."""

    def __init__(self, manage: Management) -> None:
        self._manage = manage

    def issued(
        self,
        *,
        issuer_id: str | None = None,
        tenant_id: str | None = None,
        device_id: str | None = None,
        serial: str | None = None,
        revoked: bool | None = None,
    ) -> list[IssuedCertificate]:
        """As `Registry.issued`, all pages."""
        said = {"issuer": issuer_id, "tenant": tenant_id, "device": device_id, "serial": serial, "revoked": revoked}
        asked: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        found: list[IssuedCertificate] = []
        while True:
            page = self._manage.do(list_page, **asked, limit=MAX_PAGE)
            found += [_issued(line) for line in page.certificates]
            if page.next is None:
                return found
            asked["after"] = page.next

    def record_issued(self, lines: list[IssuedCertificate]) -> None:
        """As `Registry.record_issued`."""
        said = [
            {
                "issuer": each.issuer_id,
                "serial": each.serial,
                "tenant": each.tenant_id,
                "device": each.device_id,
                "fingerprint": each.fingerprint,
                "not_before": each.not_before,
                "not_after": each.not_after,
            }
            for each in lines
        ]
        if said:
            self._manage.do(record, certificates=said)

    def revoke_issued(self, issuer_id: str, serial: str, *, reason: str) -> IssuedCertificate:
        """As `Registry.revoke_issued`."""
        return _issued(self._manage.do(revoke, issuer=issuer_id, serial=serial, reason=reason))

    def next_crl_number(self, issuer_id: str) -> int:
        """As `Registry.next_crl_number`."""
        return self._manage.do(crl_number, issuer=issuer_id).number


def _line(number: int, each: IssuedCertificate) -> Line:
    return Line(
        number=number,
        issuer=each.issuer_id,
        serial=each.serial,
        tenant=each.tenant_id,
        device=each.device_id,
        fingerprint=each.fingerprint,
        not_before=each.not_before,
        not_after=each.not_after,
        revoked_at=each.revoked_at,
        reason=each.reason,
    )


def _issued(line: Line) -> IssuedCertificate:
    return IssuedCertificate(
        *(line.issuer, line.serial, line.tenant, line.device, line.fingerprint, line.not_before, line.not_after),
        *(line.revoked_at, line.reason),
    )
