"""One revocation list: which are taken, why the others are not, and that no bytes do anything else."""

import sys
import tracemalloc
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.pki import CrlProblem, CrlRefused, RevocationList, read_crl
from gateway.pki.limits import MAX_CRL_BYTES, MAX_SERIAL_BYTES
from gateway.pki.serials import Revoked, SerialTable
from tests.pki.factory import DAY, NOW, Made, aki, ca, crl, entry, key_usage, make, name
from tests.pki.test_fuzz import der

ROOT = ca(name("Root", "Works"))
ONE, TWO, THREE = (make(f"dev{number}", ROOT) for number in range(3))
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), b"\x05\x00")
Flags = x509.ReasonFlags


def read(data: bytes, *issuers: Made) -> RevocationList:
    return read_crl(data, [made.certificate for made in issuers or (ROOT,)], NOW)


def refused(problem: CrlProblem, data: bytes, *issuers: Made) -> str:
    with pytest.raises(CrlRefused) as caught:
        read(data, *issuers)
    assert caught.value.problem is problem, caught.value.detail
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 700
    return caught.value.detail


# What is taken.


def test_a_list_says_who_is_revoked_since_when_and_why() -> None:
    when = NOW - 3 * DAY
    found = read(crl(ROOT, entry(ONE, Flags.key_compromise, at=when), TWO, number=7))
    assert found.find(ONE.certificate.serial_number) == Revoked(
        ONE.certificate.serial_number, when, Flags.key_compromise
    )
    second = found.find(TWO.certificate.serial_number)
    assert second is not None
    assert second.reason is Flags.unspecified
    assert found.find(THREE.certificate.serial_number) is None
    assert (len(found), found.number) == (2, 7)
    assert (found.this_update, found.next_update) == (NOW - DAY, NOW + 7 * DAY)
    assert found.issuer == ROOT.certificate


def test_an_empty_list_and_one_without_a_number() -> None:
    assert len(read(crl(ROOT))) == 0
    assert read(crl(ROOT, ONE, number=None)).number is None


def test_pem_with_text_around_it() -> None:
    pem = x509.load_der_x509_crl(crl(ROOT, ONE)).public_bytes(Encoding.PEM)
    assert len(read(b"Certificate Revocation List (CRL):\n" + pem + b"\n# the end\n")) == 1


@pytest.mark.parametrize("reason", [each for each in Flags if each is not Flags.unspecified])
def test_each_reason(reason: x509.ReasonFlags) -> None:
    found = read(crl(ROOT, entry(ONE, reason))).find(ONE.certificate.serial_number)
    if reason is Flags.remove_from_crl:
        # RFC 5280 section 5.3.1: it takes an entry back.
        assert found is None
    else:
        assert found is not None
        assert found.reason is reason


CA_KEYS: dict[str, Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", CA_KEYS)
def test_kinds_of_keys(kind: str) -> None:
    issuer = ca("Issuer", key=CA_KEYS[kind]())
    assert len(read(crl(issuer, ONE), issuer)) == 1
    assert refused(CrlProblem.BAD_SIGNATURE, crl(issuer, ONE), ca("Issuer", key=CA_KEYS[kind]()))


def test_an_outdated_list_is_taken() -> None:
    # What it revokes stays revoked; whether it is enough is for the policy of the trust anchor.
    assert len(read(crl(ROOT, ONE, this_update=NOW - 9 * DAY, next_update=NOW - 2 * DAY))) == 1


def test_extensions_that_change_nothing() -> None:
    fresh = x509.FreshestCRL([x509.DistributionPoint([x509.UniformResourceIdentifier("http://a")], None, None, None)])
    extensions = [aki(ROOT), (fresh, False), (UNKNOWN, False)]
    assert len(read(crl(ROOT, entry(ONE, None, (UNKNOWN, False)), extensions=extensions))) == 1


def test_of_two_cas_with_one_name_the_one_that_signed_is_found() -> None:
    twin = ca(name("Root", "Works"))
    for issuers in ((ROOT, twin), (twin, ROOT)):
        for extensions in ([], [aki(ROOT)]):
            assert read(crl(ROOT, ONE, extensions=extensions), *issuers).issuer == ROOT.certificate


def test_key_usage_with_crl_sign() -> None:
    issuer = ca("Issuer", None, key_usage("key_cert_sign", "crl_sign"))
    assert len(read(crl(issuer, ONE), issuer)) == 1


# What is not.


def test_a_list_of_an_unknown_ca() -> None:
    detail = refused(CrlProblem.UNKNOWN_ISSUER, crl(ca(name("Other", "Elsewhere"))))
    assert "CN=Other,O=Elsewhere" in detail
    assert "gateway ca trust FILE" in detail
    renewed = ca(name("Root", "Works"))
    assert "with another key" in refused(CrlProblem.UNKNOWN_ISSUER, crl(renewed, extensions=[aki(renewed)]))


def test_a_forged_list() -> None:
    thief = ca("Thief")
    forged = crl(thief, ONE, issuer_name=ROOT.certificate.subject)
    assert "forged" in refused(CrlProblem.BAD_SIGNATURE, forged)


def test_a_ca_that_may_not_sign_lists() -> None:
    for issuer in (ca("Issuer", None, key_usage("key_cert_sign")), make("Issuer")):
        assert "cRLSign" in refused(CrlProblem.ISSUER_MAY_NOT_SIGN, crl(issuer, ONE), issuer)


def test_of_two_certificates_of_one_ca_one_that_may_sign_lists_is_enough() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    bare, able = ca("Issuer", ROOT, key_usage("key_cert_sign"), key=key), ca("Issuer", ROOT, key=key)
    assert read(crl(bare, ONE), bare, able).issuer == able.certificate


def test_an_issuer_with_a_key_that_signs_no_lists() -> None:
    for key in (ed448.Ed448PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        made = make("Issuer", key=key)
        data = crl(ca("Issuer"), ONE)
        refused(CrlProblem.BAD_SIGNATURE, data, made)


def test_an_ed25519_ca_signs_lists() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    issuer = make("Issuer", None, (x509.BasicConstraints(ca=True, path_length=None), True), key=key)
    assert len(read(crl(issuer, ONE), issuer)) == 1


def test_a_delta_list() -> None:
    data = crl(ROOT, ONE, extensions=[(x509.DeltaCRLIndicator(1), True)])
    assert "complete list" in refused(CrlProblem.DELTA, data)


def scope(**flags: bool) -> x509.IssuingDistributionPoint:
    nothing = dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    point = None if flags else [x509.UniformResourceIdentifier("http://example/1.crl")]
    return x509.IssuingDistributionPoint(
        full_name=point, relative_name=None, only_some_reasons=None, **(nothing | flags)
    )


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    "point",
    [scope(indirect_crl=True), scope(only_contains_user_certs=True), scope(only_contains_ca_certs=True), scope()],
    ids=["indirect", "devices only", "CAs only", "one distribution point"],
)
def test_a_list_of_some_certificates(point: x509.IssuingDistributionPoint, critical: bool) -> None:
    data = crl(ROOT, ONE, extensions=[(point, critical)])
    assert "issuingDistributionPoint" in refused(CrlProblem.PARTITIONED, data)


def test_an_unknown_critical_extension() -> None:
    detail = refused(CrlProblem.UNKNOWN_EXTENSION, crl(ROOT, ONE, extensions=[(UNKNOWN, True)]))
    assert UNKNOWN.oid.dotted_string in detail
    detail = refused(CrlProblem.UNKNOWN_EXTENSION, crl(ROOT, entry(ONE, None, (UNKNOWN, True))))
    assert "on an entry" in detail
    other = x509.CertificateIssuer([x509.DirectoryName(name("Other"))])
    refused(CrlProblem.UNKNOWN_EXTENSION, crl(ROOT, entry(ONE, None, (other, True))))


def test_a_list_from_the_future() -> None:
    data = crl(ROOT, ONE, this_update=NOW + timedelta(seconds=1))
    assert "clock" in refused(CrlProblem.NOT_YET_VALID, data)
    assert len(read(crl(ROOT, ONE, this_update=NOW))) == 1


def without_next_update(data: bytes) -> bytes:
    """The list re-signed without nextUpdate, which `cryptography` does not make."""
    tbs = x509.load_der_x509_crl(data).tbs_certlist_bytes
    time = (NOW + 7 * DAY).strftime("%y%m%d%H%M%SZ").encode()
    field = bytes((0x17, len(time))) + time
    assert tbs.count(field) == 1
    header = 2 if tbs[1] < 0x80 else 2 + (tbs[1] & 0x7F)
    assert isinstance(ROOT.key, ec.EllipticCurvePrivateKey)
    body = tbs[header:].replace(field, b"")
    tbs = b"\x30" + bytes((len(body),)) + body
    assert len(body) < 0x80
    signature = ROOT.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    return sequence(tbs + algorithm + bytes((0x03, len(signature) + 1, 0)) + signature)


def sequence(body: bytes) -> bytes:
    assert 0x80 <= len(body) <= 0xFF
    return b"\x30\x81" + bytes((len(body),)) + body


def test_a_list_without_an_end() -> None:
    detail = refused(CrlProblem.NO_NEXT_UPDATE, without_next_update(crl(ROOT, ONE)))
    assert "nextUpdate" in detail


# Limits.


def test_the_number_of_entries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pki.crl.MAX_CRL_ENTRIES", 2)
    assert len(read(crl(ROOT, ONE, TWO))) == 2
    assert "3 entries" in refused(CrlProblem.TOO_LARGE, crl(ROOT, ONE, TWO, THREE))


def test_the_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    refused(CrlProblem.TOO_LARGE, bytes(2 * MAX_CRL_BYTES + 1))
    data = crl(ROOT, ONE)
    pem = x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)
    monkeypatch.setattr("gateway.pki.crl.MAX_CRL_BYTES", len(data))
    assert len(pem) > len(data)
    assert len(read(pem)) == 1
    monkeypatch.setattr("gateway.pki.crl.MAX_CRL_BYTES", len(data) - 100)
    refused(CrlProblem.TOO_LARGE, pem)
    refused(CrlProblem.TOO_LARGE, data)


def test_no_list_and_several_lists_in_a_file() -> None:
    pem = x509.load_der_x509_crl(crl(ROOT, ONE)).public_bytes(Encoding.PEM)
    assert "2 revocation lists" in refused(CrlProblem.MALFORMED, pem + pem)
    assert "0 revocation lists" in refused(CrlProblem.MALFORMED, ROOT.certificate.public_bytes(Encoding.PEM))


# Totality.


def outcome(data: bytes) -> CrlProblem | RevocationList:
    try:
        return read(data)
    except CrlRefused as error:
        problem, detail = error.problem, error.detail
    assert detail.isprintable()
    return problem


LIST = crl(ROOT, entry(ONE, Flags.key_compromise), TWO, extensions=[aki(ROOT)])


@given(st.one_of(st.binary(max_size=300), der()))
@settings(max_examples=300, deadline=None)
@example(b"-----BEGIN X509 CRL-----\n-----END X509 CRL-----")
@example(b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----")
def test_foreign_bytes(data: bytes) -> None:
    assert isinstance(outcome(data), CrlProblem)


@given(st.integers(0, len(LIST) - 1), st.integers(1, 255))
@settings(max_examples=600, deadline=None)
def test_one_altered_byte_is_never_believed(position: int, change: int) -> None:
    altered = bytearray(LIST)
    altered[position] ^= change
    result = outcome(bytes(altered))
    if isinstance(result, RevocationList):  # bits of the signature that do not count
        assert (len(result), result.number) == (2, 1)


@given(st.integers(0, len(LIST) - 1), st.binary(min_size=1, max_size=9))
@settings(max_examples=200, deadline=None)
def test_cut_and_stretched(cut: int, more: bytes) -> None:
    for data in (LIST[:cut], LIST + more, LIST[:cut] + more + LIST[cut:]):
        assert isinstance(outcome(data), CrlProblem)


@given(st.sampled_from(["2.5.29.20", "2.5.29.27", "2.5.29.28", "2.5.29.35"]), st.one_of(st.binary(max_size=40), der()))
@settings(max_examples=200, deadline=None)
def test_broken_extensions_under_a_valid_signature(oid: str, value: bytes) -> None:
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
    outcome(crl(ROOT, ONE, number=None, extensions=[(broken, False)]))


@given(st.one_of(st.binary(max_size=40), der()))
@settings(max_examples=200, deadline=None)
@example(b"\x0a\x01\x07")
def test_a_broken_reason_under_a_valid_signature(value: bytes) -> None:
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.21"), value)
    outcome(crl(ROOT, entry(ONE, None, (broken, False))))


def test_a_panic_of_the_native_parser_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def raises(kind: type[BaseException]) -> Callable[[bytes], x509.CertificateRevocationList]:
        def load(_data: bytes) -> x509.CertificateRevocationList:
            raise kind("index out of bounds")

        return load

    monkeypatch.setattr(x509, "load_der_x509_crl", raises(panic))
    assert outcome(LIST) is CrlProblem.MALFORMED
    monkeypatch.setattr(x509, "load_der_x509_crl", raises(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        outcome(LIST)


# The table of serial numbers.

serials = st.integers(0, (1 << 8 * MAX_SERIAL_BYTES) - 1)


@given(st.lists(st.tuples(serials, st.sampled_from(sorted(Flags, key=str))), max_size=60), st.lists(serials))
@settings(max_examples=200, deadline=None)
@example([(0, Flags.unspecified), (0, Flags.superseded), (256, Flags.unspecified), (1, Flags.unspecified)], [2])
def test_the_table_answers_as_a_dictionary(revoked: list[tuple[int, x509.ReasonFlags]], others: list[int]) -> None:
    entries = [Revoked(serial, NOW, reason) for serial, reason in revoked]
    model: dict[int, Revoked] = {}
    for each in entries:
        model.setdefault(each.serial, each)
    table = SerialTable(entries)
    for serial in [*model, *others, *(serial ^ 1 for serial in model), *(serial << 8 for serial in model)]:
        assert table.find(serial) == model.get(serial)


@pytest.mark.parametrize("serial", [-1, 1 << 8 * MAX_SERIAL_BYTES])
def test_a_serial_number_that_no_certificate_has(serial: int) -> None:
    assert SerialTable([Revoked(1, NOW, Flags.unspecified)]).find(serial) is None
    with pytest.raises(ValueError, match="serial number"):
        SerialTable([Revoked(serial, NOW, Flags.unspecified)])


def test_a_hundred_thousand_entries_take_four_megabytes_at_most() -> None:
    tracemalloc.start()
    try:
        table = SerialTable(Revoked(number * 0x9E3779B97F4A7C15, NOW, Flags.unspecified) for number in range(100_000))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == 100_000
    assert held < 4_000_000
    assert held - 1000 < sys.getsizeof(table) < held + 1000
