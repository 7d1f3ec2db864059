"""The client with connection ids, against a server whose every byte the test makes (RFC 9146, RFC 9853)."""

from typing import Any

import pytest

from gateway.dtls import Association
from tests.dtls.rawclient import DATA, PATH_CHECK, TLS12_CID
from tests.dtls.rawserver import ClientWorld, RawServer, pair, psk_parameters

ILLEGAL_PARAMETER, DECODE_ERROR, UNSUPPORTED_EXTENSION = [(2, 47)], [(2, 50)], [(2, 110)]
CHALLENGE, RESPONSE, DROP = 0, 1, 2

ANSWERS = {23: b"", 0xFF01: b"\x00"}


def connect(own: int, server_id: bytes, *, path_check: bool = False) -> tuple[ClientWorld, RawServer, Association]:
    """A client that wants an id of `own` bytes and sends `server_id`."""
    world = ClientWorld(psk_parameters(connection_id=own, path_check=path_check))
    extensions = ANSWERS | {54: bytes((len(server_id),)) + server_id} | ({61: b""} if path_check else {})
    server = RawServer(chosen=0xC0A8, cid=server_id, extensions=extensions)
    server.read(world.opening)
    assert server.heard is not None
    offered = server.heard.extensions or {}
    assert offered[54][0] == len(offered[54]) - 1 == own
    assert (61 in offered) is path_check
    server.read(world.deliver(*server.first_flight()))
    server.server_cid = offered[54][1:]  # in what this server sends
    assert server.client_finished_verified
    assert world.deliver(server.change_cipher_spec(), server.finished()) == []
    return world, server, world.completed.association


@pytest.mark.parametrize("own", [0, 1, 8, 32])
@pytest.mark.parametrize("server_id", [b"", b"s", b"8 bytes!", bytes(255)])
def test_ids_of_any_length_both_ways(own: int, server_id: bytes) -> None:
    world, server, association = connect(own, server_id)
    assert (len(association.cid), association.peer_cid) == (own, server_id)
    assert world.completed.facts.connection_id is bool(own or server_id)
    world.connection.send(b"up", world.now)
    (up,) = world.collect()
    assert up[0] == (TLS12_CID if server_id else DATA)
    assert up[11 : 11 + len(server_id)] == server_id
    (record,) = server.read([up])
    assert (record.content_type, record.content) == (DATA, b"up")
    down = server.data(b"down")
    assert down[0] == (TLS12_CID if own else DATA)
    world.deliver(down)
    assert world.data == [b"down"]


def test_nothing_is_offered_unless_wanted() -> None:
    _, server = pair("psk")
    assert server.heard is not None
    assert not {54, 61} & (server.heard.extensions or {}).keys()


def test_a_server_that_does_not_know_the_extension() -> None:
    world = ClientWorld(psk_parameters(connection_id=8, path_check=True))
    association = world.connect(RawServer(chosen=0xC0A8))
    assert association.cid == association.peer_cid == b""
    assert world.completed.facts.connection_id is False


REFUSED: dict[str, tuple[dict[str, Any], dict[int, bytes], str, list[tuple[int, int]]]] = {
    "never offered": ({}, {54: b"\x00"}, "unsupported_extension", UNSUPPORTED_EXTENSION),
    "check never offered": ({"connection_id": 0}, {54: b"\0", 61: b""}, "unsupported_extension", UNSUPPORTED_EXTENSION),
    "empty": ({"connection_id": 0}, {54: b""}, "decode_error", DECODE_ERROR),
    "cut off": ({"connection_id": 0}, {54: b"\x02a"}, "decode_error", DECODE_ERROR),
    "too long": ({"connection_id": 0}, {54: b"\x01ab"}, "decode_error", DECODE_ERROR),
    "check without an id": (
        {"connection_id": 0, "path_check": True},
        {61: b""},
        "illegal_parameter",
        ILLEGAL_PARAMETER,
    ),
    "check with a body": (
        {"connection_id": 0, "path_check": True},
        {54: b"\x00", 61: b"\x00"},
        "decode_error",
        DECODE_ERROR,
    ),
}


@pytest.mark.parametrize("which", REFUSED)
def test_answers_that_a_server_must_not_give(which: str) -> None:
    offer, answer, reason, alert = REFUSED[which]
    world = ClientWorld(psk_parameters(**offer))
    server = RawServer(chosen=0xC0A8, extensions=ANSWERS | answer)
    server.read(world.opening)
    assert world.refuses(server, server.answer_hello()) == (reason, alert)


def test_records_without_the_clients_id_are_discarded() -> None:
    world, server, _ = connect(4, b"server")
    assert world.deliver(server.bare_record(DATA, b"stripped")) == []
    assert world.deliver(server.inner_record(b"other\x17", cid=b"\0\0\0\0")) == []
    world.deliver(server.data(b"good"))
    assert world.data == [b"good"]
    drops = {reason.value: count for reason, count in world.connection.drops.items() if count}
    assert drops == {"missing_cid": 1, "unknown_cid": 1}


def test_a_challenge_is_answered_on_the_path_that_it_came_by() -> None:
    world, server, _ = connect(0, b"server", path_check=True)
    (answer,) = server.read(world.deliver(server.record(PATH_CHECK, b"\x008 bytes!", 1)))
    assert (answer.content_type, answer.content) == (PATH_CHECK, bytes((RESPONSE,)) + b"8 bytes!")


def test_a_challenge_to_an_address_that_is_left_gets_a_drop_from_there_and_nothing_else_goes_there() -> None:
    world, server, _ = connect(0, b"server", path_check=True)
    world.connection.send(b"on the new path", world.now)
    challenge = server.record(PATH_CHECK, b"\x008 bytes!", 1)
    sent = world.connection.receive_on_old_path(challenge + server.data(b"late"), world.now)
    (answer,) = server.read(sent)
    assert (answer.content_type, answer.content) == (PATH_CHECK, bytes((DROP,)) + b"8 bytes!")
    (data,) = server.read(world.collect())
    assert data.content == b"on the new path"
    assert world.data == [b"late"]
    assert world.connection.receive_on_old_path(challenge, world.now) == []  # a replay


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x00" + bytes(9), b"\x01" + bytes(8), b"\x02" + bytes(8)])
def test_what_is_no_challenge_is_not_answered(content: bytes) -> None:
    world, server, _ = connect(0, b"server", path_check=True)
    assert world.deliver(server.record(PATH_CHECK, content, 1)) == []
    assert sum(world.connection.drops.values()) == 1


def test_a_kind_of_message_that_nobody_knows_is_ignored() -> None:
    world, server, _ = connect(0, b"server", path_check=True)
    assert world.deliver(server.record(PATH_CHECK, b"\x07whatever", 1)) == []
    assert sum(world.connection.drops.values()) == 0


def test_a_challenge_is_not_answered_where_the_check_was_not_agreed_on() -> None:
    world, server, _ = connect(0, b"server")
    assert world.deliver(server.record(PATH_CHECK, bytes(9), 1)) == []
    assert sum(world.connection.drops.values()) == 1
