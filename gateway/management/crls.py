"""Operations on revocation lists of others' CAs."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.management.limits import MAX_CRL_TEXT
from gateway.management.operation import Context, operation
from gateway.management.values import Answer, Given, Instant, Nothing, Text, instant, maybe_instant
from gateway.registry import CrlRecord, InvalidValue


class Crl(Answer):
    """The revocation list of a CA that counts."""

    issuer: str = Field(description="SHA-256 of the CA's certificate, lower-case hex.")
    number: int = Field(description="Its number (RFC 5280 section 5.2.3); 0 for a list without one.")
    this_update: Instant
    next_update: Instant | None
    outdated: bool = Field(description="The CA should have made another one by now.")
    url: str = Field(description="Where it was fetched; empty for one that was imported.")
    stored: Instant


class ImportedCrl(Crl):
    """A list that was read, and whether it is another one than before."""

    entries: int = Field(description="How many certificates it revokes.")
    new: bool


class CrlList(Answer):
    """The lists of all CAs that have one here."""

    crls: list[Crl]


class NewCrl(Given):
    """A revocation list."""

    crl: Annotated[str, StringConstraints(max_length=MAX_CRL_TEXT)] = Field(
        description="PEM. Of a CA that is trusted here, or whose certificate is kept as an intermediate."
    )


class Which(Given):
    """The list of one CA."""

    issuer: Text = Field(description="SHA-256 of the CA's certificate, lower-case hex.")


@operation("crl.list", "GET", "/crls")
def list_all(context: Context, given: Nothing) -> CrlList:
    """List the revocation lists that count."""
    return CrlList(crls=[_crl(each, context.now) for each in context.registry.crls()])


@operation("crl.import", "POST", "/crls")
def add(context: Context, given: NewCrl) -> ImportedCrl:
    """Take a CA's revocation list. Sessions of devices that it revokes end within two seconds.

    An older list than the one that is kept is refused: it would let revoked devices in again.
    """
    from gateway.identity import import_crl  # reading certificates takes a tenth of a second to load
    from gateway.pki import CrlRefused, fingerprint

    try:
        found, new = import_crl(context.registry, given.crl.encode("utf-8", "replace"), _time(context.now))
    except CrlRefused as refused:
        raise InvalidValue(refused.detail) from refused
    issuer = fingerprint(found.issuer)
    [kept] = [each for each in context.registry.crls() if each.issuer == issuer]
    return ImportedCrl(**_crl(kept, context.now).model_dump(), entries=len(found), new=new)


@operation("crl.forget", "DELETE", "/crls/{issuer}")
def forget(context: Context, given: Which) -> Nothing:
    """Forget the revocation list of a CA: what it revokes is let in again."""
    context.registry.delete_crl(given.issuer.lower())
    return Nothing()


def _time(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)


def _crl(record: CrlRecord, now: float) -> Crl:
    return Crl(
        issuer=record.issuer,
        number=record.crl_number,
        this_update=instant(record.this_update),
        next_update=maybe_instant(record.next_update),
        outdated=record.next_update is not None and record.next_update < now,
        url=record.url,
        stored=instant(record.stored_at),
    )
