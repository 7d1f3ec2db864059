"""Whether the server's own certificates are valid now and for a while: a device that refuses one says only an alert."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from gateway.config import DtlsSettings
from gateway.pki import ServerCertificate, Standing, describe, standing
from gateway.server.credentials import certificate_files


@dataclass(frozen=True, slots=True)
class Doubt:
    """A certificate that the gateway presents, and that its devices may refuse, today or soon.

    Attributes:
        file: Where it stands.
        certificate: Its subject.
        state: How it stands to the time; not VALID.
        not_before: First second of its life, RFC 3339.
        not_after: Last one.
        hint: What to do.
    """

    file: Path
    certificate: str
    state: Standing
    not_before: str
    not_after: str
    hint: str

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.certificate} {_IN_WORDS[self.state]} (valid from {self.not_before} to "
            f"{self.not_after}); {self.hint}"
        )


_IN_WORDS = {
    Standing.VALID: "is valid",
    Standing.NOT_YET_VALID: "is not valid yet",
    Standing.ENDS_SOON: "ends soon",
    Standing.EXPIRED: "has expired",
}


def certificate_doubts(dtls: DtlsSettings, certificates: Sequence[ServerCertificate], now: float) -> Iterator[Doubt]:
    """What is to be said of the dates of the certificates that the gateway presents.

    Args:
        dtls: Settings.
        certificates: That were loaded by them (`load_certificates`).
        now: Seconds since the epoch.
    """
    at = datetime.fromtimestamp(now, UTC)
    for file, loaded in zip(certificate_files(dtls), certificates, strict=True):
        for place, certificate in enumerate(loaded.chain):
            state = standing(certificate, at)
            if state is not Standing.VALID:
                begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
                hint = _hint(file, certificate, state, own=place == 0)
                yield Doubt(file, describe(certificate.subject), state, _stamp(begin), _stamp(end), hint)


def _hint(file: Path, certificate: x509.Certificate, state: Standing, *, own: bool) -> str:
    if state is Standing.NOT_YET_VALID:
        return "check the clock of this machine, and that of whatever issued the certificate"
    if own:
        return (
            f"renew it with `gateway cert renew {shlex.quote(str(file))} --ca FILE`, or let its CA do so, and put the "
            "new one in its place: it is taken up by itself"
        )
    return f"renew this CA, of {describe(certificate.issuer)}, and put its new certificate into the file in its place"


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
