"""Operations on banned certificates."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from gateway.management.operation import Context, operation
from gateway.management.values import Answer, Given, Note, Nothing, Text


def fingerprint(text: str) -> str:
    """A SHA-256 fingerprint as the registry has it, from one as openssl prints it too: `AB:CD:...`.

    What is none is left as it is, for the registry to refuse.
    """
    plain = text.replace(":", "").lower()
    return plain if re.fullmatch("[0-9a-f]{64}", plain) else text


Fingerprint = Annotated[
    Text,
    AfterValidator(fingerprint),
    Field(description="SHA-256 of the certificate, in hex; colons do no harm."),
]


class Ban(Answer):
    """A banned certificate."""

    fingerprint: str
    reason: str


class Banned(Ban):
    """A ban, and whether it is new."""

    new: bool


class BanList(Answer):
    """All bans, oldest first."""

    bans: list[Ban]


class Which(Given):
    """One certificate."""

    fingerprint: Fingerprint


class New(Which):
    """A certificate, and why it is banned."""

    reason: Note = Field(default="", description="For people.")


@operation("ban.list", "GET", "/bans")
def list_all(context: Context, given: Nothing) -> BanList:
    """List the banned certificates."""
    return BanList(bans=[Ban(fingerprint=each, reason=why) for each, why in context.registry.bans().items()])


@operation("ban.add", "PUT", "/bans/{fingerprint}")
def add(context: Context, given: New) -> Banned:
    """Refuse a certificate, and every chain with it in it: of a device, an intermediate or a root.

    Sessions that began with it end within two seconds, in every process.
    """
    new = context.registry.ban_certificate(given.fingerprint, given.reason)
    return Banned(fingerprint=given.fingerprint, reason=context.registry.bans()[given.fingerprint], new=new)


@operation("ban.remove", "DELETE", "/bans/{fingerprint}")
def remove(context: Context, given: Which) -> Ban:
    """Take a ban back."""
    reason = context.registry.bans().get(given.fingerprint, "")
    context.registry.unban_certificate(given.fingerprint)
    return Ban(fingerprint=given.fingerprint, reason=reason)
