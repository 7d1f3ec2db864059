"""What can go wrong, between the registry's exceptions and problem details (RFC 9457).

The texts are the same on both sides, so that a command says the same of a registry and of a gateway.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from gateway.registry import Conflict, InvalidValue, LimitReached, NotFound, RegistryError, Unavailable


class Code(StrEnum):
    """What a program goes by: the member `code` of a problem."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    CHANGED = "changed"
    LIMIT_REACHED = "limit_reached"
    UNUSABLE_CERTIFICATE = "unusable_certificate"
    UNAVAILABLE = "unavailable"
    UNAUTHORIZED = "unauthorized"
    REFUSED = "refused"


_STATUS: Final = {
    Code.INVALID: HTTPStatus.BAD_REQUEST,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.CONFLICT: HTTPStatus.CONFLICT,
    Code.CHANGED: HTTPStatus.PRECONDITION_FAILED,
    Code.LIMIT_REACHED: HTTPStatus.CONFLICT,
    Code.UNUSABLE_CERTIFICATE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
}
_CODES: Final[dict[type[RegistryError], Code]] = {
    InvalidValue: Code.INVALID,
    NotFound: Code.NOT_FOUND,
    Conflict: Code.CONFLICT,
    LimitReached: Code.LIMIT_REACHED,
    Unavailable: Code.UNAVAILABLE,
}
_ERRORS: Final = {code: error for error, code in _CODES.items()} | {Code.CHANGED: Conflict}


class UnusableCertificate(RegistryError):
    """A certificate, or a public key, that is none or cannot be used."""


@contextmanager
def pki_errors() -> Iterator[None]:
    """Makes what the PKI refuses a `RegistryError`, as all that operations raise."""
    from gateway.pki import PkiError  # a tenth of a second, which only those wait for who need it

    try:
        yield
    except PkiError as error:
        raise UnusableCertificate(str(error)) from error


class Changed(Conflict):
    """It is no longer what the request says it was."""


def code_of(error: RegistryError) -> Code:
    """The code of what an operation raised."""
    if isinstance(error, Changed):
        return Code.CHANGED
    if isinstance(error, UnusableCertificate):
        return Code.UNUSABLE_CERTIFICATE
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), Code.UNAVAILABLE)


def problem(code: Code, detail: str, status: HTTPStatus | None = None) -> tuple[int, dict[str, Any]]:
    """An answer: its status and its body.

    Args:
        code: See `Code`.
        detail: One line on what to do; empty where that would help the wrong one.
        status: For codes that go with several.
    """
    chosen = status if status is not None else _STATUS[code]
    body: dict[str, Any] = {"title": chosen.phrase, "status": chosen.value, "code": code.value}
    return chosen.value, {**body, "detail": detail} if detail else body


def raise_problem(body: dict[str, Any]) -> None:
    """Raises what the gateway raised.

    Args:
        body: With a `code` that is one.

    Raises:
        RegistryError: As on the other side.
    """
    detail = body.get("detail")
    text = detail if isinstance(detail, str) and detail else str(body.get("title", "it does not say why"))
    raise _ERRORS.get(Code(body["code"]), RegistryError)(text)
