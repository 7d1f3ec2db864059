"""A whole PKI for one machine, for `gateway init` and `gateway demo`. Its root key lies beside it: no production."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from gateway.pki.errors import PkiError
from gateway.pki.files import write_certificates, write_certified_key
from gateway.pki.issuing import CertifiedKey, create_intermediate, create_root, issue_server

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class DevelopmentPki:
    """What was made, and where it lies.

    Attributes:
        root: The root CA, which devices trust.
        intermediate: The CA that issues devices and the server.
        server: The gateway's certificate for this machine.
        root_certificate: File of the root's certificate.
        root_key: File of the root's key.
        intermediate_certificate: File of the intermediate's certificate.
        intermediate_key: File of the intermediate's key.
        server_certificate: Chain file of the server: its certificate, then the intermediate.
        server_key: File of the server's key.
        trust_bundle: File of the root and the intermediate: what `gateway ca trust` takes, so that devices which send
            their own certificate alone are understood.
    """

    root: CertifiedKey = field(repr=False)
    intermediate: CertifiedKey = field(repr=False)
    server: CertifiedKey = field(repr=False)
    root_certificate: Path
    root_key: Path
    intermediate_certificate: Path
    intermediate_key: Path
    server_certificate: Path
    server_key: Path
    trust_bundle: Path


def write_development_pki(folder: Path, *, at: datetime | None = None) -> DevelopmentPki:
    """Makes a root, an intermediate and a server certificate for localhost, and writes all of it.

    Args:
        folder: Where to; made with mode 0700 when it is not there.
        at: The time of issue, now by default.

    Raises:
        PkiError: A file exists already, or cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PkiError(f"cannot create the folder {folder}: {error.strerror}") from error
    root = create_root("Gateway Development Root CA", organization="Gateway Development", at=at)
    intermediate = create_intermediate(root, "Gateway Development Issuing CA", at=at)
    pki = DevelopmentPki(
        root=root,
        intermediate=intermediate,
        server=issue_server(intermediate, LOCAL_NAMES, at=at),
        root_certificate=folder / "root.pem",
        root_key=folder / "root.key",
        intermediate_certificate=folder / "intermediate.pem",
        intermediate_key=folder / "intermediate.key",
        server_certificate=folder / "server.pem",
        server_key=folder / "server.key",
        trust_bundle=folder / "ca-bundle.pem",
    )
    write_certified_key(pki.root, pki.root_certificate, pki.root_key)
    write_certified_key(pki.intermediate, pki.intermediate_certificate, pki.intermediate_key)
    write_certified_key(pki.server, pki.server_certificate, pki.server_key)
    write_certificates(pki.trust_bundle, [root.certificate, intermediate.certificate])
    return pki
