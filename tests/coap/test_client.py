"""The client's end, against server datagrams that are written out by hand; the clock is virtual."""

import pytest

from gateway.coap import Client, ClientExchange, Outcome, TransmissionParameters, limits
from tests.coap.support import fixed_random

GET = 0x01
POST = 0x02


class Tokens:
    """A random source whose four-byte values count up, so that tokens are 00000001, 00000002, ..."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self, count: int) -> bytes:
        if count != 4:
            return bytes(count)
        self.last += 1
        return self.last.to_bytes(4, "big")


def new_client() -> Client:
    return Client(random=Tokens())


def hexes(client: Client) -> list[str]:
    return [data.hex() for data in client.datagrams_to_send()]


def get(client: Client, now: float = 0.0, *, confirmable: bool = True) -> ClientExchange:
    return client.request(GET, [(11, b"time")], b"", now, confirmable=confirmable)


def feed(client: Client, data: str, now: float) -> list[ClientExchange]:
    client.receive(bytes.fromhex(data), now)
    return client.finished()


def test_a_request_on_the_wire() -> None:
    client = new_client()
    exchange = client.request(POST, [(11, b"a"), (12, b"2")], b"{}", 0.0)
    assert hexes(client) == ["44020000" + "00000001" + "b161" + "1132" + "ff7b7d"]
    assert hexes(client) == []
    assert exchange.outcome is None
    get(client, confirmable=False)
    assert hexes(client) == ["54010001" + "00000002" + "b474696d65"]


def test_piggybacked_response() -> None:
    client = new_client()
    exchange = get(client, 10.0)
    assert feed(client, "64450000" + "00000001" + "ff3132", 10.4) == [exchange]
    assert exchange.outcome is Outcome.RESPONSE
    assert exchange.response is not None
    assert exchange.response.payload == b"12"
    assert (exchange.started_at, exchange.ended_at) == (10.0, 10.4)
    assert client.next_timer() is None
    # The same once more, after the end.
    hexes(client)
    assert feed(client, "64450000" + "00000001" + "ff3132", 11.0) == []
    assert hexes(client) == []


def test_separate_response() -> None:
    client = new_client()
    exchange = get(client)
    assert feed(client, "60000000", 0.5) == []
    assert exchange.acknowledged
    hexes(client)
    client.handle_timer(60.0)
    assert hexes(client) == []
    # CON 2.05, message id 0xad7b, is acknowledged; again, it is acknowledged again and not delivered.
    assert feed(client, "4445ad7b" + "00000001" + "ff31", 61.0) == [exchange]
    assert hexes(client) == ["6000ad7b"]
    assert feed(client, "4445ad7b" + "00000001" + "ff31", 63.0) == []
    assert hexes(client) == ["6000ad7b"]
    # After EXCHANGE_LIFETIME the message id means something new, and nothing waits for it.
    assert feed(client, "4445ad7b" + "00000001" + "ff31", 61.0 + 247) == []
    assert hexes(client) == ["7000ad7b"]


def test_separate_response_before_its_ack() -> None:
    # RFC 7252 section 5.2.2: the empty ACK may be lost or late.
    client = new_client()
    exchange = get(client)
    hexes(client)
    assert feed(client, "4445ad7b" + "00000001" + "ff31", 1.0) == [exchange]
    assert hexes(client) == ["6000ad7b"]
    assert feed(client, "60000000", 1.1) == []
    client.handle_timer(100.0)
    assert hexes(client) == []


@pytest.mark.parametrize("confirmable", [True, False])
def test_non_confirmable_response(confirmable: bool) -> None:
    client = new_client()
    exchange = get(client, confirmable=confirmable)
    hexes(client)
    assert feed(client, "5445ad7b" + "00000001" + "ff31", 1.0) == [exchange]
    assert feed(client, "5445ad7b" + "00000001" + "ff31", 1.1) == []
    assert hexes(client) == []
    assert client.next_timer() is None


@pytest.mark.parametrize("confirmable", [True, False])
def test_reset(confirmable: bool) -> None:
    client = new_client()
    exchange = get(client, confirmable=confirmable)
    hexes(client)
    assert feed(client, "70000000", 1.0) == [exchange]
    assert exchange.outcome is Outcome.RESET
    assert exchange.response is None
    client.handle_timer(200.0)
    assert hexes(client) == []


# RFC 7252 section 4.2, as for the server: 2 to 3 s, doubled, four times.
@pytest.mark.parametrize(
    ("random_byte", "repeated_at", "gives_up_at"),
    [(0x00, [2.0, 6.0, 14.0, 30.0], 62.0), (0xFF, [3.0, 9.0, 21.0, 45.0], 93.0)],
)
def test_back_off(random_byte: int, repeated_at: list[float], gives_up_at: float) -> None:
    client = Client(random=fixed_random(random_byte))
    exchange = get(client)
    (first,) = hexes(client)
    seen = []
    for tick in range(1, 400):
        now = tick / 4
        client.handle_timer(now)
        for data in hexes(client):
            assert data == first
            seen.append(now)
        assert client.finished() == ([exchange] if now == gives_up_at else [])
    assert seen == repeated_at
    assert exchange.outcome is Outcome.UNACKNOWLEDGED
    assert exchange.retransmissions == 4


def test_acknowledged_and_never_answered() -> None:
    client = new_client()
    exchange = get(client)
    feed(client, "60000000", 1.0)
    feed(client, "60000000", 2.0)
    assert client.next_timer() == 247.0
    client.handle_timer(246.9)
    assert client.finished() == []
    client.handle_timer(247.0)
    assert client.finished() == [exchange]
    assert exchange.outcome is Outcome.UNANSWERED


def test_a_non_that_is_never_answered() -> None:
    client = new_client()
    exchange = get(client, confirmable=False)
    hexes(client)
    client.handle_timer(144.9)
    assert client.finished() == []
    client.handle_timer(145.0)
    assert client.finished() == [exchange]
    assert exchange.outcome is Outcome.UNANSWERED
    assert hexes(client) == []


@pytest.mark.parametrize(
    "stray",
    [
        "64450001" + "00000001",  # a piggy-backed response with another message id
        "64450000" + "00000002",  # and one with another token
        "60450000",  # and one without
        "60000001",  # an ACK of something else
        "70000001",  # a RST of something else
        "50000000",  # an Empty NON
        "5445ad7b" + "00000002",  # a NON response with another token
        "74450000" + "00000001",  # a RST that is not Empty
        "54010000" + "00000001",  # a NON request
        "64010000" + "00000001",  # a request in an ACK
        "64e10000" + "00000001",  # a reserved code in an ACK
        "644500000000",  # truncated
        "50",
        "",
    ],
)
def test_what_matches_nothing_is_ignored(stray: str) -> None:
    client = new_client()
    exchange = get(client)
    hexes(client)
    assert feed(client, stray, 1.0) == []
    assert hexes(client) == []
    assert not exchange.acknowledged
    client.handle_timer(3.0)
    assert hexes(client) == [exchange.datagram.hex()]


@pytest.mark.parametrize(
    "stray",
    [
        "40000007",  # a ping
        "44450007" + "00000009",  # a response to nothing
        "40010007",  # a request: this is no server
        "40e10007",  # a reserved code
        "49450007",  # malformed
    ],
)
def test_what_matches_nothing_is_reset_when_confirmable(stray: str) -> None:
    client = new_client()
    get(client)
    hexes(client)
    assert feed(client, stray, 1.0) == []
    assert hexes(client) == ["70000007"]


def test_an_ack_does_not_answer_a_non() -> None:
    client = new_client()
    get(client, confirmable=False)
    assert feed(client, "64450000" + "00000001", 1.0) == []
    assert feed(client, "60000000", 1.0) == []
    assert client.next_timer() == 145.0


@pytest.mark.parametrize(("first", "answers"), [("44", ["7000ad7b"]), ("54", []), ("64", [])])
def test_a_response_with_an_unknown_critical_option_is_rejected(first: str, answers: list[str]) -> None:
    # RFC 7252 section 5.4.1; option 9 (OSCORE).
    client = new_client()
    exchange = get(client)
    hexes(client)
    message_id = "0000" if first == "64" else "ad7b"
    assert feed(client, first + "45" + message_id + "00000001" + "90", 1.0) == [exchange]
    assert exchange.outcome is Outcome.REJECTED
    assert hexes(client) == answers


def test_elective_options_of_a_response_are_kept() -> None:
    client = new_client()
    exchange = get(client)
    feed(client, "64450000" + "00000001" + "c132" + "213c" + "ff7b7d", 1.0)
    assert exchange.response is not None
    assert exchange.response.content_format == 50
    assert exchange.response.options == [(12, b"2"), (14, b"<")]


def test_a_cancelled_exchange_sends_nothing_and_takes_nothing() -> None:
    client = new_client()
    exchange = get(client)
    hexes(client)
    client.cancel(exchange)
    client.cancel(exchange)
    assert client.next_timer() is None
    assert feed(client, "4445ad7b" + "00000001", 1.0) == []
    assert hexes(client) == ["7000ad7b"]
    assert exchange.outcome is None


def test_two_exchanges_are_told_apart() -> None:
    client = new_client()
    first, second = get(client), get(client)
    assert feed(client, "64450001" + "00000002" + "ff32", 1.0) == [second]
    assert feed(client, "60000000", 1.0) == []
    assert feed(client, "5484ffff" + "00000001", 1.0) == [first]
    assert first.response is not None
    assert first.response.code == 0x84


def test_tokens_in_use_are_not_given_out_again() -> None:
    client = Client(random=fixed_random(0xFF))
    tokens = [get(client).request.token for _ in range(3)]
    assert tokens == [b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\1"]


def test_message_ids_wrap() -> None:
    client = Client(random=fixed_random(0xFF))
    assert [get(client).request.message_id for _ in range(2)] == [0xFFFF, 0]


@pytest.mark.parametrize("code", [0, 0x20, 0x45])
def test_only_methods_are_requests(code: int) -> None:
    with pytest.raises(ValueError, match="not the code"):
        new_client().request(code, [], b"", 0.0)


def test_a_request_that_cannot_be_encoded_leaves_no_trace() -> None:
    client = new_client()
    with pytest.raises(ValueError, match="out of range"):
        client.request(GET, [(70000, b"")], b"", 0.0)
    assert (hexes(client), client.next_timer()) == ([], None)
    assert get(client).request.message_id == 0


def test_the_limit_of_exchanges() -> None:
    client = new_client()
    for _ in range(limits.CLIENT_EXCHANGES):
        get(client, confirmable=False)
    with pytest.raises(RuntimeError, match="under way"):
        get(client)
    client.handle_timer(145.0)
    assert len(client.finished()) == limits.CLIENT_EXCHANGES
    get(client, 145.0)


def test_a_server_that_floods() -> None:
    client = new_client()
    for message_id in range(1000):
        token = get(client).request.token.hex()
        assert len(feed(client, f"4445{message_id:04x}{token}", 0.0)) == 1
        assert len(client._acknowledged) <= limits.CLIENT_DEDUPLICATION_ENTRIES
    hexes(client)
    for message_id in range(limits.QUEUED_DATAGRAMS + 100):
        client.receive(b"\x40\x00" + message_id.to_bytes(2, "big"), 0.0)
    assert len(hexes(client)) == limits.QUEUED_DATAGRAMS


def test_other_parameters() -> None:
    client = Client(random=fixed_random(0), parameters=TransmissionParameters(ack_timeout_s=0.5, max_retransmit=1))
    exchange = get(client)
    assert client.next_timer() == 0.5
    client.handle_timer(0.5)
    client.handle_timer(1.5)
    assert client.finished() == [exchange]


# A client that serves what the server asks (RFC 7252 section 4.5).


def test_requests_of_the_server_are_taken_once_and_answered_each_time() -> None:
    client = Client(random=Tokens(), serves=True)
    client.receive(bytes.fromhex("44010007" + "0000000a" + "b161"), 0.0)
    client.receive(bytes.fromhex("44010007" + "0000000a" + "b161"), 0.1)  # before it is answered
    (request,) = client.requests()
    assert (request.code, request.uri_path) == (GET, ("a",))
    assert hexes(client) == []
    client.respond(request, 0x45, [], b"1", 0.2)
    assert hexes(client) == ["64450007" + "0000000a" + "ff31"]
    client.receive(bytes.fromhex("44010007" + "0000000a" + "b161"), 2.0)
    assert hexes(client) == ["64450007" + "0000000a" + "ff31"]
    assert client.requests() == []
    # After EXCHANGE_LIFETIME the message id means something new.
    client.receive(bytes.fromhex("44010007" + "0000000b" + "b161"), 248.0)
    assert len(client.requests()) == 1


def test_a_non_confirmable_request_of_the_server_gets_a_non() -> None:
    client = Client(random=Tokens(), serves=True)
    client.receive(bytes.fromhex("54010007" + "0000000a"), 0.0)
    client.receive(bytes.fromhex("54010007" + "0000000a"), 0.0)
    (request,) = client.requests()
    client.respond(request, 0x45, [], b"", 0.0)
    assert hexes(client) == ["54450000" + "0000000a"]
    client.receive(bytes.fromhex("54010007" + "0000000a"), 0.0)
    assert (client.requests(), hexes(client)) == ([], [])
    with pytest.raises(ValueError, match="not the code of a CoAP response"):
        client.respond(request, 1, [], b"", 0.0)


def test_a_flood_of_requests_of_the_server() -> None:
    client = Client(random=Tokens(), serves=True)
    for number in range(1000):
        client.receive(bytes.fromhex("4401") + number.to_bytes(2, "big") + bytes(4), 0.0)
        for request in client.requests():
            client.respond(request, 0x45, [], b"", 0.0)
    assert len(client._served) == limits.CLIENT_DEDUPLICATION_ENTRIES


def test_a_client_that_does_not_serve_resets() -> None:
    client = new_client()
    client.receive(bytes.fromhex("44010007" + "0000000a"), 0.0)
    assert hexes(client) == ["70000007"]
    assert client.requests() == []


# It observes (RFC 7641 section 3).


def observing(client: Client) -> ClientExchange:
    exchange = client.request(GET, [(6, b""), (11, b"a")], b"", 0.0, observing=True)
    client.datagrams_to_send()
    return exchange


def test_notifications_until_a_response_that_is_none() -> None:
    client = new_client()
    exchange = observing(client)
    assert feed(client, "64450000" + "00000001" + "6101" + "ff31", 0.1) == []
    assert feed(client, "54450001" + "00000001" + "6103" + "ff33", 0.2) == []
    assert feed(client, "54450002" + "00000001" + "6102" + "ff32", 0.3) == []  # older
    assert feed(client, "44450003" + "00000001" + "6104" + "ff34", 0.4) == []
    assert hexes(client) == ["60000003"]
    seen = [(each, message.payload) for each, message in client.notifications()]
    assert seen == [(exchange, b"1"), (exchange, b"3"), (exchange, b"4")]
    assert client.notifications() == []
    assert client.next_timer() is None
    assert feed(client, "54840004" + "00000001", 9.0) == [exchange]
    assert exchange.outcome is Outcome.RESPONSE


@pytest.mark.parametrize("kind", ["4445", "5445"])
def test_a_forgotten_observation_resets_the_next_notification(kind: str) -> None:
    client = new_client()
    exchange = observing(client)
    feed(client, "64450000" + "00000001" + "6101" + "ff31", 0.1)
    client.cancel(exchange)
    feed(client, kind + "0009" + "00000001" + "6102" + "ff32", 0.1)
    assert hexes(client) == ["70000009"]
    # A response that is no notification, and not confirmable, has no such meaning.
    feed(client, "5445000a" + "00000001", 0.1)
    assert hexes(client) == []


def test_an_observation_ends_by_its_token() -> None:
    client = new_client()
    exchange = observing(client)
    client.cancel(exchange)
    client.request(GET, [(6, b"\x01")], b"", 1.0, token=exchange.request.token)
    assert hexes(client) == ["44010001" + "00000001" + "6101"]


def test_it_notifies_the_server() -> None:
    client = Client(random=Tokens(), serves=True)
    client.notify(b"\xaa", 0x45, [(6, b"\x05")], b"1")
    assert hexes(client) == ["51450000" + "aa" + "6105" + "ff31"]
