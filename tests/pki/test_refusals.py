"""The sentence that an operator reads for each kind of refusal, and the limits."""

import gc
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import VerifiedClient

from gateway.pki import ChainProblem, ChainRefused, Revocations, TrustStore
from gateway.pki.limits import MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, MAX_KNOWN_ISSUERS, MAX_VERIFIED_CHAINS
from gateway.pki.verifier import Verifier
from tests.pki.factory import DAY, NOW, Made, aki, ca, eku, make, name, san, store, verify

ROOT = ca(name("Root", "Works"))
ISSUING = ca(name("Issuing", "Works"), ROOT)
LEAF = make("dev", ISSUING, aki(ISSUING))
STRANGER = ca(name("Other Root", "Elsewhere"))


def refused(trust: TrustStore, *chain: Made, at: timedelta = timedelta()) -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        verify(trust, *chain, at=NOW + at)
    return caught.value


def key_id(made: Made) -> str:
    return made.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def test_no_certificate() -> None:
    problem = refused(store(ROOT))
    assert problem.problem is ChainProblem.NO_CERTIFICATE
    assert "gateway cert issue" in problem.detail


def test_expired_says_since_when_and_by_how_much() -> None:
    leaf = make("dev", ROOT, end=NOW)
    problem = refused(store(ROOT), leaf, at=timedelta(days=2, hours=3, minutes=4))
    assert problem.problem is ChainProblem.EXPIRED
    assert "device certificate 'dev' expired at 2026-06-01 12:00:00Z, 2 days 3 hours ago" in problem.detail
    assert "gateway cert issue" in problem.detail


def test_not_yet_valid_says_by_how_much_and_hints_at_the_clock() -> None:
    leaf = make("dev", ROOT, begin=NOW + timedelta(minutes=90))
    problem = refused(store(ROOT), leaf)
    assert problem.problem is ChainProblem.NOT_YET_VALID
    assert "valid only from 2026-06-01 13:30:00Z, in 1 hour 30 minutes" in problem.detail
    assert "clock" in problem.detail


def test_the_ends_of_the_validity_period_are_inclusive() -> None:
    # RFC 5280 section 4.1.2.5: "from notBefore through notAfter, inclusive"; whole seconds.
    trust = store(ROOT)
    leaf = make("dev", ROOT, begin=NOW, end=NOW + DAY)
    second = timedelta(seconds=1)
    for offset in (timedelta(), DAY, DAY + timedelta(milliseconds=999)):
        assert verify(trust, leaf, at=NOW + offset).device_name == "dev"
    assert refused(trust, leaf, at=-timedelta(microseconds=1)).problem is ChainProblem.NOT_YET_VALID
    assert refused(trust, leaf, at=DAY + second).problem is ChainProblem.EXPIRED


def test_an_expired_intermediate_is_named() -> None:
    old = ca("Old Issuing", ROOT, end=NOW - DAY / 2)
    problem = refused(store(ROOT), make("dev", old), old)
    assert problem.problem is ChainProblem.EXPIRED
    assert "CA certificate 'Old Issuing'" in problem.detail


def test_unknown_root_names_the_issuer_and_its_key_id() -> None:
    problem = refused(store(ROOT), make("dev", STRANGER, aki(STRANGER)))
    assert problem.problem is ChainProblem.UNKNOWN_ROOT
    assert "CN=Other Root,O=Elsewhere" in problem.detail
    assert key_id(STRANGER) in problem.detail
    assert "gateway ca trust FILE" in problem.detail


def test_unknown_root_above_a_sent_intermediate() -> None:
    between = ca(name("Other Issuing", "Elsewhere"), STRANGER)
    for sent in ([between], [between, STRANGER]):
        problem = refused(store(ROOT), make("dev", between), *sent)
        assert problem.problem is ChainProblem.UNKNOWN_ROOT
        assert "Other Root" in problem.detail
        assert key_id(STRANGER) in problem.detail


def test_a_self_signed_device_is_an_unknown_root() -> None:
    problem = refused(store(ROOT), make("dev"))
    assert problem.problem is ChainProblem.UNKNOWN_ROOT
    assert "self-signed" in problem.detail


def test_without_any_anchor_the_remedy_is_to_trust_one() -> None:
    problem = refused(TrustStore([]), LEAF, ISSUING)
    assert problem.problem is ChainProblem.UNKNOWN_ROOT
    assert "no trust anchor yet" in problem.detail


def test_missing_intermediate_names_the_wanted_issuer_and_its_key_id() -> None:
    problem = refused(store(ROOT), LEAF)
    assert problem.problem is ChainProblem.MISSING_INTERMEDIATE
    assert "CN=Issuing,O=Works" in problem.detail
    assert key_id(ISSUING) in problem.detail


def test_missing_intermediate_by_the_authority_cert_issuer() -> None:
    # Names without an organization; the leaf itself says who issued its issuer (RFC 5280 section 4.2.1.1).
    root, stranger = ca("Bare Root"), ca("Bare Stranger")
    for top, expected in ((root, ChainProblem.MISSING_INTERMEDIATE), (stranger, ChainProblem.UNKNOWN_ROOT)):
        issuing = ca("Bare Issuing", top)
        authority = x509.AuthorityKeyIdentifier(
            bytes.fromhex(key_id(issuing)),
            [x509.DirectoryName(top.certificate.subject)],
            issuing.certificate.serial_number,
        )
        assert refused(store(root), make("dev", issuing, (authority, False))).problem is expected


def test_a_ca_with_a_new_key_under_its_old_name() -> None:
    renewed = ca(name("Root", "Works"))
    problem = refused(store(ROOT), make("dev", renewed, aki(renewed)))
    assert problem.problem is ChainProblem.UNKNOWN_ROOT
    assert key_id(ROOT) in problem.detail
    assert key_id(renewed) in problem.detail


def test_a_forged_signature() -> None:
    # Right names, right key id, wrong key: what somebody without the CA's key can make.
    thief = make("Thief")
    forged = make("dev", thief, aki(ROOT), issuer_name=ROOT.certificate.subject)
    problem = refused(store(ROOT), forged)
    assert problem.problem is ChainProblem.BAD_SIGNATURE
    assert "'dev'" in problem.detail


def test_a_forged_intermediate() -> None:
    thief = make("Thief")
    forged = ca(name("Issuing", "Works"), thief, issuer_name=ROOT.certificate.subject)
    problem = refused(store(ROOT), make("dev", forged), Made(forged.certificate, forged.key))
    assert problem.problem in (ChainProblem.BAD_SIGNATURE, ChainProblem.UNKNOWN_ROOT)


def test_every_detail_is_one_printable_bounded_line() -> None:
    evil = "dev\n2026-06-01 forged log line \u202e" + "x" * 20
    long = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o" * 64)] * 40)
    for problem in (
        refused(store(ROOT), make(evil, STRANGER)),
        refused(store(ROOT), make(name("dev", evil))),
        refused(store(ROOT), make(long)),
        refused(store(ROOT), make(evil, ROOT)),
        refused(store(ROOT), make(evil, ROOT, eku(ExtendedKeyUsageOID.SERVER_AUTH))),
        refused(store(ROOT), make("dev", ROOT, san(x509.UniformResourceIdentifier("urn:" + "x" * 2000)))),
    ):
        assert problem.detail.isprintable()
        assert len(problem.detail) < 700


# Limits.


def test_the_number_of_certificates_is_bounded() -> None:
    trust = store(ROOT)
    assert verify(trust, LEAF, *[ISSUING] * (MAX_CHAIN_CERTIFICATES - 1)).device_name == "dev"
    with pytest.raises(ChainRefused) as caught:
        trust.verify([b"not even looked at"] * (MAX_CHAIN_CERTIFICATES + 1), NOW)
    assert caught.value.problem is ChainProblem.CHAIN_TOO_LONG


def test_the_size_of_a_certificate_is_bounded() -> None:
    large = make("dev", ROOT, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(9000)), False))
    problem = refused(store(ROOT), large)
    assert problem.problem is ChainProblem.MALFORMED
    assert str(MAX_CERTIFICATE_BYTES) in problem.detail


def test_remembered_issuers_are_bounded_and_still_right() -> None:
    trust = store(ROOT)
    issuers = [ca(name(f"Line {number}", "Works"), ROOT) for number in range(MAX_KNOWN_ISSUERS + 5)]
    for issuer in issuers:
        assert verify(trust, make("dev", issuer), issuer).device_name == "dev"
    assert len(trust._paths._known) == MAX_KNOWN_ISSUERS
    # An issuer is remembered for what it signed, not for who presents it.
    for issuer in (issuers[0], issuers[-1]):
        issuers_above = verify(trust, make("dev2", issuer), issuer).issuers
        assert [c.subject for c in issuers_above] == [issuer.certificate.subject, ROOT.certificate.subject]
        thief = make("Thief")
        forged = make("dev", thief, aki(issuer), issuer_name=issuer.certificate.subject)
        assert refused(trust, forged, issuer).problem is ChainProblem.BAD_SIGNATURE


@pytest.mark.parametrize("sent", [[], [ISSUING], [ISSUING, ROOT]], ids=["alone", "issuer", "issuer and root"])
def test_an_issuer_is_remembered_however_it_is_made_known(monkeypatch: pytest.MonkeyPatch, sent: list[Made]) -> None:
    trust = store(ROOT, intermediates=[ISSUING])
    verify(trust, LEAF, *sent)
    monkeypatch.setattr("gateway.pki.paths.Paths._full_path", lambda *_: pytest.fail("the path is searched again"))
    verified = verify(trust, make("dev2", ISSUING), *sent)
    assert [each.subject for each in verified.issuers] == [ISSUING.certificate.subject, ROOT.certificate.subject]


@pytest.mark.parametrize("sent", [[ROOT, ISSUING], [ISSUING, STRANGER], [ISSUING, ISSUING], [ISSUING, ROOT, ROOT]])
def test_company_of_an_issuer_is_not_remembered(sent: list[Made]) -> None:
    # Else a single device could push every issuer out of the table.
    trust = store(ROOT)
    assert verify(trust, LEAF, *sent).device_name == "dev"
    assert len(trust._paths._known) == 0


def test_a_trust_store_is_not_left_to_the_garbage_collector() -> None:
    gc.disable()
    try:
        trust = store(ROOT)
        verify(trust, LEAF, ISSUING)
        newer = trust.with_revocations(Revocations(), [])
        verify(newer, LEAF, ISSUING)
        gone: list[Callable[[], object]] = [weakref.ref(trust), weakref.ref(newer), weakref.ref(newer._paths)]
        del trust, newer
        assert [each() for each in gone] == [None, None, None]
    finally:
        gc.enable()


def test_verified_chains_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_VERIFIED_CHAINS <= 100_000
    monkeypatch.setattr("gateway.pki.trust.MAX_VERIFIED_CHAINS", 3)
    trust = store(ROOT)
    for number in range(5):
        assert verify(trust, make(f"dev-{number}", ROOT)).device_name == f"dev-{number}"
    assert len(trust._remembered) == 3


def test_a_verified_chain_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[x509.Certificate] = []
    path = Verifier.path

    def search(
        verifier: Verifier, leaf: x509.Certificate, helpers: Sequence[x509.Certificate], at: datetime
    ) -> VerifiedClient:
        searched.append(leaf)
        return path(verifier, leaf, helpers, at)

    monkeypatch.setattr(Verifier, "path", search)
    trust, leaf = store(ROOT), make("dev", ISSUING)
    first = verify(trust, leaf, ISSUING)
    assert verify(trust, leaf, ISSUING) == first
    assert len(searched) == 1
    assert verify(trust, make("dev", ISSUING), ISSUING) != first
    assert len(searched) == 2


def test_a_verified_chain_vouches_for_no_other_bytes() -> None:
    trust, leaf, other = store(ROOT), make("dev", ISSUING), make("dev2", ISSUING)
    verify(trust, leaf, ISSUING)
    for position in range(len(leaf.der)):
        forged = leaf.der[:position] + bytes((leaf.der[position] ^ 1,)) + leaf.der[position + 1 :]
        with suppress(ChainRefused):
            named = trust.verify([forged, ISSUING.der], NOW)
            # Bits outside of what is signed do not matter (see test_fuzz).
            assert named.device_name == "dev"
            assert named.fingerprint != verify(trust, leaf, ISSUING).fingerprint
    # Where one certificate ends and the next begins counts.
    refused_ = [leaf.der + ISSUING.der], [leaf.der[:-1], leaf.der[-1:] + ISSUING.der]
    for chain in refused_:
        with pytest.raises(ChainRefused):
            trust.verify(chain, NOW)
    assert verify(trust, other, ISSUING).device_name == "dev2"


def test_a_verified_chain_expires_to_the_second() -> None:
    issuer = ca(name("Line", "Works"), ROOT, end=NOW + 10 * DAY)
    trust, leaf = store(ROOT), make("dev", issuer)
    end = verify(trust, leaf, issuer).not_after
    assert end == issuer.certificate.not_valid_after_utc
    assert verify(trust, leaf, issuer, at=end + timedelta(milliseconds=999)).device_name == "dev"
    with pytest.raises(ChainRefused) as caught:
        verify(trust, leaf, issuer, at=end + timedelta(seconds=1))
    assert caught.value.problem is ChainProblem.EXPIRED
    with pytest.raises(ChainRefused) as caught:
        verify(trust, leaf, issuer, at=verify(trust, leaf, issuer).not_before - timedelta(seconds=1))
    assert caught.value.problem is ChainProblem.NOT_YET_VALID


def test_a_stranger_is_not_remembered() -> None:
    trust = store(ROOT)
    between = ca("Between", STRANGER)
    refused(trust, make("dev", between), between)
    assert len(trust._paths._known) == 0


# What is remembered must not outlive what it stood for. Each case runs cold and warm.


def warm(trust: TrustStore, issuer: Made) -> TrustStore:
    verify(trust, make("warm-up", issuer), issuer)
    return trust


def test_a_remembered_issuer_expires() -> None:
    issuer = ca("Short Issuing", ROOT, end=NOW + timedelta(seconds=10))
    trust = warm(store(ROOT), issuer)
    leaf = make("dev", issuer)
    assert verify(trust, leaf, issuer, at=NOW + timedelta(seconds=10)).device_name == "dev"
    assert refused(trust, leaf, issuer, at=timedelta(seconds=11)).problem is ChainProblem.EXPIRED
    assert refused(trust, leaf, issuer, at=timedelta(seconds=120)).problem is ChainProblem.EXPIRED


def test_a_remembered_issuers_root_expires() -> None:
    root = ca("Short Root", end=NOW + timedelta(seconds=10))
    issuer = ca("Issuing", root)
    trust = warm(store(root), issuer)
    assert refused(trust, make("dev", issuer), issuer, at=timedelta(seconds=11)).problem is ChainProblem.EXPIRED


def test_a_remembered_issuer_vouches_for_no_ca_and_no_server() -> None:
    trust = warm(store(ROOT), ISSUING)
    below = ca("Below", ISSUING)
    assert refused(trust, below, ISSUING).problem is ChainProblem.CA_AS_LEAF
    assert refused(trust, ISSUING, ISSUING).problem is ChainProblem.CA_AS_LEAF
    server = make("dev", ISSUING, eku(ExtendedKeyUsageOID.SERVER_AUTH))
    assert refused(trust, server, ISSUING).problem is ChainProblem.WRONG_KEY_USAGE


def test_name_constraints_hold_behind_a_remembered_issuer() -> None:
    constraints = x509.NameConstraints([x509.DNSName("a.example")], None)
    top = ca("Constrained", ROOT, (constraints, True))
    issuer = ca("Under Constraint", top)
    for anchor, sent in ((top, [issuer]), (ROOT, [issuer, top])):
        trust = store(anchor)
        good = make("x", issuer, san(x509.DNSName("dev.a.example")))
        bad = make("x", issuer, san(x509.DNSName("dev.b.example")))
        for _ in range(2):
            assert verify(trust, good, *sent).device_name == "dev.a.example"
            assert refused(trust, bad, *sent).problem is ChainProblem.INVALID


# The verifier's clock stands still; ours does not.


def test_a_certificate_issued_since_the_last_handshake_is_valid_at_once() -> None:
    trust = store(ROOT)
    verify(trust, make("dev", ROOT))
    fresh = make("new", ROOT, begin=NOW + timedelta(seconds=20))
    assert verify(trust, fresh, at=NOW + timedelta(seconds=20)).device_name == "new"


def test_time_may_go_backwards() -> None:
    trust = store(ROOT)
    late = make("dev", ROOT, begin=NOW + DAY)
    assert verify(trust, late, at=NOW + 2 * DAY).device_name == "dev"
    assert refused(trust, late).problem is ChainProblem.NOT_YET_VALID


def test_a_long_running_store_follows_the_clock() -> None:
    trust = store(ROOT)
    leaf = make("dev", ROOT, end=NOW + 300 * DAY)
    for days in (0, 1, 100, 300):
        assert verify(trust, leaf, at=NOW + days * DAY).device_name == "dev"
    assert refused(trust, leaf, at=301 * DAY).problem is ChainProblem.EXPIRED
