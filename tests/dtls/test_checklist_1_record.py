"""Checklist section 1: the record layer, the handshake's transport and its timers (RFC 6347)."""

from tests.dtls.rawclient import RawClient
from tests.dtls.support import World


def test_1_21_new_handshake_on_the_same_address_completes_and_replaces_the_old_association() -> None:
    # RFC 6347 4.2.8: the device has rebooted and comes from its fixed port.
    world, before, after = World(), RawClient(), RawClient(random=b"after the reboot".ljust(32, b"."))
    old = world.connect(before)
    new = world.connect(after)
    assert world.endpoint.associations == {old.address: new}
    assert [event.reason for event in world.closed] == ["superseded"]
    world.deliver(after.data(b"hello again"))
    assert world.data == [b"hello again"]
