"""Our client takes a session up again: against a server made by hand, and over a bad network."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.dtls import (
    ClientConfig,
    ClientParameters,
    ClientSession,
    HandshakeCompleted,
    ResumptionConfig,
    ServerConfig,
    ServerParameters,
    TicketKeys,
)
from gateway.dtls.limits import LINGER_S
from tests.dtls.rawserver import ClientWorld, RawServer, pair, psk_parameters, saved_session
from tests.dtls.simnet import Link, Simulation
from tests.dtls.support import PSK

EMS, TICKET, RENEGOTIATION = {23: b""}, {35: b""}, {0xFF01: b"\x00"}


def resuming(**changes: Any) -> tuple[ClientWorld, RawServer]:
    """A client with a session, and a server that agrees in its ServerHello."""
    session = saved_session(**changes)
    world = ClientWorld(psk_parameters(session=session, server_name=session.server_name))
    server = RawServer(chosen=session.suite, resuming=session.master, extensions=EMS | RENEGOTIATION)
    server.read(world.opening)
    return world, server


def hello(server: RawServer, **changes: Any) -> bytes:
    """ServerHello with the client's session id, which says yes."""
    assert server.heard is not None
    record = server.answer_hello(**({"session_id": server.heard.session_id} | changes))
    server.resume()
    return record


# --- the offer ------------------------------------------------------------------------------------------------------


def test_ticket_goes_with_a_session_id_of_its_own() -> None:
    # RFC 5077 3.4: with it, the client knows at the ServerHello whether its ticket was taken.
    _, server = resuming()
    assert server.heard is not None
    assert (server.heard.extensions or {})[35] == b"the ticket of before"
    assert len(server.heard.session_id) == 16


def test_session_id_goes_alone() -> None:
    _, server = resuming(ticket=b"", session_id=b"from the server")
    assert server.heard is not None
    assert server.heard.session_id == b"from the server"
    assert 35 not in (server.heard.extensions or {})


@pytest.mark.parametrize(
    "changes",
    [
        {"server_name": "other.example"},
        {"suites": (0xC0A4,)},
        {"extended_master_secret": False},
    ],
)
def test_session_that_does_not_go_with_the_rest_is_not_offered(changes: dict[str, Any]) -> None:
    parameters = replace(psk_parameters(session=saved_session()), **changes)
    server = RawServer()
    server.read(ClientWorld(parameters).opening)
    assert server.heard is not None
    assert server.heard.session_id == b""
    assert 35 not in (server.heard.extensions or {})


# --- the abbreviated handshake --------------------------------------------------------------------------------------


def test_session_is_resumed() -> None:
    world, server = resuming()
    answers = world.deliver(hello(server), server.change_cipher_spec(), server.finished())
    server.read(answers)
    assert server.client_finished_verified
    assert world.completed.facts.resumed
    assert world.connection.session == saved_session()  # no new ticket: the old one goes on


def test_new_ticket_takes_the_place_of_the_old_one() -> None:
    world, server = resuming()
    server.extensions = EMS | TICKET | RENEGOTIATION
    flight = [hello(server), server.new_ticket(b"new", 60), server.change_cipher_spec(), server.finished()]
    server.read(world.deliver(*flight))
    assert server.client_finished_verified
    assert world.connection.session == saved_session(ticket=b"new", lifetime_hint=60)


def test_server_that_refuses_gets_a_full_handshake() -> None:
    world, server = resuming()
    world.connect(server)
    assert not world.completed.facts.resumed
    assert world.connection.session is None


@pytest.mark.parametrize(
    ("ticket", "session_id", "kept"),
    [
        (b"a ticket", b"", (b"a ticket", b"")),
        (b"a ticket", b"an id", (b"a ticket", b"")),
        (b"", b"", None),
    ],
)
def test_full_handshake_gives_a_session(ticket: bytes, session_id: bytes, kept: tuple[bytes, bytes] | None) -> None:
    world = ClientWorld(psk_parameters(tickets=True))
    server = RawServer(extensions=EMS | TICKET | RENEGOTIATION)
    server.read(world.opening)
    server.read(world.deliver(server.answer_hello(session_id=session_id), server.done()))
    world.deliver(server.new_ticket(ticket), server.change_cipher_spec(), server.finished())
    session = world.connection.session
    assert (None if session is None else (session.ticket, session.session_id)) == kept
    if session is not None:
        assert session.master == server.master


def test_full_handshake_gives_a_session_id() -> None:
    world, server = pair("psk")
    server.read(world.deliver(server.answer_hello(session_id=b"an id"), server.done()))
    world.deliver(server.change_cipher_spec(), server.finished())
    assert world.connection.session is not None
    assert world.connection.session.session_id == b"an id"


def test_secret_has_no_repr() -> None:
    text = repr(saved_session(master=b"m" * 48, ticket=b"t" * 20))
    assert "mmm" not in text
    assert "ttt" not in text


# --- a server that breaks the rules ---------------------------------------------------------------------------------


def test_extended_master_secret_that_the_session_does_not_have() -> None:
    # RFC 7627 5.3: "If the original session did not use the extension but the new ServerHello contains it, the client
    # MUST abort the handshake."
    world, server = resuming(extended_master_secret=False)
    assert world.refuses(server, hello(server)) == ("resumption_mismatch", [(2, 40)])


def test_extended_master_secret_that_the_session_has_and_the_server_not() -> None:
    world, server = resuming()
    server.extensions = dict(RENEGOTIATION)
    assert world.refuses(server, hello(server)) == ("resumption_mismatch", [(2, 40)])


def test_other_suite() -> None:
    session = saved_session()
    world = ClientWorld(psk_parameters(suites=(0xC0A8, 0xC0A4), session=session))
    server = RawServer(chosen=0xC0A4, resuming=session.master, extensions=EMS | RENEGOTIATION)
    server.read(world.opening)
    assert world.refuses(server, hello(server)) == ("illegal_parameter", [(2, 47)])


def test_ticket_in_the_server_hello() -> None:
    world, server = resuming()
    server.extensions = EMS | {35: b"x"} | RENEGOTIATION
    assert world.refuses(server, hello(server)) == ("decode_error", [(2, 50)])


def test_ticket_that_was_not_asked_for() -> None:
    world, server = pair("psk")
    server.extensions = EMS | TICKET | RENEGOTIATION
    assert world.refuses(server, server.answer_hello()) == ("unsupported_extension", [(2, 110)])


def test_ticket_that_was_not_promised() -> None:
    world, server = resuming()
    assert world.refuses(server, hello(server), server.new_ticket()) == ("unexpected_message", [(2, 10)])


@pytest.mark.parametrize("body", [b"", bytes(5), bytes(4) + b"\x00\x02x", bytes(6) + b"x"])
def test_ticket_that_is_cut_or_too_long(body: bytes) -> None:
    world, server = resuming()
    server.extensions = EMS | TICKET | RENEGOTIATION
    assert world.refuses(server, hello(server), server.message(4, body)) == ("decode_error", [(2, 50)])


def test_wrong_finished_keeps_nothing() -> None:
    world, server = resuming()
    flight = [hello(server), server.change_cipher_spec(), server.finished(verify_data=bytes(12))]
    assert world.refuses(server, *flight)[0] == "finished_mismatch"
    assert world.connection.session is None


def test_server_without_the_secret() -> None:
    world, server = resuming()
    server.resuming = b"?" * 48
    flight = [hello(server), server.change_cipher_spec(), server.finished()]
    # It reads nothing of what we say after that either: the alert is plain, before our ChangeCipherSpec.
    assert world.refuses(server, *flight)[0] == "finished_mismatch"


def test_fatal_alert_makes_the_session_void() -> None:
    # RFC 5246 7.2.2
    world, server = resuming()
    server.read(world.deliver(hello(server), server.change_cipher_spec(), server.finished()))
    world.deliver(server.alert(2, 80, epoch=1))
    assert world.closed == ["alert"]
    assert world.connection.session is None


# --- our flight is the last -----------------------------------------------------------------------------------------


def test_1_16_repeated_finished_of_the_server_gets_our_flight_again() -> None:
    world, server = resuming()
    flight = world.deliver(hello(server), server.change_cipher_spec(), server.finished())
    world.advance(1.0)
    again = world.deliver(server.record(22, server.transcript[-1], 1))
    assert [len(datagram) for datagram in again] == [len(datagram) for datagram in flight]
    assert again != flight  # under new record numbers
    server.read(again)
    assert server.client_finished_verified


def test_1_16_our_flight_is_forgotten_after_a_while() -> None:
    world, server = resuming()
    world.deliver(hello(server), server.change_cipher_spec(), server.finished())
    world.advance(LINGER_S)
    assert world.deliver(server.record(22, server.transcript[-1], 1)) == []
    assert world.drops() == {"repeated": 1}


def test_1_16_after_a_full_handshake_the_last_flight_was_the_server_s() -> None:
    world, server = pair("psk")
    world.connect(server)
    world.advance(1.0)
    assert world.deliver(server.record(22, server.transcript[-1], 1)) == []


# --- over a bad network ---------------------------------------------------------------------------------------------

NETWORK = Link(loss=0.2, duplication=0.1, delay_s=(0.01, 0.4), mtu=512)
KEYS = TicketKeys([b"s" * 32], 86_400.0)
SERVER = ServerConfig(
    ServerParameters(),
    cookie_secret=b"cookie secret of the tests",
    datagram_limit=512,
    # As long as our client tries: the doubling leaves seven attempts in 120 s, and each needs two datagrams.
    handshake_timeout_s=240.0,
    resumption=ResumptionConfig(lambda: 1.8e9, KEYS),
)


def given_session() -> ClientSession:
    """By a handshake over a network that loses nothing."""
    simulation = Simulation(SERVER, client(None), keys={b"dev1": PSK}, credential=b"c")
    assert simulation.run(lambda each: each.client.association is not None)
    assert simulation.client.session is not None
    return simulation.client.session


def client(session: ClientSession | None) -> ClientConfig:
    parameters = ClientParameters((0xC0A8,), psk_identity=b"dev1", psk=PSK, tickets=True, session=session)
    return ClientConfig(parameters, datagram_limit=512)


def done(simulation: Simulation) -> bool:
    completed = [event for event in simulation.server_events if isinstance(event, HandshakeCompleted)]
    return bool(completed) and simulation.client.association is not None


@pytest.mark.parametrize("first_seed", range(0, 300, 100))
def test_100_resumptions_over_a_rough_network(first_seed: int) -> None:
    config = client(given_session())
    for seed in range(first_seed, first_seed + 100):
        simulation = Simulation(SERVER, config, seed=seed, link=NETWORK, keys={b"dev1": PSK}, credential=b"c")
        assert simulation.run(done), (seed, simulation.client_events, simulation.server_events)
        assert all(
            event.facts.resumed for event in simulation.server_events if isinstance(event, HandshakeCompleted)
        ), seed


def test_good_network_needs_no_repetition() -> None:
    simulation = Simulation(SERVER, client(given_session()), keys={b"dev1": PSK}, credential=b"c")
    assert simulation.run(done)
    (completed,) = [event for event in simulation.server_events if isinstance(event, HandshakeCompleted)]
    assert completed.facts.retransmissions == 0
    # Two hellos and Finished, cookie and flight.
    assert [direction for direction, _ in simulation.sent] == ["up", "down", "up", "down", "up"]
