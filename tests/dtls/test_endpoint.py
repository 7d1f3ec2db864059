"""The endpoint as its shell sees it: six verbs, events, the direct path, and how it is misused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519

from gateway.dtls import Address, ApiMisuse, ServerConfig, ServerParameters, SigningKey
from gateway.dtls.crypto import KeyShare
from gateway.dtls.limits import LINGER_S, MAX_PLAINTEXT, MIN_DATAGRAM_PAYLOAD, TIMER_SLACK
from tests.dtls.rawclient import RawClient, raw_record, split
from tests.dtls.support import CLIENT, PSK, World, alerts, certificate_client, sizes


def test_says_nothing_when_nothing_happens() -> None:
    endpoint = World().endpoint
    endpoint.handle_timer(1e9)
    assert (endpoint.next_event(), endpoint.next_timer(), endpoint.datagrams_to_send()) == (None, None, [])


def test_each_datagram_is_given_once() -> None:
    world, client = World(), RawClient()
    world.endpoint.receive_datagram(client.hello(), CLIENT, world.now)
    assert len(world.endpoint.datagrams_to_send()) == 1
    assert world.endpoint.datagrams_to_send() == []


def test_direct_path_is_one_look_up_and_one_call() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    record = client.data(b"hello")
    association = world.endpoint.associations[CLIENT]
    assert association.open_application(record) == b"hello"
    # What the direct path has taken is a replay to the other.
    assert world.deliver(record) == []
    assert world.drops() == {"replay": 1}


def test_data_in_the_datagram_of_finished_is_delivered() -> None:
    for client in (RawClient(), certificate_client()):
        world = World()
        world.reach_server_done(client)
        *before, ccs, finished = client.answer_flight()
        world.deliver(*before)
        client.read(world.deliver(ccs + finished + client.data(b"at once")))
        assert client.server_finished_verified
        assert world.data == [b"at once"]
        assert [type(event).__name__ for event in world.events[1:]] == ["HandshakeCompleted", "ApplicationData"]


def test_records_after_a_broken_one_are_not_looked_at_and_those_before_are() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    one, two = client.data(b"one"), client.data(b"two")
    world.deliver(one + raw_record(23, 1, bytes(20))[:-3] + two)
    assert world.data[:1] == [b"one"]
    assert b"two" not in world.data


@pytest.mark.parametrize("address", [("2001:db8::1", 40000, 0, 0), ("fe80::1", 40000, 0, 2)])
def test_ipv6(address: Address) -> None:
    world, client = World(), RawClient()
    association = world.connect(client, address)
    assert association.address == address
    world.deliver(client.data(b"six"), source=address)
    assert world.data == [b"six"]


def test_many_clients_do_not_disturb_each_other() -> None:
    world = World()
    clients = {("192.0.2.1", port): RawClient(random=bytes((port,)) * 32) for port in range(1, 30)}
    for address, client in clients.items():
        client.read(world.deliver(client.hello(), source=address))
    for address, client in clients.items():
        client.read(world.deliver(client.hello(), source=address))
    for address, client in reversed(clients.items()):
        client.read(world.deliver(*client.answer_flight(), source=address))
    for address, client in clients.items():
        assert client.server_finished_verified
        world.deliver(client.data(b"%d" % address[1]), source=address)
    assert world.data == [b"%d" % address[1] for address in clients]


def test_timers_may_be_handled_early_or_late() -> None:
    world, client = World(), RawClient()
    world.reach_server_done(client)
    for moment in (0.0, 0.5, 0.999):
        world.endpoint.handle_timer(world.now + moment)
        assert world.collect() == []
    world.now += 50.0
    world.endpoint.handle_timer(world.now)
    assert len(world.collect()) == 1
    client.read(world.deliver(*client.answer_flight()))
    assert client.server_finished_verified


def test_answers_may_come_late() -> None:
    world, client = World(), certificate_client()
    world.answering = False
    world.reach_server_done(client)
    assert world.deliver(*client.answer_flight()) == []
    world.advance(60.0)
    world.endpoint.certificate_verdict(1, None, world.now, context="principal")
    client.read(world.collect())
    assert client.server_finished_verified
    assert world.completed[0].association.context == "principal"


def test_questions_do_not_wait_for_each_other() -> None:
    world = World()
    world.answering = False
    one, two = RawClient(), RawClient(random=b"2" * 32)
    addresses: list[Address] = [("192.0.2.1", 1), ("192.0.2.1", 2)]
    for client, address in zip((one, two), addresses, strict=True):
        world.reach_server_done(client, address)
        world.deliver(*client.answer_flight(), source=address)
    world.endpoint.provide_psk(2, PSK, world.now)
    two.read(world.collect(addresses[1]))
    assert two.server_finished_verified
    world.endpoint.provide_psk(1, PSK, world.now)
    one.read(world.collect(addresses[0]))
    assert one.server_finished_verified


def test_closing_sends_close_notify() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    world.endpoint.close(association, world.now)
    assert alerts(client.read(world.collect())) == [(1, 0)]
    assert [event.reason for event in world.closed] == ["local"]
    # Its last flight goes with it.
    assert sizes(world.endpoint)["_lingering"] == 0
    world.advance(LINGER_S + 1)
    assert world.endpoint.next_timer() is None


def test_devices_that_come_and_go_leave_nothing_behind() -> None:
    world = World()
    for n in range(300):
        client = RawClient(random=n.to_bytes(32))
        world.endpoint.close(world.connect(client), world.now)
        world.collect()
    held = sizes(world.endpoint)
    assert (held["_lingering"], held["associations"], held["_handshakes"]) == (0, 0, 0)
    assert held["_timers"] <= TIMER_SLACK


def test_late_copy_of_a_hello_does_not_reopen_a_session_that_was_closed() -> None:
    world, client = World(), RawClient()
    client.read(world.deliver(client.hello()))
    hello = client.hello()
    client.read(world.deliver(hello))
    world.deliver(*client.answer_flight())
    world.endpoint.close(world.completed[-1].association, world.now)
    world.collect()
    world.deliver(hello)
    assert world.endpoint.handshakes_in_progress == 0
    assert world.drops()["stale_hello"] == 1


def test_data_that_no_record_holds_is_refused_before_anything_is_sent() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    with pytest.raises(ApiMisuse):
        world.endpoint.send(association, bytes(MAX_PLAINTEXT + 1), world.now)
    assert world.collect() == []
    world.endpoint.send(association, bytes(MAX_PLAINTEXT), world.now)
    assert [len(record.content) for record in client.read(world.collect())] == [MAX_PLAINTEXT]


def test_client_that_was_closed_connects_again() -> None:
    world, client = World(), RawClient()
    world.endpoint.close(world.connect(client), world.now)
    world.collect()
    world.connect(RawClient(random=b"again".ljust(32, b".")))
    assert len(world.completed) == 2


def test_quiet_associations_rest_and_wake_up() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    world.advance(200.0)
    assert (association._reader, association._writer) == (None, None)
    world.deliver(client.data(b"awake"))
    world.endpoint.send(association, b"you too", world.now)
    assert world.data == [b"awake"]
    assert [record.content for record in client.read(world.collect())] == [b"you too"]


def test_drops_are_counted_by_reason_and_alerts_by_name() -> None:
    world, client = World(), RawClient(psk=b"wrong")
    world.reach_server_done(client)
    world.deliver(*client.answer_flight())
    counters = world.endpoint.counters
    assert counters.alerts == {("sent", "fatal", "decrypt_error"): 1}
    assert (counters.hello_verify_sent, counters.hello_verify_valid, counters.hello_verify_invalid) == (1, 1, 0)
    assert world.drops() == {}


def test_sent_records_are_for_the_address_of_the_association() -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    world.endpoint.send(association, b"x", world.now)
    ((datagram, address),) = world.endpoint.datagrams_to_send()
    assert address == CLIENT
    assert split(datagram)[0][0] == 23


# --- misuse ----------------------------------------------------------------------------------------------------------


def test_datagram_limit_has_a_floor() -> None:
    with pytest.raises(ApiMisuse):
        ServerConfig(ServerParameters(), cookie_secret=bytes(16), datagram_limit=MIN_DATAGRAM_PAYLOAD - 1)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 1024),
        ed25519.Ed25519PrivateKey.generate().public_key(),
        b"bytes",
        None,
    ],
    ids=lambda key: type(key).__name__,
)
def test_other_keys_do_not_sign(key: object) -> None:
    with pytest.raises(ApiMisuse, match="P-256 or P-384, an Ed25519 key, or an RSA key of 2048 to 4096 bits"):
        SigningKey(key)


def test_ephemeral_key_is_used_once() -> None:
    share = KeyShare.generate(29)
    share.agree(KeyShare.generate(29).public)
    with pytest.raises(ApiMisuse):
        share.agree(KeyShare.generate(29).public)


def test_unknown_group() -> None:
    with pytest.raises(ApiMisuse):
        KeyShare.generate(25)


@pytest.mark.parametrize("group", [23, 24, 29])
def test_agreement_is_mutual(group: int) -> None:
    one, two = KeyShare.generate(group), KeyShare.generate(group)
    assert one.agree(two.public) == two.agree(one.public)


def test_signing_key_shows_nothing() -> None:
    shown = repr(World().config.parameters.credential)
    assert shown.startswith("Credential(chain=(")
    assert shown.endswith(",), names=())")
