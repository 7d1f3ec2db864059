"""No client and no feature is forgotten: each pair has a test, or a reason why not."""

from tests.interop.driven_peers import DRIVEN_PEERS, OFFERED
from tests.interop.matrix import FEATURES, LACKS, NOT_TESTED, PEERS, marks


def test_marks_name_what_there_is() -> None:
    assert {client for client, _ in marks()} == set(PEERS)
    assert {feature for _, feature in marks()} <= {*FEATURES, *OFFERED}


def test_each_pair_has_a_test_or_a_reason() -> None:
    tested = {pair for pair in marks() if pair[1] in FEATURES}
    assert tested | set(LACKS) == {(peer, feature) for peer in PEERS for feature in FEATURES}
    assert tested & set(LACKS) == set()
    assert all(LACKS.values())


def test_each_suite_is_tested_with_somebody_elses_if_anybody_has_it() -> None:
    assert {suite for _, suite in marks()} & set(OFFERED) == set(OFFERED) - NOT_TESTED.keys()


def test_each_driven_peer_is_tested_with_all_suites_that_it_shares() -> None:
    for peer in DRIVEN_PEERS:
        assert {feature for client, feature in marks() if client == peer.name} >= {
            *peer.shared(),
            *peer.shared_with_rsa(),
        }
