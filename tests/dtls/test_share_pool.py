"""Keys made ahead: fresh, each given once, never more than allowed."""

import pytest

from gateway.dtls.crypto import SUPPORTED_GROUPS, KeyShare, KeySharePool
from gateway.dtls.errors import ApiMisuse


def test_nothing_is_made_for_a_group_that_nobody_asked_for() -> None:
    pool = KeySharePool(3)
    assert pool.is_full
    pool.make_one()
    assert len(pool) == 0


@pytest.mark.parametrize("group", SUPPORTED_GROUPS)
def test_each_key_is_given_once_and_agrees(group: int) -> None:
    pool = KeySharePool(3)
    shares = [pool.take(group)]
    while not pool.is_full:
        pool.make_one()
    assert len(pool) == 3
    shares += [pool.take(group) for _ in range(5)]
    assert len(pool) == 0
    assert len({share.public for share in shares}) == 6
    for share in shares:
        peer = KeyShare.generate(group)
        public = share.public
        assert share.agree(peer.public) == peer.agree(public)


def test_the_group_with_the_fewest_is_filled_first_and_none_beyond_its_size() -> None:
    pool = KeySharePool(2)
    pool.take(SUPPORTED_GROUPS[0])
    pool.make_one()
    pool.take(SUPPORTED_GROUPS[1])
    pool.make_one()
    assert pool.take(SUPPORTED_GROUPS[1]).group == SUPPORTED_GROUPS[1]
    for _ in range(10):
        pool.make_one()
    assert len(pool) == 4


def test_an_unknown_group_is_our_mistake_and_leaves_nothing_behind() -> None:
    pool = KeySharePool(2)
    with pytest.raises(ApiMisuse):
        pool.take(25)
    assert pool.is_full
