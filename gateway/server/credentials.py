"""Who the server is and which suites it speaks: from the settings to what the engine takes."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from gateway.config import ConfigError, DtlsSettings
from gateway.dtls import DEFAULT_SUITES, ApiMisuse, CipherSuite, Credential, ServerParameters, SigningKey
from gateway.pki import PkiError, ServerCertificate, load_server_certificate

# How much alike two names of suites must be for one to be a slip of the pen.
_SLIP = 0.95
_ISSUE = "issue one with `gateway cert server`"


def load_certificates(dtls: DtlsSettings) -> tuple[ServerCertificate, ...]:
    """The server's certificates, the default first.

    Raises:
        ConfigError: A file cannot be used, or key and certificate do not belong together.
    """
    loaded = []
    for name, certificate, key in _files(dtls):
        try:
            loaded.append(load_server_certificate(certificate, key))
        except PkiError as error:
            raise ConfigError(name, str(error)) from error
    return tuple(loaded)


def certificate_files(dtls: DtlsSettings) -> list[Path]:
    """Where the server's certificates stand, in the order of `load_certificates`."""
    return [certificate for _, certificate, _ in _files(dtls)]


def server_parameters(dtls: DtlsSettings, certificates: tuple[ServerCertificate, ...]) -> ServerParameters:
    """What the engine negotiates with.

    Raises:
        ConfigError: A key that the engine does not sign with, or suites that it does not have or that cannot be used.
    """
    credentials = []
    for certificate in certificates:
        try:
            credentials.append(Credential(certificate.chain_der, SigningKey(certificate.private_key)))
        except ApiMisuse as error:
            raise ConfigError("dtls.private_key", str(error), _ISSUE) from error
    parameters = ServerParameters(
        suites=cipher_suites(dtls.cipher_suites),
        credential=credentials[0] if credentials else None,
        more_credentials=tuple(credentials[1:]),
        psk_hint=dtls.psk_hint.encode() if dtls.psk_hint is not None else None,
        raw_public_keys=dtls.raw_public_keys,
        require_extended_master_secret=dtls.require_extended_master_secret,
    )
    if not parameters.usable_suites:
        raise ConfigError(
            "dtls.cipher_suites",
            "each of these suites needs a certificate that is not there",
            "set [dtls] certificate: ECDHE_RSA suites need one with an RSA key, ECDHE_ECDSA suites one of another kind",
        )
    return parameters


def cipher_suites(names: tuple[str, ...]) -> tuple[int, ...]:
    """The numbers of suites; of all for no name.

    Raises:
        ConfigError: A name that is none of ours, or that comes twice.
    """
    ours = {CipherSuite(number).name: number for number in DEFAULT_SUITES}
    for name in names:
        if name not in ours:
            near = _nearest(name, ours)
            meant = f"did you mean {near}? " if near is not None else ""
            problem = f"{name!r} is not a cipher suite of this gateway"
            raise ConfigError("dtls.cipher_suites", problem, f"{meant}valid: {', '.join(ours)}")
        if names.count(name) > 1:
            raise ConfigError("dtls.cipher_suites", f"{name} stands there twice", "keep one of them")
    return tuple(ours[name] for name in names) or DEFAULT_SUITES


def _nearest(name: str, ours: Iterable[str]) -> str | None:
    """The suite that was meant, by a slip of the pen or by OpenSSL's name; never another one instead of a weak one."""
    bare = {_bare(each): each for each in ours}
    return next((bare[match] for match in get_close_matches(_bare(name), bare, 1, _SLIP)), None)


def _bare(name: str) -> str:
    return "".join(word for word in name.upper().replace("-", "_").split("_") if word not in ("TLS", "WITH"))


def _files(dtls: DtlsSettings) -> list[tuple[str, Path, Path]]:
    files = []
    if dtls.certificate is not None and dtls.private_key is not None:
        files.append(("dtls.certificate", dtls.certificate, dtls.private_key))
    return files + [("dtls.certificates", each.certificate, each.private_key) for each in dtls.certificates]
