"""A grace for expired certificates: how long it goes, for whom, and that it excuses nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.pki import (
    ChainProblem,
    ChainRefused,
    CrlPolicy,
    PkiError,
    TrustAnchor,
    TrustStore,
    VerifiedChain,
    fingerprint,
)
from gateway.pki.limits import MAX_EXPIRED_GRACE
from tests.pki.factory import DAY, NOW, Made, ca, crl, eku, make, name, store, verify

SECOND = timedelta(seconds=1)
GRACE = 30 * DAY
BEGIN = NOW - 900 * DAY

ROOT = ca(name("Root", "Works"), begin=BEGIN, end=NOW + 900 * DAY)
ISSUING = ca(name("Issuing", "Works"), ROOT, begin=BEGIN, end=NOW + 800 * DAY)


def expired(end: datetime, issuer: Made = ISSUING, subject: str = "dev") -> Made:
    return make(subject, issuer, begin=BEGIN, end=end)


def graceful(*anchors: Made, grace: timedelta = GRACE, intermediates: tuple[Made, ...] = ()) -> TrustStore:
    return store(*(anchors or (ROOT,)), expired_grace=grace, intermediates=intermediates)


def problem(trust: TrustStore, *chain: Made, at: datetime = NOW) -> ChainProblem:
    with pytest.raises(ChainRefused) as caught:
        verify(trust, *chain, at=at)
    return caught.value.problem


def test_a_device_is_let_in_until_the_grace_ends_to_the_second() -> None:
    leaf = expired(NOW)
    trust = graceful()
    for at, late in ((NOW - DAY, False), (NOW, False), (NOW + SECOND, True), (NOW + GRACE, True)):
        verified = verify(trust, leaf, ISSUING, at=at)
        assert verified.expired_within_grace is late
        assert verified.not_after == NOW + GRACE
        assert verified.not_before == BEGIN
    assert verify(trust, leaf, ISSUING, at=NOW + GRACE + timedelta(milliseconds=999)).expired_within_grace
    assert problem(trust, leaf, ISSUING, at=NOW + GRACE + SECOND) is ChainProblem.EXPIRED
    # And back again, as clocks do.
    assert verify(trust, leaf, ISSUING, at=NOW).expired_within_grace is False


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "known issuer"])
@pytest.mark.parametrize("ago", [GRACE, GRACE + SECOND, timedelta(seconds=1), 300 * DAY])
def test_it_is_the_same_behind_a_known_issuer(warm: bool, ago: timedelta) -> None:
    leaf = expired(NOW - ago)
    for sent in ([ISSUING], [ISSUING, ROOT], []):
        trust = graceful(intermediates=(ISSUING,))
        if warm:
            verify(trust, expired(NOW + DAY, subject="warm-up"), *sent)
            assert trust._paths._known
        if ago <= GRACE:
            assert verify(trust, leaf, *sent).expired_within_grace
        else:
            assert problem(trust, leaf, *sent) is ChainProblem.EXPIRED


def verified_by(anchor: Made, *chain: Made, intermediates: tuple[Made, ...] = ()) -> VerifiedChain:
    return verify(graceful(anchor, intermediates=intermediates), *chain)


def test_the_whole_path_has_it() -> None:
    old = NOW - 10 * DAY
    old_root = ca("Old Root", begin=BEGIN, end=old)
    old_issuing = ca("Old Issuing", ROOT, begin=BEGIN, end=old)
    below_old_root = ca("Issuing", old_root, begin=BEGIN, end=NOW - 5 * DAY)
    for anchor, chain in (
        (ROOT, (expired(NOW + DAY, old_issuing), old_issuing)),
        (ROOT, (expired(NOW - 3 * DAY, old_issuing), old_issuing)),
        (old_root, (expired(NOW + DAY, old_root),)),
        (old_root, (expired(NOW - 20 * DAY, below_old_root), below_old_root)),
        (old_root, (expired(NOW + DAY, below_old_root), below_old_root, old_root)),
    ):
        verified = verified_by(anchor, *chain)
        assert verified.expired_within_grace
        end = min(made.certificate.not_valid_after_utc for made in (*chain, anchor))
        assert verified.not_after == end + GRACE
    assert verified_by(ROOT, expired(NOW + DAY, old_issuing), intermediates=(old_issuing,)).expired_within_grace


def test_a_pinned_device_has_it() -> None:
    pinned = make("dev", begin=BEGIN, end=NOW - DAY)
    assert verify(graceful(pinned), pinned).expired_within_grace
    assert problem(graceful(pinned, grace=DAY - SECOND), pinned) is ChainProblem.EXPIRED


def test_one_certificate_beyond_it_is_too_many() -> None:
    old_issuing = ca("Old Issuing", ROOT, begin=BEGIN, end=NOW - GRACE - SECOND)
    trust = graceful()
    for leaf in (expired(NOW + DAY, old_issuing), expired(NOW - DAY, old_issuing)):
        assert problem(trust, leaf, old_issuing) is ChainProblem.EXPIRED


def test_the_refusal_names_the_grace() -> None:
    with pytest.raises(ChainRefused) as caught:
        verify(graceful(), expired(NOW - 31 * DAY), ISSUING)
    assert "31 days ago, longer than the grace of 30 days that its trust anchor gives" in caught.value.detail
    with pytest.raises(ChainRefused) as caught:
        verify(store(ROOT), expired(NOW - 31 * DAY), ISSUING)
    assert "grace" not in caught.value.detail


def test_without_a_grace_nothing_changes() -> None:
    assert problem(store(ROOT), expired(NOW - SECOND), ISSUING) is ChainProblem.EXPIRED
    assert verify(store(ROOT), expired(NOW), ISSUING).not_after == NOW


def test_the_grace_is_the_anchors_own() -> None:
    strict = ca("Punctual Root", begin=BEGIN, end=NOW + 900 * DAY)
    trust = TrustStore([TrustAnchor.of(ROOT.certificate, expired_grace=GRACE), TrustAnchor.of(strict.certificate)], [])
    assert verify(trust, expired(NOW - DAY, ROOT)).expired_within_grace
    assert problem(trust, expired(NOW - DAY, strict)) is ChainProblem.EXPIRED


def test_a_renewed_intermediate_serves_devices_from_before() -> None:
    # Issued before the device expired: there was a time at which all of it was valid.
    renewed = ca(name("Issuing", "Works"), ROOT, key=ISSUING.key, begin=NOW - 20 * DAY, end=NOW + DAY)
    assert verify(graceful(), expired(NOW - 10 * DAY), renewed).expired_within_grace
    # Issued afterwards there was none, and no verifier can be asked about it.
    late = ca(name("Issuing", "Works"), ROOT, key=ISSUING.key, begin=NOW - 5 * DAY, end=NOW + DAY)
    with pytest.raises(ChainRefused) as caught:
        verify(graceful(), expired(NOW - 10 * DAY), late)
    assert caught.value.problem is ChainProblem.EXPIRED
    assert "never valid at the same time" in caught.value.detail
    assert "2026-05-22 12:00:00Z, before another one began at 2026-05-27 12:00:00Z" in caught.value.detail


@pytest.mark.parametrize("ago", [1, 5, 15])
def test_older_and_newer_certificates_of_the_intermediate_do_not_confuse_it(ago: int) -> None:
    # One that ended long ago, one that ended lately, one that has begun lately; all with one key.
    ends = (NOW - 100 * DAY, NOW - 12 * DAY, NOW + 900 * DAY)
    begins = (BEGIN, NOW - 300 * DAY, NOW - 10 * DAY)
    forms = [
        ca(name("Issuing", "Works"), ROOT, key=ISSUING.key, begin=begin, end=end)
        for begin, end in zip(begins, ends, strict=True)
    ]
    leaf = expired(NOW - ago * DAY)
    for sent in ([], [forms[0]], [forms[2]]):
        for stored in (forms, forms[::-1]):
            verified = verify(graceful(intermediates=tuple(stored)), leaf, *sent)
            assert verified.expired_within_grace


# It excuses nothing else.


def test_not_yet_valid_is_not_excused() -> None:
    early = make("dev", ISSUING, begin=NOW + SECOND)
    assert problem(graceful(), early, ISSUING) is ChainProblem.NOT_YET_VALID


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "known issuer"])
def test_every_other_defect_keeps_its_own_reason(warm: bool) -> None:
    end = NOW - DAY
    thief = make("Thief")
    cases = {
        ChainProblem.BAD_SIGNATURE: make("dev", thief, issuer_name=ISSUING.certificate.subject, begin=BEGIN, end=end),
        ChainProblem.WRONG_KEY_USAGE: make("dev", ISSUING, eku(ExtendedKeyUsageOID.SERVER_AUTH), begin=BEGIN, end=end),
        ChainProblem.CA_AS_LEAF: ca("dev", ISSUING, begin=BEGIN, end=end),
        ChainProblem.NO_IDENTITY: make(x509.Name([]), ISSUING, begin=BEGIN, end=end),
        ChainProblem.UNKNOWN_ROOT: make("dev", ca("Stranger"), begin=BEGIN, end=end),
    }
    for expected, leaf in cases.items():
        trust = graceful()
        if warm:
            verify(trust, expired(NOW + DAY, subject="warm-up"), ISSUING)
        assert problem(trust, leaf, ISSUING) is expected


def test_revocation_and_bans_still_apply() -> None:
    leaf = expired(NOW - DAY)
    lists = [crl(ROOT), crl(ISSUING, leaf)]
    revoked = store(ROOT, intermediates=[ISSUING], lists=lists, expired_grace=GRACE, crl=CrlPolicy.FAIL_OPEN)
    assert problem(revoked, leaf, ISSUING) is ChainProblem.REVOKED
    banned = store(ROOT, banned=[fingerprint(leaf.certificate)], expired_grace=GRACE)
    assert problem(banned, leaf, ISSUING) is ChainProblem.DISTRUSTED


# Its length.


@pytest.mark.parametrize("bad", [-SECOND, MAX_EXPIRED_GRACE + SECOND])
def test_its_length_is_bounded(bad: timedelta) -> None:
    with pytest.raises(PkiError, match="grace"):
        TrustAnchor.of(ROOT.certificate, expired_grace=bad)


def test_a_certificate_without_an_end_stays_without_one() -> None:
    # RFC 5280 section 4.1.2.5: 99991231235959Z.
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    root = ca("Eternal Root", begin=BEGIN, end=never)
    verified = verify(graceful(root), expired(never, root))
    assert verified.not_after.year == 9999
    assert verified.not_after.timestamp() >= never.timestamp()
    assert not verified.expired_within_grace
