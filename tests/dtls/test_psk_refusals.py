"""Whoever claims an identity without its key learns nothing of the identity (RFC 4279 section 2)."""

import pytest

from gateway.dtls import FailureReason, HandshakeError
from tests.dtls.rawclient import ECDHE_PSK_SUITES, PSK_SUITES, RawClient, split
from tests.dtls.support import PSK, World

WRONG = b"not the key of it"

# Whatever a shell can have to say of an identity, its own faults included.
REFUSALS = [
    FailureReason(reason)
    for reason in (
        "unknown_identity",
        "wrong_key",
        "not_provisioned",
        "device_disabled",
        "credential_revoked",
        "other_issuer",
        "registry_full",
        "registry_unavailable",
        "internal_error",
    )
]

Exchange = list[list[list[tuple[int, int, int, int]]]]
"""By step, by datagram, by record: type, version, number, length. Plain contents are compared apart."""


def attempt(
    *, known: bool, refusal: FailureReason | None, key: bytes, suite: int, flight_at_once: bool
) -> tuple[Exchange, list[bytes], World]:
    """A whole attempt as an observer sees it, and the bytes of every answer to the client's flight."""
    world = World()
    client = RawClient(suites=(suite,), identity=b"some device", psk=key)
    if known:
        world.keys[client.identity] = PSK
    if refusal is not None:
        world.refusals[client.identity] = HandshakeError(refusal, "words for the operator")
    exchange: Exchange = []
    answers: list[bytes] = []
    world.reach_server_done(client)
    flight = client.answer_flight()
    for step in [b"".join(flight)] if flight_at_once else flight:
        sent = world.deliver(step)
        answers += sent
        exchange.append(
            [[(kind, version, number, len(body)) for kind, version, number, body in split(d)] for d in sent]
        )
    # And whatever comes later.
    answers += world.advance(300.0)
    return exchange, answers, world


@pytest.mark.parametrize("suite", PSK_SUITES | ECDHE_PSK_SUITES, ids=hex)
@pytest.mark.parametrize("at_once", [True, False])
def test_refusals_look_the_same(suite: int, at_once: bool) -> None:
    wrong_key = attempt(known=True, refusal=None, key=WRONG, suite=suite, flight_at_once=at_once)
    assert wrong_key[1] != []
    assert wrong_key[2].reason == "wrong_key"
    cases: list[tuple[bool, FailureReason | None, bytes]] = [(False, None, WRONG), (False, None, PSK)]
    cases += [(True, reason, key) for reason in REFUSALS for key in (WRONG, PSK)]
    for known, reason, key in cases:
        other = attempt(known=known, refusal=reason, key=key, suite=suite, flight_at_once=at_once)
        assert other[:2] == wrong_key[:2]
        assert other[2].reason == (reason.value if reason else "unknown_identity")
        assert other[2].endpoint.associations == {}


def test_operator_is_told_what_the_peer_is_not() -> None:
    _, _, world = attempt(known=True, refusal=FailureReason.DEVICE_DISABLED, key=PSK, suite=0xC0A8, flight_at_once=True)
    (failure,) = world.failures
    assert (failure.reason, failure.detail) == (FailureReason.DEVICE_DISABLED, "words for the operator")
    assert failure.alert == "decrypt_error"
    assert failure.facts.psk_identity == b"some device"


@pytest.mark.parametrize("suite", [0xC0A8, 0xD003], ids=hex)
def test_refused_identity_costs_the_same_steps(suite: int) -> None:
    # The keys are derived, and the record opened, whether there is a key or not.
    for known in (True, False):
        world, client = World(), RawClient((suite,), psk=WRONG, identity=b"dev1" if known else b"nobody")
        world.reach_server_done(client)
        exchange, ccs, finished = client.answer_flight()
        assert world.deliver(exchange, ccs) == []
        assert world.failures == []
        assert len(world.deliver(finished)) == 1


@pytest.mark.parametrize("suite", [0xC0A8, 0xD003], ids=hex)
def test_who_guesses_the_random_key_is_refused_too(suite: int) -> None:
    # Whatever stands in for the key of an unknown identity opens nothing, even to somebody who knows it.
    for reason in (None, *REFUSALS):
        world, client = World(random=bytes), RawClient((suite,), identity=b"nobody", psk=bytes(16))
        if reason is not None:
            world.refusals[b"nobody"] = HandshakeError(reason)
        world.reach_server_done(client)
        (alert,) = world.deliver(*client.answer_flight())
        assert split(alert)[0][3] == b"\x02\x33"
        assert world.completed == []


def test_empty_key_is_a_key_and_no_key_is_none() -> None:
    # An unknown identity must not be met by the key of no bytes.
    for guess in (b"", bytes(16)):
        world, client = World(), RawClient(identity=b"nobody", psk=guess)
        world.reach_server_done(client)
        world.deliver(*client.answer_flight())
        assert world.reason == "unknown_identity"
