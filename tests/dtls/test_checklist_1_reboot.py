"""Checklist 1.21 and 1.22: a device that rebooted comes back from its address and port; nobody else ends its session.

RFC 6347 section 4.2.8: the server "MUST NOT destroy the existing association until the client has demonstrated
reachability either by completing a cookie exchange or by completing a complete handshake"; ours waits for Finished.
"""

import pytest

from gateway.dtls import Association
from tests.dtls import stages
from tests.dtls.kinds import FULL
from tests.dtls.rawclient import RawClient
from tests.dtls.support import CLIENT, World, alerts, certificate_client


def connected() -> tuple[World, RawClient, Association]:
    world, device = World(), RawClient(random=b"before".ljust(32, b"."))
    association = world.connect(device)
    world.events.clear()
    return world, device, association


def serves(world: World, device: RawClient, association: Association) -> None:
    """Both ways, and nothing has ended."""
    assert world.endpoint.associations == {CLIENT: association}
    assert world.closed == []
    before = len(world.data)
    world.deliver(device.data(b"up"))
    assert world.data[before:] == [b"up"]
    world.endpoint.send(association, b"down", world.now)
    assert b"down" in [record.content for record in device.read(world.collect())]


def test_1_21_spoofed_hello_without_a_cookie_ends_nothing() -> None:
    world, device, association = connected()
    for number in range(100):
        (answer,) = world.deliver(RawClient(random=bytes((number,)) * 32).hello())
        assert answer[13] == 3  # HelloVerifyRequest, which goes to the device and not to the attacker
    assert world.endpoint.handshakes_in_progress == 0
    serves(world, device, association)


def test_1_21_spoofed_hello_with_a_forged_cookie_ends_nothing() -> None:
    world, device, association = connected()
    for number in range(100):
        world.deliver(RawClient(random=bytes((number,)) * 32, cookie=bytes((number,)) * 16).hello())
    assert world.endpoint.handshakes_in_progress == 0
    serves(world, device, association)


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_1_21_spoofed_hello_with_a_good_cookie_ends_nothing(kind: str) -> None:
    """Of an attacker that reads along, or the device's own cookie in a replay."""
    world, device, association = connected()
    attacker = RawClient(random=b"a" * 32) if kind == "psk" else certificate_client()
    world.reach_server_done(attacker)
    assert world.endpoint.handshakes_in_progress == 1
    serves(world, device, association)
    world.advance(130.0)
    assert world.reason == "timeout"
    assert world.endpoint.handshakes_in_progress == 0
    serves(world, device, association)


def test_1_21_many_spoofed_hellos_with_good_cookies_end_nothing() -> None:
    world, device, association = connected()
    for number in range(50):
        world.reach_server_done(RawClient(random=bytes((number,)) * 32))
        assert world.endpoint.handshakes_in_progress == 1
        serves(world, device, association)
    assert [failure.reason.value for failure in world.failures] == ["superseded"] * 49


@pytest.mark.parametrize(("kind", "state"), [each for each in stages.UNFINISHED if each[0] in FULL])
def test_1_21_handshake_that_is_broken_off_anywhere_ends_nothing(kind: str, state: str) -> None:
    world, device, association = connected()
    stage = stages.reach(kind, state, world)
    epoch = stage.epoch
    world.deliver(stage.client.alert(2, 40, epoch))
    world.answering = True
    assert [failure.reason.value for failure in world.failures] == ["peer_alert"]
    serves(world, device, association)


def test_1_21_attacker_with_a_key_of_its_own_cannot_pass_for_the_device() -> None:
    """Whoever completes a handshake from the address takes it over, as itself; it gets nothing of the device's."""
    world, _, association = connected()
    world.keys[b"mallory"] = b"m" * 16
    mallory = RawClient(identity=b"mallory", psk=b"m" * 16, random=b"m" * 32)
    taken = world.connect(mallory)
    assert taken is not association
    assert taken.context == b"mallory"
    assert [event.reason for event in world.closed] == ["superseded"]


def test_1_21_wrong_key_of_the_rebooted_device_ends_nothing() -> None:
    world, device, association = connected()
    attacker = RawClient(random=b"a" * 32, psk=b"not the key of it")
    world.reach_server_done(attacker)
    assert alerts(attacker.read(world.deliver(*attacker.answer_flight()))) == [(2, 51)]
    serves(world, device, association)


def test_1_22_late_records_of_the_old_epoch_do_not_mix() -> None:
    """Both associations number their records of epoch 1 from 0: the keys tell them apart, and nothing else."""
    world, device, association = connected()
    device.next_number[1] = 5
    late = [device.data(b"late %d" % number) for number in range(20)]
    again = RawClient(random=b"after".ljust(32, b"."))
    new = world.connect(again)
    world.events.clear()
    for record in late:
        assert new.open_application(record) is None
        assert world.deliver(record) == []
    assert world.data == []
    assert world.drops() == {"bad_mac": 20}
    # They moved no window: the new association's records of the same numbers are all taken.
    for number in range(20):
        world.deliver(again.data(b"new %d" % number))
    assert world.data == [b"new %d" % number for number in range(20)]
    assert association.closed


def test_1_22_records_of_the_old_association_during_the_handshake_are_its_own() -> None:
    world, device, association = connected()
    again = RawClient(random=b"after".ljust(32, b"."))
    world.reach_server_done(again)
    *flight, finished = again.answer_flight()
    world.deliver(*flight)
    old = device.data(b"old")
    world.deliver(old, old)
    assert world.data == [b"old"]
    # Its Finished is no forgery to the old association.
    again.read(world.deliver(finished))
    assert again.server_finished_verified
    assert association.authentication_failures == 0
    world.deliver(again.data(b"new"))
    assert world.data == [b"old", b"new"]


def test_1_22_close_notify_of_the_old_association_does_not_end_the_new_one() -> None:
    world, device, _ = connected()
    goodbye = device.alert(1, 0, epoch=1)
    again = RawClient(random=b"after".ljust(32, b"."))
    new = world.connect(again)
    world.events.clear()
    assert world.deliver(goodbye) == []
    serves(world, again, new)
