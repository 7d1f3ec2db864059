"""A configuration that is changed while the endpoint lives: what goes on as it was, and what is new."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.dtls import ApiMisuse, Credential, ResumptionConfig, ServerConfig, SigningKey, TicketKeys
from tests.dtls.rawclient import RawClient
from tests.dtls.resuming import DAY, SECRET, ResumingWorld, newcomer, returning
from tests.dtls.support import World, certificate_client, self_signed

ELSEWHERE = ("192.0.2.2", 40001)


def successor(world: World) -> tuple[ServerConfig, tuple[bytes, ...]]:
    """The world's configuration with another certificate, and that certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = (self_signed(key, "localhost"),)
    parameters = replace(world.config.parameters, credential=Credential(chain, SigningKey(key)))
    return replace(world.config, parameters=parameters), chain


def test_a_handshake_ends_with_the_certificate_that_it_began_with() -> None:
    world = World()
    early, late = certificate_client(), certificate_client()
    old = world.config.parameters.credential
    assert old is not None
    world.reach_server_done(early)
    config, chain = successor(world)
    world.endpoint.reconfigure(config)
    early.read(world.deliver(*early.answer_flight()))
    assert early.server_finished_verified
    assert early.server_chain == old.chain
    world.connect(late, ELSEWHERE)
    assert late.server_chain == chain


def test_a_hello_whose_cookie_is_older_than_the_change_gets_the_new_certificate() -> None:
    world, client = World(), certificate_client()
    client.read(world.deliver(client.hello()))
    assert client.cookie
    config, chain = successor(world)
    world.endpoint.reconfigure(config)
    world.connect(client)
    assert client.server_chain == chain


def test_sessions_go_on() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    world.endpoint.reconfigure(successor(world)[0])
    assert world.deliver(client.data(b"still here")) == []
    assert world.data == [b"still here"]
    assert world.closed == []


@pytest.mark.parametrize("tickets", [True, False], ids=["ticket", "session id"])
def test_a_session_from_before_is_resumed(tickets: bool) -> None:
    world, client = ResumingWorld(tickets=tickets), newcomer(tickets=tickets)
    world.connect(client)
    config, _ = successor(world)
    # As after a reload of the ticket keys' file: other objects of the same secrets.
    again = ResumptionConfig(world.clock, TicketKeys([SECRET], DAY) if tickets else None, lifetime_s=DAY)
    world.endpoint.reconfigure(replace(config, resumption=again))
    world.resume(returning(client))


def test_a_ticket_under_a_secret_that_is_gone_gives_a_full_handshake() -> None:
    world, client = ResumingWorld(), newcomer()
    world.connect(client)
    other = TicketKeys([b"another secret of the ticket keys"], DAY)
    world.endpoint.reconfigure(replace(world.config, resumption=ResumptionConfig(world.clock, other, lifetime_s=DAY)))
    world.connect(returning(client))
    assert world.outcomes() == {"unknown": 1}
    assert not world.completed[-1].facts.resumed


def test_time_limits_are_new_at_once() -> None:
    world, quiet = World(), RawClient()
    world.connect(quiet)
    world.endpoint.reconfigure(replace(world.config, idle_timeout_s=100.0, handshake_timeout_s=5.0))
    started = RawClient()
    world.reach_server_done(started, ELSEWHERE)
    world.advance(6.0, ELSEWHERE)
    assert world.reason == "timeout"
    world.advance(300.0)
    assert [closed.reason for closed in world.closed] == ["idle"]


def test_forgeries_are_judged_by_the_new_bound() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    world.endpoint.reconfigure(replace(world.config, max_auth_failures=2))
    for _ in range(2):
        forged = bytearray(client.data(b"x"))
        forged[-1] ^= 1
        world.deliver(bytes(forged))
    assert [closed.reason for closed in world.closed] == ["authentication_failures"]


@pytest.mark.parametrize(
    "change",
    [
        {"cookie_secret": b"another secret for cookies"},
        {"connection_ids": False},
        {"connection_id_prefix": b"\1\1"},
        {"enhanced_path_check": False},
        {"max_waiting": 1},
        {"resumption": ResumptionConfig(lambda: 0.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_peers_hold_on_to_cannot_change(change: dict[str, object]) -> None:
    world = World()
    with pytest.raises(ApiMisuse, match=next(iter(change))):
        world.endpoint.reconfigure(replace(world.config, idle_timeout_s=1.0, **change))  # type: ignore[arg-type]
    assert world.endpoint.config is world.config
