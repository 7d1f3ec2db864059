"""What revocation lists decide about a chain: by policy, by age, by number, and for every certificate of it."""

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from gateway.pki import (
    ChainProblem,
    ChainRefused,
    CrlPolicy,
    CrlProblem,
    CrlRefused,
    RevocationList,
    Revocations,
    TrustStore,
    read_crl,
)
from tests.pki.factory import DAY, NOW, Made, ca, crl, entry, make, name, store, verify

ROOT = ca(name("Root", "Works"))
ISSUING = ca(name("Issuing", "Works"), ROOT)
LEAF, OTHER = make("dev", ISSUING), make("dev2", ISSUING)
SECOND = timedelta(seconds=1)
Flags = x509.ReasonFlags


def trust(*lists: bytes, policy: CrlPolicy = CrlPolicy.FAIL_CLOSED) -> TrustStore:
    return store(ROOT, intermediates=[ISSUING], lists=lists, crl=policy)


def refused(trust: TrustStore, *chain: Made, at: datetime = NOW) -> ChainRefused:
    with pytest.raises(ChainRefused) as caught:
        verify(trust, *chain, at=at)
    assert caught.value.detail.isprintable()
    return caught.value


@pytest.mark.parametrize("policy", [CrlPolicy.FAIL_OPEN, CrlPolicy.FAIL_CLOSED])
def test_a_revoked_device(policy: CrlPolicy) -> None:
    lists = crl(ROOT), crl(ISSUING, entry(LEAF, Flags.key_compromise, at=NOW - DAY))
    problem = refused(trust(*lists, policy=policy), LEAF, ISSUING)
    assert problem.problem is ChainProblem.REVOKED
    assert f"device certificate 'dev', serial {LEAF.certificate.serial_number:x}," in problem.detail
    assert "revoked by 'Issuing' since 2026-05-31 12:00:00Z (keyCompromise)" in problem.detail
    assert "give the device a new key" in problem.detail
    assert verify(trust(*lists, policy=policy), OTHER, ISSUING).crl.problem is None


@pytest.mark.parametrize("policy", [CrlPolicy.FAIL_OPEN, CrlPolicy.FAIL_CLOSED])
def test_a_revoked_intermediate(policy: CrlPolicy) -> None:
    problem = refused(trust(crl(ROOT, ISSUING), crl(ISSUING), policy=policy), LEAF, ISSUING)
    assert problem.problem is ChainProblem.REVOKED
    assert "CA certificate 'Issuing'" in problem.detail
    assert "another CA" in problem.detail


def test_a_serial_number_counts_only_for_its_own_ca() -> None:
    other = ca(name("Other", "Works"), ROOT)
    lists = crl(ROOT), crl(ISSUING), crl(other, entry(LEAF))
    assert verify(store(ROOT, intermediates=[ISSUING, other], lists=lists), LEAF, ISSUING).device_name == "dev"
    # Nor does a list of a CA with the same name and another key.
    twin = ca(name("Issuing", "Works"), ROOT)
    both = store(ROOT, intermediates=[ISSUING, twin], lists=[crl(ROOT), crl(ISSUING), crl(twin, entry(LEAF))])
    assert verify(both, LEAF, ISSUING).device_name == "dev"


def test_a_list_counts_for_every_certificate_of_its_ca() -> None:
    # The intermediate renewed with its key; the list was checked with the older certificate.
    renewed = ca(name("Issuing", "Works"), ROOT, key=ISSUING.key)
    assert renewed.certificate != ISSUING.certificate
    problem = refused(trust(crl(ROOT), crl(ISSUING, LEAF)), LEAF, renewed)
    assert problem.problem is ChainProblem.REVOKED


def test_a_name_that_is_encoded_anew_is_the_same_name() -> None:
    # The CA renewed its certificate, with its key, by another tool.
    pairs = ((NameOID.ORGANIZATION_NAME, "Works"), (NameOID.COMMON_NAME, "Issuing"))
    printable = x509.Name([x509.NameAttribute(oid, value, _ASN1Type.PrintableString) for oid, value in pairs])
    renewed = ca(printable, ROOT, key=ISSUING.key)
    assert renewed.certificate.subject.public_bytes() != ISSUING.certificate.subject.public_bytes()
    leaf = make("dev", renewed)
    assert refused(trust(crl(ROOT), crl(ISSUING, leaf)), leaf, renewed).problem is ChainProblem.REVOKED


def test_ignoring_lists() -> None:
    verified = verify(trust(crl(ROOT, ISSUING), crl(ISSUING, LEAF), policy=CrlPolicy.IGNORE), LEAF, ISSUING)
    assert (verified.crl.problem, verified.crl.detail) == (None, "")


def test_on_hold_is_revoked_until_released() -> None:
    on_hold = trust(crl(ROOT), crl(ISSUING, entry(LEAF, Flags.certificate_hold)))
    problem = refused(on_hold, LEAF, ISSUING)
    assert problem.problem is ChainProblem.REVOKED
    assert "on hold" in problem.detail
    assert "release" in problem.detail
    for released in (crl(ISSUING, number=2), crl(ISSUING, entry(LEAF, Flags.remove_from_crl), number=2)):
        newer = Revocations(read(each) for each in (crl(ROOT), released))
        assert verify(on_hold.with_revocations(newer, []), LEAF, ISSUING).crl.problem is None


def test_a_revocation_date_in_the_future_is_a_revocation() -> None:
    # RFC 5280 section 5.1: what is on the list is revoked; OpenSSL reads it so, too.
    later = crl(ISSUING, entry(LEAF, at=NOW + DAY))
    assert refused(trust(crl(ROOT), later), LEAF, ISSUING).problem is ChainProblem.REVOKED


def test_an_anchor_is_not_looked_up() -> None:
    # Whoever does not trust it any longer takes it away.
    root_list = crl(ROOT, ROOT)
    assert verify(trust(root_list, crl(ISSUING)), LEAF, ISSUING).crl.problem is None
    as_anchor = store(
        ISSUING, intermediates=[ROOT], lists=[crl(ROOT, ISSUING), crl(ISSUING)], crl=CrlPolicy.FAIL_CLOSED
    )
    assert verify(as_anchor, LEAF).crl.problem is None
    pinned = make("dev")
    assert verify(store(pinned, crl=CrlPolicy.FAIL_CLOSED), pinned).crl.problem is None


# Missing and outdated.


@pytest.mark.parametrize(
    ("missing", "lists"), [("Root", [crl(ISSUING)]), ("Issuing", [crl(ROOT)]), ("Issuing", [])], ids=str
)
def test_a_missing_list(missing: str, lists: list[bytes]) -> None:
    problem = refused(trust(*lists), LEAF, ISSUING)
    assert problem.problem is ChainProblem.CRL_UNAVAILABLE
    assert f"CN={missing},O=Works" in problem.detail
    assert "import" in problem.detail
    verified = verify(trust(*lists, policy=CrlPolicy.FAIL_OPEN), LEAF, ISSUING)
    assert verified.crl.problem is ChainProblem.CRL_UNAVAILABLE
    assert f"CN={missing},O=Works" in verified.crl.detail


@pytest.mark.parametrize("outdated", ["Root", "Issuing"])
def test_an_outdated_list(outdated: str) -> None:
    end = NOW + timedelta(hours=1)
    lists = [crl(each, next_update=end if each is old else NOW + 7 * DAY) for each in (ROOT, ISSUING)
             for old in [{"Root": ROOT, "Issuing": ISSUING}[outdated]]]  # fmt: skip
    closed, opened = trust(*lists), trust(*lists, policy=CrlPolicy.FAIL_OPEN)
    for at in (NOW, end, end + timedelta(milliseconds=999)):
        for each in (closed, opened):
            assert verify(each, LEAF, ISSUING, at=at).crl.problem is None
    # The very chain that was accepted a second ago, by a store that remembers it.
    problem = refused(closed, LEAF, ISSUING, at=end + SECOND)
    assert problem.problem is ChainProblem.CRL_EXPIRED
    assert f"CN={outdated},O=Works" in problem.detail
    assert "due at 2026-06-01 13:00:00Z" in problem.detail
    verified = verify(opened, LEAF, ISSUING, at=end + SECOND)
    assert verified.crl.problem is ChainProblem.CRL_EXPIRED
    assert "outdated" in verified.crl.detail


@pytest.mark.parametrize("policy", [CrlPolicy.FAIL_OPEN, CrlPolicy.FAIL_CLOSED])
def test_what_an_outdated_list_revokes_stays_revoked(policy: CrlPolicy) -> None:
    old = crl(ISSUING, LEAF, next_update=NOW - SECOND)
    assert refused(trust(crl(ROOT), old, policy=policy), LEAF, ISSUING).problem is ChainProblem.REVOKED


def test_time_that_goes_backwards_is_followed() -> None:
    closed = trust(crl(ROOT), crl(ISSUING))
    late = NOW + 7 * DAY + SECOND
    assert refused(closed, LEAF, ISSUING, at=late).problem is ChainProblem.CRL_EXPIRED
    assert verify(closed, LEAF, ISSUING, at=NOW).crl.problem is None
    opened = trust(crl(ROOT), crl(ISSUING), policy=CrlPolicy.FAIL_OPEN)
    assert verify(opened, LEAF, ISSUING, at=late).crl.problem is ChainProblem.CRL_EXPIRED
    assert verify(opened, LEAF, ISSUING, at=NOW).crl.problem is None


# New lists.


def test_a_new_list_reaches_devices_that_were_verified_before(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trust(crl(ROOT), crl(ISSUING))
    verify(before, LEAF, ISSUING)
    verify(before, OTHER, ISSUING)
    monkeypatch.setattr("gateway.pki.verifier.Verifier.path", lambda *_: pytest.fail("a signature is checked again"))
    after = before.with_revocations(Revocations([read(crl(ROOT)), read(crl(ISSUING, LEAF, number=2))]), [])
    assert refused(after, LEAF, ISSUING).problem is ChainProblem.REVOKED
    assert verify(after, OTHER, ISSUING).device_name == "dev2"
    # The old store still stands for what it was made with.
    assert verify(before, LEAF, ISSUING).device_name == "dev"


def read(data: bytes) -> RevocationList:
    return read_crl(data, [ROOT.certificate, ISSUING.certificate], NOW)


def listed(number: int | None, this_update: datetime = NOW - DAY) -> RevocationList:
    return read(crl(ROOT, number=number, this_update=this_update))


NEWER = [
    (listed(1), listed(2)),
    (listed(2), listed(10, NOW - 2 * DAY)),
    (listed(1), listed(1, NOW)),
    (listed(None), listed(None, NOW)),
    (listed(None), listed(0, NOW - 2 * DAY)),
]


@pytest.mark.parametrize(("old", "new"), NEWER)
def test_an_older_list_never_replaces_a_newer_one(old: RevocationList, new: RevocationList) -> None:
    assert Revocations([old]).with_list(new).lists == (new,)
    held = Revocations([new])
    with pytest.raises(CrlRefused) as caught:
        held.with_list(old)
    assert caught.value.problem is CrlProblem.OLDER
    assert "CN=Root,O=Works" in caught.value.detail
    for lists in ([old, new], [new, old]):
        assert Revocations(lists).lists == (new,)
    assert held.with_list(new).lists == (new,)


def test_lists_of_two_cas_of_one_name_stand_beside_each_other() -> None:
    twin = ca(name("Root", "Works"))
    lists = [read_crl(crl(each), [each.certificate], NOW) for each in (ROOT, twin)]
    both = Revocations(lists[:1]).with_list(lists[1])
    assert (both.find(ROOT.certificate), both.find(twin.certificate)) == tuple(lists)
    assert both.find(ISSUING.certificate) is None


def test_a_revoked_device_may_not_come_back_by_another_path() -> None:
    # The intermediate is certified by two roots; its list is about its devices whichever root is above.
    other_root = ca("Other Root")
    key = ec.generate_private_key(ec.SECP256R1())
    one, two = ca("Line", ROOT, key=key), ca("Line", other_root, key=key)
    leaf = make("dev", one)
    both = store(ROOT, other_root, intermediates=[one], lists=[crl(one, leaf)])
    for issuer in (one, two):
        assert refused(both, leaf, issuer).problem is ChainProblem.REVOKED
