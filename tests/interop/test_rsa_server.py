"""A gateway with an RSA certificate, whose devices have ECDSA certificates all the same."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from aiocoap import Code  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.interop.devices import new_device
from tests.interop.driven_peers import DRIVEN_PEERS, DrivenPeer
from tests.interop.gateway_process import Gateway, build_site
from tests.pki.factory import Made, aki, eku, make

pytestmark = pytest.mark.interop

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def rsa_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = {"dtls.certificate": "pki/rsa.pem", "dtls.private_key": "pki/rsa.key"}
    site = build_site(tmp_path_factory.mktemp("rsa"), settings)
    now, issuing = datetime.now(UTC), site.pki.intermediate
    issuer = Made(issuing.certificate, issuing.private_key)
    names = (x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    extensions = (aki(issuer), names, eku(ExtendedKeyUsageOID.SERVER_AUTH))
    key = rsa.generate_private_key(65537, 2048)
    made = make("localhost", issuer, *extensions, key=key, begin=now - DAY, end=now + DAY)
    chain = (made.certificate, *issuing.presented)
    (site.folder / "pki/rsa.pem").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
    file = site.folder / "pki/rsa.key"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with Gateway(site) as gateway:
        yield gateway


@pytest.mark.peer("{peer.name}", "{suite}")
@pytest.mark.parametrize(
    ("peer", "suite"),
    [
        pytest.param(peer, suite, id=f"{peer.name}-{suite}".replace(" ", ""))
        for peer in DRIVEN_PEERS
        for suite in peer.shared_with_rsa()
    ],
)
def test_suite(rsa_gateway: Gateway, peer: DrivenPeer, suite: str) -> None:
    device, seen = new_device(rsa_gateway.site, "rsa"), len(rsa_gateway.log)
    with peer.start(rsa_gateway.port, device, suite) as client:
        client.connect()
        assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert client.request(Code.PUT, "/echo", bytes(700)).payload == bytes(700)
        assert client.finish() == 0
    rsa_gateway.log.wait("dtls.session_closed", after=seen, device=device.name, reason="close_notify")
    (line,) = rsa_gateway.log.lines("dtls.handshake_completed", after=seen)
    assert (line["device"], line["suite"], line["retransmissions"]) == (device.name, suite, 0)
