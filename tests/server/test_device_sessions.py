"""How many sessions a device may have, and which one yields: a model, and devices that restart."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dtls import Association
from gateway.dtls.crypto import SUITES
from gateway.model import AuthKind, Device, Principal
from gateway.server.device_sessions import DeviceSessions
from gateway.server.session import Session
from tests.server.support import running


def session(device: str, heard: float) -> Session:
    made = Session(Principal(Device(device, "default"), AuthKind.PSK, "c"))
    made.association = Association(("192.0.2.1", 1), SUITES[0xC0A8], bytes(16), bytes(4), bytes(16), bytes(4))
    made.association.last_heard = heard
    return made


class Heard:
    """Where each device is, by what a listener is told."""

    def __init__(self) -> None:
        self.newest: dict[str, Session | None] = {}

    def on_entered(self, session: Session) -> None:
        self.newest[session.owner[1]] = session

    def on_left(self, session: Session, heir: Session | None) -> None:
        if self.newest[session.owner[1]] is session:
            self.newest[session.owner[1]] = heir


def last_heard(session: Session) -> float:
    assert session.association is not None
    return session.association.last_heard


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.integers(0, 9)), max_size=60), st.integers(0, 3))
def test_sessions_of_a_device_are_like_a_list(steps: list[tuple[bool, str, int]], limit: int) -> None:
    sessions, model = DeviceSessions(limit), defaultdict[str, list[Session]](list)
    sessions.listener = heard = Heard()
    for enters, device, number in steps:
        mine = model[device]
        if enters:
            new = session(device, float(number))
            stalest = sessions.enter(new)
            expected = min(map(last_heard, mine), default=None)
            if not limit or len(mine) < limit:
                assert stalest is None
            else:
                assert stalest is not None
                assert stalest is not new
                assert stalest.association is not None
                assert stalest.association.last_heard == expected
                stalest.association.closed = True
                sessions.leave(stalest)
                mine.remove(stalest)
            mine.append(new)
        elif mine:
            sessions.leave(mine.pop(number % len(mine)))
        sessions.leave(session(device, 0.0))  # a handshake that never completed
        assert len(sessions) == sum(map(bool, model.values()))
        assert sessions.newest("default", device) is (mine[-1] if mine else None)
        assert sessions.newest("elsewhere", device) is None
    for owner, present in heard.newest.items():
        assert present is (model[owner][-1] if model[owner] else None)
    for mine in model.values():
        for each in mine:
            sessions.leave(each)
            assert (each.older, each.newer) == (None, None)
    assert sessions._newest == {}


def test_the_newest_that_is_open() -> None:
    sessions = DeviceSessions(4)
    first, second = session("a", 0.0), session("a", 1.0)
    sessions.enter(first)
    sessions.enter(second)
    assert second.association is not None
    second.association.closed = True  # its end has not come round yet
    assert sessions.newest("default", "a") is first


@pytest.mark.asyncio
async def test_device_that_restarts_keeps_its_newest_sessions(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        wires = [gateway.wire() for _ in range(7)]
        for wire in wires:
            await wire.__aenter__()
        assert len(gateway.events("dtls.handshake_completed")) == 7
        closed = gateway.events("dtls.session_closed")
        assert [line["reason"] for line in closed] == ["too_many"] * 3
        for wire in wires:
            wire.udp.close()
        assert len(gateway.worker._endpoint.associations) + len(gateway.worker._endpoint.associations_by_id) == 4
