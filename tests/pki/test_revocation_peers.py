"""Foreign truth about revocation: lists of `openssl ca` and of `certtool`, verdicts beside `openssl verify`."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from gateway.pki import (
    ChainProblem,
    ChainRefused,
    CrlPolicy,
    CrlProblem,
    CrlRefused,
    RevocationList,
    Revocations,
    TrustAnchor,
    TrustStore,
    load_certificates,
    read_crl,
)
from tests.pki.peers import Certtool, Openssl

pytestmark = pytest.mark.interop

DAY = timedelta(days=1)
CA = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign", "subjectKeyIdentifier=hash")


class Works:
    """A root, an intermediate and devices, with their lists: made once, read by both verifiers."""

    def __init__(self, openssl: Openssl, lists: dict[str, bytes]) -> None:
        self.openssl = openssl
        self.lists = lists
        (self.root,), (self.issuing,) = (
            load_certificates(openssl.folder / f"{each}.pem") for each in ("root", "issuing")
        )

    def read(self, name: str) -> RevocationList:
        return read_crl(self.lists[name], [self.root, self.issuing], datetime.now(UTC))

    def ours(self, leaf: str, lists: Iterable[str], at: datetime, policy: CrlPolicy) -> str:
        trust = TrustStore(
            [TrustAnchor.of(self.root, crl=policy)], revocations=Revocations(self.read(each) for each in lists)
        )
        try:
            return f"OK {trust.verify([self.openssl.der(leaf), self.openssl.der('issuing')], at).device_name}"
        except ChainRefused as refused:
            return refused.problem

    def theirs(self, leaf: str, lists: Iterable[str], at: datetime) -> str:
        pem = self.openssl.folder / "lists.pem"
        pem.write_bytes(b"".join(self.pem(each) for each in lists))
        files = ("-CAfile", "root.pem", "-untrusted", "issuing.pem", *(("-CRLfile", pem.name) if lists else ()))
        moment = ("-attime", str(int(at.timestamp())))
        good, text = self.openssl.try_to("verify", "-crl_check_all", *moment, *files, f"{leaf}.pem")
        return "OK" if good else text

    def pem(self, name: str) -> bytes:
        self.openssl.run("crl", "-inform", "DER", "-in", f"{name}.der", "-out", f"{name}.again")
        return (self.openssl.folder / f"{name}.again").read_bytes()


def by_openssl(openssl: Openssl) -> Works:
    openssl.root("root", "/O=Works/CN=Works Root")
    openssl.sign("issuing", "/O=Works/CN=Works Issuing", "root", *CA, "authorityKeyIdentifier=keyid")
    for number in (1, 2, 3):
        openssl.sign(f"device{number}", f"/CN=meter-{number}", "issuing", "basicConstraints=CA:FALSE")
    lists = {
        "root-all-good": openssl.crl("root-all-good", "root", number=300),
        "root-no-issuing": openssl.crl("root-no-issuing", "root", "issuing:CACompromise", number=301),
        "issuing-1": openssl.crl("issuing-1", "issuing", "device1:keyCompromise"),
        "issuing-1-hold": openssl.crl("issuing-1-hold", "issuing", "device1:certificateHold", "device3", number=2),
        "issuing-v1": openssl.crl("issuing-v1", "issuing", "device1", more=None),
    }
    return Works(openssl, lists)


def by_certtool(openssl: Openssl, certtool: Certtool) -> Works:
    ca = ('organization = "Works"', "ca", "cert_signing_key", "crl_signing_key", "expiration_days = 3650")
    certtool.make("root", None, 'cn = "Works Root"', *ca)
    certtool.make("issuing", "root", 'cn = "Works Issuing"', *ca)
    for number in (1, 2, 3):
        leaf = (f'cn = "meter-{number}"', "signing_key", "tls_www_client", "expiration_days = 365")
        certtool.make(f"device{number}", "issuing", *leaf)
    lists = {
        "root-all-good": certtool.crl("root-all-good", "root", number=300),
        "root-no-issuing": certtool.crl("root-no-issuing", "root", "issuing", number=301),
        "issuing-1": certtool.crl("issuing-1", "issuing", "device1"),
        "issuing-1-hold": certtool.crl("issuing-1-hold", "issuing", "device1", "device3", number=2),
        "issuing-v1": certtool.crl("issuing-v1", "issuing", "device1"),
    }
    return Works(openssl, lists)


@pytest.fixture(scope="module", params=["openssl", "certtool"])
def works(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Works:
    folder = tmp_path_factory.mktemp(request.param)
    openssl = Openssl(folder)
    return by_openssl(openssl) if request.param == "openssl" else by_certtool(openssl, Certtool(folder))


ROOT_OK, SOON, LATE = "root-all-good", DAY, 8 * DAY
REVOKED = ChainProblem.REVOKED, "certificate revoked"
MISSING = ChainProblem.CRL_UNAVAILABLE, "unable to get certificate CRL"
OUTDATED = ChainProblem.CRL_EXPIRED, "CRL has expired"
FINE = "OK", "OK"

# Of two lists of one CA OpenSSL takes the one with the later thisUpdate, we the one with the higher number (RFC 5280
# section 5.2.3); so there is one of each CA here.
CASES = {
    "nothing revoked": ("device2", [ROOT_OK, "issuing-1"], SOON, *FINE),
    "device revoked": ("device1", [ROOT_OK, "issuing-1"], SOON, *REVOKED),
    "device on hold": ("device1", [ROOT_OK, "issuing-1-hold"], SOON, *REVOKED),
    "second entry": ("device3", [ROOT_OK, "issuing-1-hold"], SOON, *REVOKED),
    "list of version 1, revoked": ("device1", [ROOT_OK, "issuing-v1"], SOON, *REVOKED),
    "list of version 1, good": ("device2", [ROOT_OK, "issuing-v1"], SOON, *FINE),
    "intermediate revoked": ("device2", ["root-no-issuing", "issuing-1"], SOON, *REVOKED),
    "no list at all": ("device2", [], SOON, *MISSING),
    "no list of the root": ("device2", ["issuing-1"], SOON, *MISSING),
    "no list of the intermediate": ("device2", [ROOT_OK], SOON, *MISSING),
    "outdated": ("device2", [ROOT_OK, "issuing-1"], LATE, *OUTDATED),
}


@pytest.mark.parametrize("case", CASES)
def test_fail_closed_says_what_openssl_says(works: Works, case: str) -> None:
    leaf, lists, ahead, ours, theirs = CASES[case]
    at = datetime.now(UTC) + ahead
    assert works.ours(leaf, lists, at, CrlPolicy.FAIL_CLOSED).split()[0] == ours
    assert theirs in works.theirs(leaf, lists, at)


@pytest.mark.parametrize("case", CASES)
def test_fail_open_differs_only_where_a_list_is_missing_or_old(works: Works, case: str) -> None:
    leaf, lists, ahead, ours, _ = CASES[case]
    found = works.ours(leaf, lists, datetime.now(UTC) + ahead, CrlPolicy.FAIL_OPEN).split()[0]
    assert found == ("OK" if ours in (ChainProblem.CRL_UNAVAILABLE, ChainProblem.CRL_EXPIRED) else ours)


def test_what_a_list_says(works: Works) -> None:
    hold = works.read("issuing-1-hold")
    assert hold.number == 2
    assert hold.issuer == works.issuing
    assert hold.next_update - hold.this_update == 7 * DAY
    for device, revoked in (("device1", True), ("device2", False), ("device3", True)):
        serial = x509.load_der_x509_certificate(works.openssl.der(device)).serial_number
        assert (hold.find(serial) is not None) is revoked
    text = works.openssl.run("crl", "-inform", "DER", "-in", "issuing-1-hold.der", "-noout", "-text")
    assert text.count("Serial Number:") == len(hold) == 2


@pytest.mark.parametrize("octets", [1, 20, 21])
def test_a_serial_number_of_any_length_that_verifies(works: Works, octets: int) -> None:
    # Beside one of 22 octets, which no verifier takes, and which spoils no list.
    openssl = works.openssl
    for name, serial in (("odd", "7f" * octets), ("odder", "7f" * 22)):
        openssl.sign(
            name, f"/CN={name}", "issuing", "basicConstraints=CA:FALSE", options=("-set_serial", f"0x{serial}")
        )
    works.lists["odd-list"] = openssl.crl("odd-list", "issuing", "odder", "odd")
    at = datetime.now(UTC)
    assert works.ours("odd", ["root-all-good", "issuing-1"], at, CrlPolicy.FAIL_CLOSED) == "OK odd"
    assert works.ours("odd", ["root-all-good", "odd-list"], at, CrlPolicy.FAIL_CLOSED) == ChainProblem.REVOKED
    assert works.ours("device2", ["root-all-good", "odd-list"], at, CrlPolicy.FAIL_CLOSED) == "OK meter-2"


def problem(works: Works, data: bytes) -> CrlProblem:
    with pytest.raises(CrlRefused) as caught:
        read_crl(data, [works.root, works.issuing], datetime.now(UTC))
    return caught.value.problem


def test_lists_of_openssl_that_are_not_taken(works: Works) -> None:
    openssl = works.openssl
    made = {
        CrlProblem.WEAK_SIGNATURE: openssl.crl("sha1", "issuing", "device1", digest="sha1"),
        CrlProblem.DELTA: openssl.crl("delta", "issuing", "device1", more=("2.5.29.27=critical,DER:020101",)),
        CrlProblem.PARTITIONED: openssl.crl(
            "part", "issuing", "device1", more=("issuingDistributionPoint=critical,@part", "[part]", "onlyuser=TRUE")
        ),
        CrlProblem.UNKNOWN_EXTENSION: openssl.crl("odd", "issuing", more=("1.3.6.1.4.1.32473.1=critical,DER:0500",)),
    }
    for expected, data in made.items():
        assert problem(works, data) is expected
    openssl.root("stranger", "/O=Elsewhere/CN=Other")
    assert problem(works, openssl.crl("strange", "stranger")) is CrlProblem.UNKNOWN_ISSUER
    openssl.root("namesake", "/O=Works/CN=Works Root")
    assert problem(works, openssl.crl("forged", "namesake")) in (CrlProblem.BAD_SIGNATURE, CrlProblem.UNKNOWN_ISSUER)
