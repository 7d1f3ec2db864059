"""Where devices are: a model, whatever order the workers' messages come in."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server import directory as directory_module
from gateway.server.directory import Directory, DirectoryFull, Place, name_of

STEP = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 3), st.integers(0, 2), st.integers(0, 99))


@given(st.lists(STEP, max_size=60))
def test_the_newest_by_time_counts(steps: list[tuple[str, str, int, int, int]]) -> None:
    directory = Directory()
    model: dict[tuple[str, str], dict[int, tuple[int, float]]] = defaultdict(dict)
    for number, (tenant, device, worker, sessions, at) in enumerate(steps):
        mine = model[tenant, device]
        before = directory.of(tenant, device)
        moment = at + number / 1000  # no two at once
        assert directory.put(tenant, device, Place(worker, sessions, moment)) == before
        if sessions:
            mine[worker] = (sessions, moment)
        else:
            mine.pop(worker, None)
        expected = [Place(each, *mine[each]) for each in sorted(mine, key=lambda each: mine[each][1])]
        assert list(directory.of(tenant, device)) == expected
        assert directory.newest(tenant, device) == (expected[-1].worker if expected else None)
        present = {key for key, places in model.items() if places}
        assert set(directory) == present
        assert len(directory) == len(present)
        for each in range(4):
            assert set(directory.held_by(each)) == {key for key in present if each in model[key]}
    for (tenant, device), places in model.items():
        for worker in places:
            directory.put(tenant, device, Place(worker, 0, 0.0))
    assert directory._places == {}


def test_a_name_is_the_same_everywhere_and_of_one_device() -> None:
    assert name_of("default", "dev1") == 0xA09B3FD9E85B4AC0
    assert len({name_of(tenant, device) for tenant in ("a", "ab", "") for device in ("b", "", "bb")}) == 9


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "MAX_PLACES", 2)
    directory = Directory()
    for device in "ab":
        directory.put("t", device, Place(0, 1, 0.0))
    with pytest.raises(DirectoryFull):
        directory.put("t", "c", Place(0, 1, 0.0))
    with pytest.raises(DirectoryFull):
        directory.put("u", "c", Place(0, 1, 0.0))
    assert len(directory) == 2
    assert set(directory) == {("t", "a"), ("t", "b")}
    assert set(directory._places) == {"t"}
    directory.put("t", "a", Place(1, 1, 1.0))
    directory.put("t", "a", Place(1, 0, 1.0))
    directory.put("t", "a", Place(0, 0, 1.0))
    directory.put("u", "c", Place(0, 1, 0.0))
