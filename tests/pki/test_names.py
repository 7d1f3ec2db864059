"""Which device a certificate speaks for, and that issuing and reading agree."""

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pki import ChainProblem, ChainRefused, PkiError, create_root, device_name, is_device_name, issue_device
from tests.pki.factory import NOW, make, name, san

URN, URI = x509.UniformResourceIdentifier, x509.UniformResourceIdentifier("urn:dev:mac:0024befffe804ff1")
DNS = x509.DNSName("dev.example")
CA = create_root("Factory", at=NOW)


def test_the_order_is_uri_dns_common_name_serial_number() -> None:
    subject = name("common", serial="SN1")
    assert device_name(make(subject, None, san(DNS, URI)).certificate) == URI.value
    assert device_name(make(subject, None, san(DNS)).certificate) == "dev.example"
    assert device_name(make(subject).certificate) == "common"
    assert device_name(make(name(organization="Works", serial="SN1")).certificate) == "SN1"


def test_other_kinds_of_san_do_not_name_a_device() -> None:
    email = san(x509.RFC822Name("dev@example.com"))
    assert device_name(make("common", None, email).certificate) == "common"
    refused(x509.Name([]), email)


def refused(subject: x509.Name, *extensions: tuple[x509.ExtensionType, bool]) -> str:
    with pytest.raises(ChainRefused) as caught:
        device_name(make(subject, None, *extensions).certificate)
    assert caught.value.problem is ChainProblem.NO_IDENTITY
    return caught.value.detail


def test_no_name_fails_closed() -> None:
    assert "gateway cert issue" in refused(x509.Name([]))
    refused(name(organization="Works"))


def test_two_names_of_the_deciding_kind_are_ambiguous() -> None:
    assert "2 names" in refused(name("common"), san(URI, URN("urn:dev:other")))
    refused(name("common"), san(DNS, x509.DNSName("dev2.example")))
    two = [x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, value) for value in ("a", "b")]
    refused(x509.Name(two))


BAD = {
    "too long": "x" * 129,
    "blank": "dev 1",
    "NUL": "dev\0evil",
    "newline": "dev\nforged",
    "non-ASCII": "d\u0435v",  # a Cyrillic letter
    "bidi": "dev\u202e1",
    "shell": "$(reboot)",
    "option": "--force",
    "path": "../../etc",
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_names_do_not_fall_back_to_the_next_kind(bad: str) -> None:
    # In a dNSName, which the library writes unchecked when it is handed the encoded form.
    value = BAD[bad]
    if value.isascii():
        assert "SAN DNS" in refused(name("good"), san(x509.DNSName(value)))
    if len(value) <= 64:
        assert "common name" in refused(name(value, serial="good"))
    assert not is_device_name(value)


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~:/@+,=%-]{0,63}", fullmatch=True)


@given(device_id=st.one_of(names, names.map("urn:dev:ops:{}".format), names.map("coaps://{}".format)))
@settings(max_examples=100, deadline=None)
def test_what_is_issued_is_what_is_read(device_id: str) -> None:
    issued = issue_device(CA, device_id, at=NOW)
    assert device_name(issued.certificate) == device_name(x509.load_der_x509_certificate(issued.presented_der[0]))
    assert device_name(issued.certificate) == device_id


@given(st.text(max_size=140))
@settings(max_examples=200, deadline=None)
def test_no_other_name_is_issued(device_id: str) -> None:
    if is_device_name(device_id) and (len(device_id) <= 64 or device_id.startswith("urn:")):
        assert device_name(issue_device(CA, device_id, at=NOW).certificate) == device_id
    else:
        with pytest.raises(PkiError):
            issue_device(CA, device_id, at=NOW)


def test_a_long_name_needs_a_urn() -> None:
    with pytest.raises(PkiError, match="URN"):
        issue_device(CA, "x" * 65, at=NOW)
    urn = "urn:dev:" + "x" * 120
    assert device_name(issue_device(CA, urn, at=NOW).certificate) == urn
