"""From the settings to what the engine negotiates with: suites and certificates; then a whole gateway with them."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.config import ConfigError
from gateway.config.settings import CertificateFiles, DtlsSettings
from gateway.dtls import DEFAULT_SUITES, CipherSuite
from gateway.server.credentials import cipher_suites, load_certificates, server_parameters
from tests.dtls.rawclient import Key
from tests.dtls.support import self_signed

CCM, CCM_8 = "TLS_PSK_WITH_AES_128_CCM", "TLS_PSK_WITH_AES_128_CCM_8"


def files(folder: Path, name: str, key: Key) -> CertificateFiles:
    certificate, private_key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(self_signed(key, name))  # DER is read too
    private_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return CertificateFiles(certificate=certificate, private_key=private_key)


def test_suites_by_name_in_their_order() -> None:
    assert cipher_suites((CCM, CCM_8)) == (0xC0A4, 0xC0A8)
    assert cipher_suites(()) == DEFAULT_SUITES


@pytest.mark.parametrize(
    "name",
    [
        "TLS_PSK_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
        "PSK-AES128-CCM8",
        CCM.lower(),
        "0xC0A8",
        "",
    ],
)
def test_weaker_and_unknown_names_are_refused_with_the_valid_ones(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cipher_suites((CCM, name))
    assert repr(name) in str(caught.value)
    for number in DEFAULT_SUITES:
        assert CipherSuite(number).name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TLS_PSK_WITH_AES_128_CCM8", CCM_8),
        ("PSK-AES128-CCM8", CCM_8),
        (CCM.lower(), CCM),
        ("TLS_ECDHE_ECDSA_WITH_AES128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ],
)
def test_slip_of_the_pen_gets_the_name_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cipher_suites((name,))
    assert f"(did you mean {meant}? valid: " in str(caught.value)


@pytest.mark.parametrize("name", ["TLS_PSK_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_128_GCM_SHA256", "", "0xC0A8"])
def test_another_suite_is_not_what_was_meant(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cipher_suites((name,))
    assert "did you mean" not in str(caught.value)


def test_name_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="stands there twice"):
        cipher_suites((CCM, CCM_8, CCM))


def test_every_kind_of_key_serves(tmp_path: Path) -> None:
    keys: list[Key] = [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ]
    first, *more = (files(tmp_path, f"server-{number}", key) for number, key in enumerate(keys))
    dtls = DtlsSettings(
        certificate=first.certificate, private_key=first.private_key, certificates=tuple(more), cipher_suites=(CCM,)
    )
    parameters = server_parameters(dtls, load_certificates(dtls))
    assert [each.key.is_rsa for each in parameters.credentials] == [False, False, False, True]
    assert parameters.credential is parameters.credentials[0]
    assert parameters.suites == (0xC0A4,)


@pytest.mark.parametrize("bits", [1024, 4224])
def test_rsa_key_of_a_size_out_of_use_is_refused(tmp_path: Path, bits: int) -> None:
    dtls = DtlsSettings(certificates=(files(tmp_path, "rsa", rsa.generate_private_key(65537, bits)),))
    with pytest.raises(ConfigError, match=f"this one is RSA of {bits} bits"):
        server_parameters(dtls, load_certificates(dtls))


def test_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one = files(tmp_path, "one", ec.generate_private_key(ec.SECP256R1()))
    two = files(tmp_path, "two", rsa.generate_private_key(65537, 2048))
    mixed = CertificateFiles(certificate=one.certificate, private_key=two.private_key)
    with pytest.raises(ConfigError, match="does not belong to the first certificate"):
        load_certificates(DtlsSettings(certificates=(mixed,)))


@pytest.mark.parametrize("suite", ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"])
def test_suites_that_no_certificate_is_there_for_are_refused(tmp_path: Path, suite: str) -> None:
    with pytest.raises(ConfigError, match="needs a certificate that is not there"):
        server_parameters(DtlsSettings(cipher_suites=(suite,)), ())
    right: Key = ec.generate_private_key(ec.SECP256R1())
    if "ECDHE_RSA" in suite:
        right = rsa.generate_private_key(65537, 2048)
    dtls = DtlsSettings(cipher_suites=(suite,), certificates=(files(tmp_path, "right", right),))
    assert server_parameters(dtls, load_certificates(dtls)).suites != ()
