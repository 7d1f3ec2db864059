"""A chain with the verdict that it deserves, ours about it, and that of `openssl verify`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import ChainProblem, ChainRefused, Revocations, TrustAnchor, TrustStore, VerifiedChain, read_crl
from tests.pki.factory import NOW, Made
from tests.pki.peers import Openssl

Presented = Made | bytes
Trusted = Made | x509.Certificate


@dataclass(frozen=True)
class Case:
    """What a device presents to whom.

    Attributes:
        expected: The device's name, or why it is refused.
        chain: The presented certificates.
        anchors: What is trusted.
        stored: Intermediates at hand.
        lists: Revocation lists.
        banned: Fingerprints.
        at: The time.
        policy: Of the anchors, as `TrustAnchor.of` takes it.
    """

    expected: ChainProblem | str
    chain: tuple[Presented, ...]
    anchors: tuple[Trusted, ...]
    stored: tuple[Trusted, ...] = ()
    lists: tuple[bytes, ...] = ()
    banned: tuple[str, ...] = ()
    at: datetime = NOW
    policy: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chain_der(self) -> list[bytes]:
        return [each.der if isinstance(each, Made) else each for each in self.chain]

    def trust(self) -> TrustStore:
        """A store that has seen nothing yet."""
        anchors, stored = list(map(_certificate, self.anchors)), list(map(_certificate, self.stored))
        return TrustStore(
            [TrustAnchor.of(each, **self.policy) for each in anchors],
            stored,
            revocations=Revocations(read_crl(each, [*anchors, *stored], NOW) for each in self.lists),
            distrusted=self.banned,
        )


def verdict(trust: TrustStore, case: Case) -> VerifiedChain | ChainRefused:
    """What our verifier says; its sentence for the operator is one line, and says what to do."""
    try:
        return trust.verify(case.chain_der, case.at)
    except ChainRefused as error:
        refused = error
    assert refused.detail.isprintable()
    assert 40 < len(refused.detail) < 700
    return refused


def openssl_accepts(openssl: Openssl, case: Case) -> bool:
    """Whether `openssl verify` takes the chain as a TLS client's, with what of the policy it can be told."""
    folder = openssl.folder
    chain = case.chain_der
    (folder / "leaf.der").write_bytes(chain[0])
    trusted = _bundle(folder / "trusted.pem", map(_certificate, case.anchors))
    helpers = [x509.load_der_x509_certificate(der) for der in chain[1:]] + list(map(_certificate, case.stored))
    untrusted = _bundle(folder / "untrusted.pem", helpers)
    options = ["-purpose", "sslclient", "-partial_chain", "-no-CAfile", "-no-CApath", "-no-CAstore"]
    options += ["-attime", str(int(case.at.timestamp()))]
    options += ["-trusted", trusted] if case.anchors else []
    options += ["-untrusted", untrusted] if helpers else []
    if case.lists:
        pems = (x509.load_der_x509_crl(each).public_bytes(Encoding.PEM) for each in case.lists)
        (folder / "lists.pem").write_bytes(b"".join(pems))
        options += ["-crl_check_all", "-CRLfile", "lists.pem"]
    accepted, _ = openssl.try_to("verify", *options, "leaf.der")
    return accepted


def _bundle(path: Path, certificates: Iterable[x509.Certificate]) -> str:
    path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    return path.name


def _certificate(trusted: Trusted) -> x509.Certificate:
    return trusted.certificate if isinstance(trusted, Made) else trusted
