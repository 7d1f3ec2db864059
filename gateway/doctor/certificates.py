"""The server's certificates and keys, and the other files with secrets."""

import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.config import DtlsSettings, Settings
from gateway.doctor.findings import Finding, ok, problem, status_of, warning
from gateway.doctor.limits import URGENT_S
from gateway.pki import PkiError, Standing, describe, load_server_certificate, standing

_RENEW: Final = "issue a new one, such as with `gateway cert server`, and put it in its place: it is taken up by itself"


def server_certificates(dtls: DtlsSettings, now: float) -> list[Finding]:
    """Each certificate of the server with its key: whether they belong together, and how long they last."""
    pairs = [(dtls.certificate, dtls.private_key)] if dtls.certificate and dtls.private_key else []
    pairs += [(each.certificate, each.private_key) for each in dtls.certificates]
    if not pairs:
        return [ok("server certificate", "none: devices with pre-shared keys only")]
    return [finding for certificate, key in pairs for finding in _pair(certificate, key, now)]


def secret_files(settings: Settings) -> list[Finding]:
    """Who else may read the files with secrets."""
    dtls = settings.dtls
    keys = [dtls.private_key, *(each.private_key for each in dtls.certificates), dtls.ticket_keys, dtls.key_log]
    found = [
        _mode(path, status.st_mode) for path in keys if path is not None and (status := status_of(path)) is not None
    ]
    if dtls.key_log is not None:
        found.append(
            warning(
                "key log",
                f"the secrets of every session are appended to {dtls.key_log}",
                "take [dtls] key_log out when you have seen what you wanted, and delete the file",
            )
        )
    return found


def end_of(check: str, what: str, certificate: x509.Certificate, now: float, remedy: str) -> Finding:
    """Whether a certificate is valid now, and will be for a while."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    left, stands = end.timestamp() - now, standing(certificate, datetime.fromtimestamp(now, UTC))
    shown = f"{what} {describe(certificate.subject)}"
    if stands is Standing.NOT_YET_VALID:
        return problem(check, f"{shown} is valid only from {begin:%Y-%m-%d}", "check the clock of this machine")
    if stands is Standing.EXPIRED:
        return problem(check, f"{shown} has expired on {end:%Y-%m-%d}", remedy)
    until = f"{shown} is valid until {end:%Y-%m-%d}, for {int(left // 86400)} days"
    if left < URGENT_S:
        return problem(check, until, remedy)
    return warning(check, until, remedy) if stands is Standing.ENDS_SOON else ok(check, until)


def _pair(certificate: Path, key: Path, now: float) -> list[Finding]:
    check = "server certificate"
    try:
        chain = load_server_certificate(certificate, key).chain
    except PkiError as error:
        return [problem(check, str(error), "correct the file, or name another one in [dtls]")]
    found = [end_of(check, f"{certificate}:", each, now, _RENEW) for each in chain]
    worst = [each for each in found if each.remedy is not None] or found[:1]
    return [*worst, *_order(certificate, chain), *_purpose(certificate, chain[0])]


def _order(path: Path, chain: Sequence[x509.Certificate]) -> list[Finding]:
    """RFC 5246 section 7.4.2: each certificate must certify the one before it."""
    for subject, issuer in pairwise(chain):
        try:
            subject.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return [
                problem(
                    "server certificate chain",
                    f"{path}: {describe(subject.subject)} is not signed by the certificate behind it, "
                    f"{describe(issuer.subject)}",
                    "put the certificates in order: the server's own, its issuer, that one's issuer",
                )
            ]
    return []


def _purpose(path: Path, leaf: x509.Certificate) -> list[Finding]:
    check, found = "server certificate names", []
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found.append(ok(check, f"{path}: {', '.join(str(name.value) for name in names)}"))
    except x509.ExtensionNotFound:
        found.append(warning(check, f"{path} has no subjectAltName: many clients refuse it", _RENEW))
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return found
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        remedy = "issue one with serverAuth, or without the extension"
        found.append(problem("server certificate purpose", f"{path} is not for a server (extendedKeyUsage)", remedy))
    return found


def _mode(path: Path, mode: int) -> Finding:
    check = "secret files"
    remedy = f"chmod 600 {path}"
    if mode & stat.S_IRWXO:
        return problem(check, f"every user of this machine may read {path}", remedy)
    if mode & stat.S_IRWXG:
        return warning(check, f"a group may read {path}", remedy)
    return ok(check, f"{path} is its owner's alone")
