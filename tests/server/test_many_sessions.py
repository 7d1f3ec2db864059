"""Sessions by the hundred, and in the long form by ten thousand: none is lost, and all come back after an outage."""

import pytest

from tests.bench.many_sessions import story


def test_some_hundred_devices_come_back_at_once() -> None:
    """`story` itself raises for a device that could not connect, was not answered, or did not come back."""
    told = story([100, 300], 2, idle_s=0.5, forget=False)
    assert told["one_each"]["requests"] == 300
    assert told["storm"]["devices"] == 300
    assert told["one_each_after_the_storm"]["requests"] == 300


@pytest.mark.long
def test_fifty_thousand_devices_come_back_at_once() -> None:
    told = story([500, 50_000], 4, idle_s=30.0, forget=True)
    assert told["one_each"]["requests"] == 50_000
    assert told["storm"]["devices"] == 50_000
    assert told["one_each_after_the_storm"]["requests"] == 50_000
