"""The limiter against a plain model, and its bounds."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import EventLimiter
from gateway.telemetry.limits import MAX_LIMITED_EVENTS


@given(
    # Sixty-fourths of a second, which floats add and subtract without rounding.
    st.lists(st.tuples(st.sampled_from("abx"), st.integers(0, 45).map(lambda ticks: ticks / 64))),
    st.integers(1, 4),
)
def test_every_event_is_either_written_or_counted(steps: list[tuple[str, float]], burst: int) -> None:
    now = 0.0
    limiter = EventLimiter("ab", burst=burst, period_s=1.0, clock=lambda: now)
    passed: dict[str, list[float]] = {"a": [], "b": [], "x": []}
    reported = dict.fromkeys("abx", 0)
    seen = dict.fromkeys("abx", 0)
    for event, pause in steps:
        now += pause
        seen[event] += 1
        suppressed = limiter.admit(event)
        if suppressed is not None:
            passed[event].append(now)
            reported[event] += suppressed
    now += 1.0
    drained = limiter.drain()
    for event in "abx":
        assert seen[event] == len(passed[event]) + reported[event] + drained.get(event, 0)
    assert len(passed["x"]) == seen["x"]
    assert limiter.drain() == {}
    for event in "ab":
        assert limiter.totals()[event] == seen[event] - len(passed[event])
        # Two windows meet in any stretch of one period, so twice the burst is the most that it can hold.
        times = passed[event]
        assert all(sum(start <= t < start + 1.0 for t in times) <= 2 * burst for start in times)


def test_a_flood_that_goes_on_is_not_drained_before_its_period_is_over() -> None:
    now = 0.0
    limiter = EventLimiter(["a"], burst=1, period_s=1.0, clock=lambda: now)
    limiter.admit("a")
    limiter.admit("a")
    assert limiter.drain() == {}
    now = 1.0
    assert limiter.drain() == {"a": 1}


def test_names_that_are_made_up_do_not_grow_it() -> None:
    limiter = EventLimiter(["a"])
    before = sys.getsizeof(limiter._windows)
    for number in range(10_000):
        assert limiter.admit(f"made.up{number}") == 0
    assert sys.getsizeof(limiter._windows) == before


def test_too_many_names_are_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        EventLimiter(str(number) for number in range(MAX_LIMITED_EVENTS + 1))
