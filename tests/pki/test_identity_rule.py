"""An identity rule: how it is written, what it finds, and that it never guesses."""

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pki import (
    ChainProblem,
    ChainRefused,
    IdentityRule,
    NameSource,
    NameTemplate,
    PkiError,
    TrustStore,
    VerifiedChain,
    is_device_name,
    stable_fingerprint,
)
from gateway.pki.limits import MAX_DEVICE_NAME_CHARACTERS, MAX_IDENTITY_RULE_CHARACTERS
from tests.pki.factory import Extension, Made, ca, make, name, san, store, verify

ROOT = ca("Root")
ISSUING = ca("Issuing", ROOT)
URI, DNS = x509.UniformResourceIdentifier("urn:dev:mac:0024befffe804ff1"), x509.DNSName("dev.example")
FULL = make(name("common", "Works", "SN1"), ISSUING, san(DNS, URI, x509.RFC822Name("a@b.example")))
LETTERS = "abcXYZ019._~:/@+,=%-"


def verified(rule: str, leaf: Made = FULL) -> VerifiedChain:
    trust = store(ROOT, identity_rule=IdentityRule.parse(rule))
    found = verify(trust, leaf, ISSUING)
    # The second time behind a known issuer, and the third time out of memory, it is the same.
    again = store(ROOT, identity_rule=IdentityRule.parse(rule))
    verify_other(again)
    assert (verify(again, leaf, ISSUING).device_name, verify(trust, leaf, ISSUING)) == (found.device_name, found)
    return found


def verify_other(trust: TrustStore) -> None:
    names = san(x509.DNSName("warm.example"), x509.UniformResourceIdentifier("urn:warm"))
    verify(trust, make(name("warm-up", serial="warm-up"), ISSUING, names), ISSUING)


def no_identity(rule: str, subject: x509.Name, *extensions: Extension) -> str:
    with pytest.raises(ChainRefused) as caught:
        verify(store(ROOT, identity_rule=IdentityRule.parse(rule)), make(subject, ISSUING, *extensions), ISSUING)
    assert caught.value.problem is ChainProblem.NO_IDENTITY
    return caught.value.detail


FINGERPRINT = stable_fingerprint(FULL.certificate, ISSUING.certificate)
FOUND = {
    "san_uri": (URI.value, NameSource.SAN_URI),
    "san_dns": ("dev.example", NameSource.SAN_DNS),
    "cn": ("common", NameSource.CN),
    "serial_number": ("SN1", NameSource.SERIAL_NUMBER),
    "fingerprint": (FINGERPRINT, NameSource.FINGERPRINT),
    "{cn}": ("common", NameSource.CN),
    "acme-{serial_number}": ("acme-SN1", NameSource.SERIAL_NUMBER),
    "urn:dev:ops:32473-{serial_number}": ("urn:dev:ops:32473-SN1", NameSource.SERIAL_NUMBER),
    "{cn}.fleet.example": ("common.fleet.example", NameSource.CN),
    "a/{san_dns}/b": ("a/dev.example/b", NameSource.SAN_DNS),
    "sha256:{fingerprint}": (f"sha256:{FINGERPRINT}", NameSource.FINGERPRINT),
    "san_dns | san_uri": ("dev.example", NameSource.SAN_DNS),
    "  cn|san_uri ": ("common", NameSource.CN),
}


@pytest.mark.parametrize("rule", FOUND)
def test_what_a_rule_finds(rule: str) -> None:
    found = verified(rule)
    assert (found.device_name, found.name_source) == FOUND[rule]


def test_the_parts_are_tried_in_order_and_absence_alone_goes_on() -> None:
    rule = "san_uri | san_dns | acme-{cn} | serial_number | fingerprint"
    for leaf, expected, source in (
        (FULL, URI.value, NameSource.SAN_URI),
        (make("common", ISSUING, san(DNS)), "dev.example", NameSource.SAN_DNS),
        (make(name("common", serial="SN1"), ISSUING), "acme-common", NameSource.CN),
        (make(name(serial="SN1"), ISSUING), "SN1", NameSource.SERIAL_NUMBER),
    ):
        found = verified(rule, leaf)
        assert (found.device_name, found.name_source) == (expected, source)
    bare = make(x509.Name([]), ISSUING)
    assert verified(rule, bare).device_name == stable_fingerprint(bare.certificate, ISSUING.certificate)
    two = san(x509.UniformResourceIdentifier("urn:a"), x509.UniformResourceIdentifier("urn:b"))
    assert "2 names of the kind SAN URI" in no_identity(rule, name("common"), two)
    assert "2 names of the kind common name" in no_identity("cn | fingerprint", two_names(NameOID.COMMON_NAME))
    assert "2 names" in no_identity("serial_number | fingerprint", two_names(NameOID.SERIAL_NUMBER))
    assert "cannot be a device name" in no_identity("cn | fingerprint", name("two words"))


def two_names(oid: x509.ObjectIdentifier) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for value in ("a", "b")])


def test_nothing_found_names_what_was_looked_for() -> None:
    detail = no_identity("san_uri | serial_number", name("common"), san(DNS))
    assert "SAN URI, serialNumber attribute" in detail
    assert "change the rule" in detail


def test_an_empty_name_is_no_name() -> None:
    assert "is empty" in no_identity("acme-{san_uri}", name("common"), san(x509.UniformResourceIdentifier("")))


def test_the_whole_name_is_checked() -> None:
    room = MAX_DEVICE_NAME_CHARACTERS - len("acme-")
    uri = x509.UniformResourceIdentifier
    assert verified("acme-{san_uri}", make("x", ISSUING, san(uri("x" * room)))).device_name == "acme-" + "x" * room
    assert "129 characters" in no_identity("acme-{san_uri}", name("x"), san(uri("x" * (room + 1))))
    # A name may begin with any letter of the set where literal text stands before it.
    assert verified("a{cn}", make("-1", ISSUING)).device_name == "a-1"
    no_identity("cn", name("-1"))
    no_identity("{cn}-a", name("-1"))
    no_identity("a{cn}", name("d\u0435v"))
    no_identity("a{cn}", name("a b"))


def test_organizations() -> None:
    assert verified("cn").organizations == ("Works",)
    several = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in ("A", "B", "A")]
        + [x509.NameAttribute(NameOID.COMMON_NAME, "dev")]
    )
    assert verified("cn", make(several, ISSUING)).organizations == ("A", "B", "A")
    assert verified("cn", make("dev", ISSUING)).organizations == ()


def test_the_default_rule() -> None:
    assert str(IdentityRule()) == "san_uri | san_dns | cn | serial_number"
    assert IdentityRule.parse(str(IdentityRule())) == IdentityRule()


# As text.

BAD = {
    "": "empty part",
    "   ": "empty part",
    "cn |": "empty part",
    "| cn": "empty part",
    "cn || san_uri": "empty part",
    "common_name": "neither a source",
    "CN": "neither a source",
    "acme": "neither a source",
    "acme-{cn": "neither a source",
    "cn}": "neither a source",
    "{{cn}}": "neither a source",
    "{cn}{serial_number}": "neither a source",
    "{cn}-{cn}": "neither a source",
    "{}": "unknown placeholder",
    "{ cn }": "unknown placeholder",
    "{email}": "unknown placeholder",
    "{cn!r}": "unknown placeholder",
    "{0}": "unknown placeholder",
    "{cn.__class__}": "unknown placeholder",
    "a b{cn}": "literal text",
    "-{cn}": "literal text",
    "\u00e4{cn}": "literal text",
    "\u0661{cn}": "literal text",
    "{cn}$": "literal text",
    "{cn}\n-": "literal text",
    "x" * 128 + "{cn}": "no room",
    "x" * 64 + "{cn}" + "y" * 64: "no room",
    "cn | cn": "twice",
    "cn | acme-{cn}": "twice",
    "x" * (MAX_IDENTITY_RULE_CHARACTERS + 1): "at most",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text[:30]))
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(PkiError, match=BAD[text]) as caught:
        IdentityRule.parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@given(st.text(st.sampled_from("{}| abcn_san_uri.-\n\u0661"), max_size=40) | st.text(max_size=600))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    try:
        rule = IdentityRule.parse(text)
    except PkiError:
        return
    assert IdentityRule.parse(str(rule)) == rule


literals = st.text(st.sampled_from(LETTERS), max_size=20)
templates = st.builds(
    NameTemplate, st.sampled_from(NameSource), literals.filter(lambda text: not text or text[0].isalnum()), literals
)


@given(st.lists(templates, min_size=1, max_size=5, unique_by=lambda part: part.source))
@settings(max_examples=200, deadline=None)
def test_every_rule_is_read_as_it_is_written(parts: list[NameTemplate]) -> None:
    rule = IdentityRule(tuple(parts))
    assert IdentityRule.parse(str(rule)) == rule


@given(
    templates, st.text(st.sampled_from(LETTERS), min_size=1, max_size=60), st.text(st.sampled_from(LETTERS), min_size=1)
)
@settings(max_examples=200, deadline=None)
def test_a_rule_gives_two_devices_two_names(part: NameTemplate, one: str, two: str) -> None:
    rule = IdentityRule((NameTemplate(NameSource.CN, part.before, part.after),))
    names = []
    for common in (one, two[:60]):
        try:
            names.append(rule.find(make(name(common), ISSUING, key=KEY).certificate, ISSUING.certificate).name)
        except ChainRefused:
            return
    assert all(map(is_device_name, names))
    assert (names[0] == names[1]) == (one == two[:60])


KEY = make("any").key
