"""Checklist section 5, rows of resumption, and rows 1.9, 4.4, 9.3: session ids (RFC 5246), tickets (RFC 5077)."""

import hmac
import itertools
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.dtls import (
    Address,
    ApiMisuse,
    FailureReason,
    HandshakeError,
    ResumptionConfig,
    ResumptionRequested,
    TicketKeys,
)
from gateway.dtls.limits import (
    MAX_CACHED_SESSIONS_PER_IDENTITY,
    MAX_CLOCK_SKEW_S,
    MAX_RESUMED_NAME,
    MAX_TICKET,
    MAX_TICKET_LIFETIME_S,
    MAX_TICKET_SECRETS,
)
from gateway.dtls.messages import extensions as ext
from gateway.dtls.tickets import MIN_SECRET
from tests.dtls.rawclient import RawClient, raw_record, split
from tests.dtls.resuming import DAY, EMS, EPOCH, SECRET, SNI, TICKET, ResumingWorld, less, newcomer, returning
from tests.dtls.support import CLIENT, PSK, World, alerts, certificate_client, counting_random

ELSEWHERE: Address = ("192.0.2.77", 50_000)
KINDS = pytest.mark.parametrize("suite", [0xC0A8, 0xC0AE], ids=["psk", "certificate"])
WAYS = pytest.mark.parametrize("tickets", [True, False], ids=["ticket", "session id"])


def first(world: ResumingWorld, client: RawClient) -> RawClient:
    """A full handshake; gives the client back."""
    world.connect(client)
    return client


def full_instead(world: ResumingWorld, client: RawClient) -> None:
    """The client's offer is passed over without an alert, and a full handshake goes on in the same exchange."""
    completed = len(world.completed)
    world.connect(client, ELSEWHERE)
    assert [event.facts.resumed for event in world.completed[completed:]] == [False]
    assert client.master != client.resuming
    assert not alerts(client.received)


# --- the abbreviated handshake --------------------------------------------------------------------------------------


@WAYS
@KINDS
def test_4_4_session_is_resumed(suite: int, tickets: bool) -> None:
    # RFC 5246 7.3 figure 2; RFC 5077 3.1 figure 2.
    world = ResumingWorld()
    client = first(world, newcomer(suite, tickets=tickets))
    again = returning(client)
    association = world.resume(again, ELSEWHERE)
    assert [kind for kind, _, _ in again.messages] == [3, 2, 20]
    assert again.server_hello is not None
    assert again.server_hello.session_id == again.session_id
    world.deliver(again.data(b"hello again"), source=ELSEWHERE)
    world.endpoint.send(association, b"welcome", world.now)
    assert again.read(world.collect(ELSEWHERE))[-1].content == b"welcome"
    assert world.data == [b"hello again"]
    assert world.outcomes() == {"resumed": 1}


@WAYS
def test_4_4_association_gets_the_context_of_the_shell(tickets: bool) -> None:
    world = ResumingWorld()
    association = world.resume(returning(first(world, newcomer(tickets=tickets))), ELSEWHERE)
    assert association.context == b"dev1"
    (question,) = [event for event in world.events if isinstance(event, ResumptionRequested)]
    assert (question.authentication.name, question.identity, question.credential) == ("PSK", b"dev1", b"credential 1")
    assert world.completed[-1].facts.psk_identity == b"dev1"


def test_4_4_certificate_s_session_is_known_by_the_fingerprint_of_the_leaf() -> None:
    world = ResumingWorld()
    client = first(world, newcomer(0xC0AE))
    world.resume(returning(client), ELSEWHERE)
    (question,) = [event for event in world.events if isinstance(event, ResumptionRequested)]
    assert client.device is not None
    assert (question.authentication.name, question.identity) == (
        "CERTIFICATE",
        sha256(client.device.chain[0]).digest(),
    )


def test_4_4_without_resumption_nothing_is_promised() -> None:
    world, client = World(), newcomer()
    world.connect(client)
    assert client.server_hello is not None
    assert client.server_hello.session_id == b""
    assert TICKET not in (client.server_hello.extensions or {})
    assert client.ticket == b""


@WAYS
def test_4_4_resumed_session_can_be_resumed_again_and_again(tickets: bool) -> None:
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    randoms = (bytes([n]) * 32 for n in itertools.count(1))
    for _ in range(5):
        client = returning(client, random=next(randoms), ticket=client.ticket)
        world.resume(client)
    assert world.outcomes() == {"resumed": 5}
    assert len(world.endpoint.associations) == 1


@WAYS
def test_nonce_reuse_new_randoms_give_new_keys(tickets: bool) -> None:
    # Section 11, nonce reuse: one master secret, several sessions; no key comes twice, so no (key, nonce) does.
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    associations = [world.completed[0].association]
    pairs = [(each._read_key, each._write_key) for each in associations]
    for number in range(6):
        again = returning(client, random=bytes([number]) * 32)
        association = world.resume(again, ELSEWHERE)
        assert again.master == client.master
        pairs.append((association._read_key, association._write_key))
    keys = [key for pair in pairs for key in pair]
    assert len(set(keys)) == len(keys) == 14


@WAYS
def test_nonce_reuse_client_that_repeats_its_random_gets_new_keys_all_the_same(tickets: bool) -> None:
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    keys = set()
    for port in range(5):
        source = ("192.0.2.9", 1000 + port)
        association = world.resume(returning(client, random=b"always the same".ljust(32)), source)
        keys |= {association._read_key, association._write_key}
    assert len(keys) == 10


# --- 1.9 the cookie -------------------------------------------------------------------------------------------------


@WAYS
def test_1_9_session_is_resumed_only_after_a_cookie(tickets: bool) -> None:
    # CVE-2022-2576: a ClientHello that offered a session went past the cookie.
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    again = returning(client)
    hello = again.hello()
    (answer,) = world.deliver(hello, source=ELSEWHERE)
    ((content_type, _, _, body),) = split(answer)
    assert (content_type, body[0]) == (22, 3)
    assert len(answer) <= len(hello)
    assert world.endpoint.handshakes_in_progress == 0
    assert world.outcomes() == {}


@WAYS
def test_1_9_full_handshake_after_a_refusal_needs_no_other_cookie(tickets: bool) -> None:
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    world.welcome = False
    full_instead(world, returning(client))
    assert world.endpoint.counters.hello_verify_sent == 2
    assert world.outcomes() == {"refused": 1}


# --- 5.2 extended master secret -------------------------------------------------------------------------------------


@WAYS
def test_5_2_hello_without_the_extension_for_a_session_with_it_is_the_end(tickets: bool) -> None:
    # RFC 7627 5.3: "If the original session used the "extended_master_secret" extension but the new ClientHello does
    # not contain it, the server MUST abort the abbreviated handshake."
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    again = returning(client)
    again.extensions = less(again.extensions, EMS)
    again.read(world.deliver(again.hello(), source=ELSEWHERE))
    assert alerts(again.read(world.deliver(again.hello(), source=ELSEWHERE))) == [(2, 40)]
    assert world.reason == "resumption_mismatch"


@WAYS
def test_5_2_hello_with_the_extension_for_a_session_without_it_gives_a_full_handshake(tickets: bool) -> None:
    # RFC 7627 5.3: "the server MUST NOT perform the abbreviated handshake. Instead, it SHOULD continue with a full
    # handshake".
    world = ResumingWorld()
    client = newcomer(tickets=tickets)
    client.extensions = less(client.extensions, EMS)
    first(world, client)
    again = returning(client)
    again.extensions = {**(again.extensions or {}), EMS: b""}
    full_instead(world, again)
    assert world.outcomes() == {"changed": 1}


@WAYS
def test_5_2_session_without_the_extension_goes_on_without_it(tickets: bool) -> None:
    world = ResumingWorld()
    client = newcomer(tickets=tickets)
    client.extensions = less(client.extensions, EMS)
    first(world, client)
    again = returning(client)
    world.resume(again, ELSEWHERE)
    assert again.server_hello is not None
    assert EMS not in (again.server_hello.extensions or {})
    assert not world.completed[-1].facts.extended_master_secret


@WAYS
def test_5_2_session_with_the_extension_gets_it_echoed(tickets: bool) -> None:
    # RFC 7627 5.3: "the server MUST include the "extended_master_secret" extension in its ServerHello message."
    world = ResumingWorld()
    again = returning(first(world, newcomer(tickets=tickets)))
    world.resume(again, ELSEWHERE)
    assert again.server_hello is not None
    assert (again.server_hello.extensions or {})[EMS] == b""


# --- 5.4 the ticket's messages --------------------------------------------------------------------------------------


@KINDS
def test_5_4_empty_extension_in_the_server_hello_and_the_ticket_before_change_cipher_spec(suite: int) -> None:
    # RFC 5077 3.2: "The server sends an empty SessionTicket extension"; 3.3: "before the ChangeCipherSpec message".
    world, client = ResumingWorld(), newcomer(suite)
    first(world, client)
    assert client.server_hello is not None
    assert (client.server_hello.extensions or {})[TICKET] == b""
    last_flight = [record for record in client.received if record.content_type in (20, 22)][-3:]
    assert [(record.content_type, record.epoch) for record in last_flight] == [(22, 0), (20, 0), (22, 1)]
    assert [record.content[0] for record in last_flight] == [4, 1, 20]
    assert client.ticket_lifetime == DAY


def test_5_4_no_ticket_for_a_client_that_does_not_ask() -> None:
    world, client = ResumingWorld(), newcomer(tickets=False)
    first(world, client)
    assert client.server_hello is not None
    assert TICKET not in (client.server_hello.extensions or {})
    assert 4 not in [kind for kind, _, _ in client.messages]


def test_5_4_ticket_is_renewed_when_half_of_its_time_has_passed() -> None:
    world = ResumingWorld(keys=TicketKeys([SECRET], 30 * DAY))
    client = first(world, newcomer())
    world.clock.now += DAY / 2 - 1
    early = returning(client)
    world.resume(early, ELSEWHERE)
    assert [kind for kind, _, _ in early.messages] == [3, 2, 20]
    world.clock.now += 1
    late = returning(client, random=b"late".ljust(32))
    world.resume(late)
    assert [kind for kind, _, _ in late.messages] == [3, 2, 4, 20]
    assert late.server_hello is not None
    assert (late.server_hello.extensions or {})[TICKET] == b""
    assert late.ticket != client.ticket
    # The age goes on from the full handshake.
    assert late.ticket_lifetime == DAY / 2
    world.clock.now += DAY / 2 - 1
    world.resume(returning(late, random=b"later".ljust(32)), ELSEWHERE)
    world.clock.now += 1
    full_instead(world, returning(late, random=b"too late".ljust(32)))
    assert world.outcomes() == {"resumed": 3, "expired": 1}


def test_5_4_ticket_is_renewed_when_its_key_is_no_longer_the_current_one() -> None:
    world = ResumingWorld()
    world.clock.now = (EPOCH // DAY + 1) * DAY - 1
    client = first(world, newcomer())
    world.clock.now += 1
    again = returning(client)
    world.resume(again, ELSEWHERE)
    assert [kind for kind, _, _ in again.messages] == [3, 2, 4, 20]
    assert again.ticket[:16] != client.ticket[:16]
    world.resume(returning(again, random=b"with the new one".ljust(32)))


def test_5_4_session_that_the_shell_does_not_want_resumed_gets_an_empty_ticket() -> None:
    # RFC 5077 3.3: "If the server determines that it does not want to include a ticket after it has included the
    # SessionTicket extension in the ServerHello, then it sends a zero-length ticket".
    world, client = ResumingWorld(), newcomer()
    world.credential = None
    first(world, client)
    assert [body for kind, _, body in client.messages if kind == 4] == [bytes(6)]


@pytest.mark.parametrize("tickets", [True, False])
def test_5_4_name_that_is_too_long_is_not_kept(tickets: bool) -> None:
    world = ResumingWorld()
    name = "n" * (MAX_RESUMED_NAME + 1)
    client = newcomer(tickets=tickets, extensions={SNI: ext.encode_server_name(name)})
    first(world, client)
    assert client.ticket == b""
    assert world.kept == 0


def test_5_4_ticket_that_would_be_too_large_is_left_out() -> None:
    world = ResumingWorld()
    world.keys[b"i" * 1000] = PSK
    client = first(world, newcomer(identity=b"i" * 1000))
    assert [body for kind, _, body in client.messages if kind == 4] == [bytes(6)]
    world.keys[b"i" * 800] = PSK
    client = first(world, newcomer(identity=b"i" * 800, random=b"shorter".ljust(32)))
    assert 0 < len(client.ticket) <= MAX_TICKET
    world.resume(returning(client), ELSEWHERE)


# --- 5.5, 9.3 what is in a ticket, and its keys ---------------------------------------------------------------------


def test_5_5_ticket_tells_nothing_and_holds_no_secret_in_the_clear() -> None:
    world = ResumingWorld()
    name = {SNI: ext.encode_server_name("gateway.example")}
    client = first(world, newcomer(extensions=name))
    assert 100 < len(client.ticket) < 250
    for secret in (client.master, b"dev1", b"credential 1", b"gateway.example"):
        assert secret not in client.ticket
    other = first(world, newcomer(random=b"another".ljust(32), extensions=name))
    assert client.ticket[:16] == other.ticket[:16]
    assert client.ticket[16:28] != other.ticket[16:28]


def test_5_5_ticket_says_how_when_and_by_what_the_peer_was_authenticated() -> None:
    # Opened here with the key and by the layout that the module's theory of operation gives.
    world = ResumingWorld()
    client = first(world, newcomer(extensions={SNI: ext.encode_server_name("gateway.example")}))
    period = int(EPOCH // DAY).to_bytes(8, "big")
    name = hmac.digest(SECRET, b"dtls ticket name" + period, "sha256")[:16]
    key = hmac.digest(SECRET, b"dtls ticket key" + period, "sha256")
    assert client.ticket[:16] == name
    content = AESGCM(key).decrypt(client.ticket[16:28], client.ticket[28:], name)
    moment = int(EPOCH).to_bytes(5, "big")
    assert content == (
        b"\x01\x01\xc0\xa8\x03" + moment + moment + client.master + b"\x0fgateway.example\x00\x04dev1"
        b"\x00\x0ccredential 1"
    )


def test_9_3_key_seals_for_a_period_and_opens_for_one_more() -> None:
    keys = TicketKeys([SECRET], 100.0)
    random = counting_random()
    ticket = keys.seal(b"content", random, 1000.0)
    assert keys.open(ticket, 1099.9) == (b"content", False)
    assert keys.open(ticket, 1100.0) == (b"content", True)
    assert keys.open(ticket, 1199.9) == (b"content", True)
    assert keys.open(ticket, 1200.0) is None
    assert keys.seal(b"content", random, 1100.0)[:16] != ticket[:16]


def test_9_3_ticket_of_a_process_whose_clock_is_ahead_is_opened() -> None:
    ahead, behind = TicketKeys([SECRET], 100.0), TicketKeys([SECRET], 100.0)
    ticket = ahead.seal(b"content", counting_random(), 1100.0)
    assert behind.open(ticket, 1099.0) == (b"content", False)
    assert behind.open(ahead.seal(b"content", counting_random(), 1200.0), 1099.0) is None


def test_9_3_replaced_secret_opens_and_no_longer_seals() -> None:
    old, new = b"o" * 32, b"n" * 32
    ticket = TicketKeys([old], 100.0).seal(b"content", counting_random(), 1000.0)
    both = TicketKeys([new, old], 100.0)
    assert both.open(ticket, 1000.0) == (b"content", True)
    assert TicketKeys([new], 100.0).open(ticket, 1000.0) is None
    assert TicketKeys([old], 100.0).open(both.seal(b"content", counting_random(), 1000.0), 1000.0) is None


@pytest.mark.parametrize(
    ("secrets", "period_s"),
    [([], 100.0), ([b"short"], 100.0), ([SECRET, b"short"], 100.0), ([SECRET], 0.0), ([SECRET] * 4, 100.0)],
)
def test_9_3_keys_that_would_be_weak_are_our_own_fault(secrets: list[bytes], period_s: float) -> None:
    assert MAX_TICKET_SECRETS == 3
    with pytest.raises(ApiMisuse):
        TicketKeys(secrets, period_s)


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, MAX_TICKET_LIFETIME_S + 1])
def test_9_3_lifetime_is_bounded(lifetime_s: float) -> None:
    with pytest.raises(ApiMisuse):
        ResumptionConfig(lambda: 0.0, lifetime_s=lifetime_s)


def test_9_3_secrets_have_no_repr() -> None:
    world = ResumingWorld()
    client = first(world, newcomer())
    assert world.endpoint.sessions is not None
    offer = world.endpoint.sessions._open(client.ticket)
    assert offer is not None
    assert offer.state.master == client.master
    for text in (repr(offer), repr(world.config), repr(TicketKeys([SECRET], 1.0)), repr(world.completed)):
        assert repr(client.master)[2:-1] not in text
        assert SECRET.decode() not in text


@WAYS
def test_9_3_session_ends_with_its_lifetime(tickets: bool) -> None:
    world = ResumingWorld(tickets=True, lifetime_s=3600.0)
    client = first(world, newcomer(tickets=tickets))
    world.clock.now += 3599
    world.resume(returning(client), ELSEWHERE)
    world.clock.now += 1
    full_instead(world, returning(client, random=b"an hour later".ljust(32)))
    assert world.outcomes() == {"resumed": 1, "expired": 1}


@WAYS
def test_9_3_session_from_the_future_is_not_resumed(tickets: bool) -> None:
    world = ResumingWorld()
    world.clock.now = (EPOCH // DAY) * DAY + MAX_CLOCK_SKEW_S + 1
    client = first(world, newcomer(tickets=tickets))
    world.clock.now -= MAX_CLOCK_SKEW_S
    world.resume(returning(client), ELSEWHERE)
    world.clock.now -= 1
    full_instead(world, returning(client, random=b"the clock went back".ljust(32)))
    assert world.outcomes() == {"resumed": 1, "expired": 1}


# --- 5.6 what must not have changed ---------------------------------------------------------------------------------


@WAYS
def test_5_6_suite_that_is_no_longer_offered(tickets: bool) -> None:
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    full_instead(world, returning(client, suites=(0xC0A4,)))
    assert world.completed[-1].facts.suite == "TLS_PSK_WITH_AES_128_CCM"
    assert world.outcomes() == {"changed": 1}


def test_5_6_suite_that_is_no_longer_allowed() -> None:
    client = first(ResumingWorld(), newcomer())
    world = ResumingWorld(suites=(0xC0A4,))
    full_instead(world, returning(client, suites=(0xC0A8, 0xC0A4)))
    assert world.outcomes() == {"changed": 1}


@pytest.mark.parametrize(
    ("before", "after"),
    [("one.example", "two.example"), ("one.example", None), (None, "one.example"), ("one.example", "ONE.example")],
)
@WAYS
def test_5_6_resumption_identity_confusion_session_across_server_names(
    before: str | None, after: str | None, tickets: bool
) -> None:
    # Section 11; CVE-2025-23419: a ticket of one virtual server was good for another one, which asks for certificates.
    world = ResumingWorld()

    def name(text: str | None) -> dict[int, bytes]:
        return {SNI: ext.encode_server_name(text)} if text is not None else {}

    client = first(world, newcomer(tickets=tickets, extensions=name(before)))
    again = returning(client)
    again.extensions = {**less(again.extensions, SNI), **name(after)}
    full_instead(world, again)
    assert world.outcomes() == {"changed": 1}


@WAYS
def test_5_6_name_is_not_echoed_when_a_session_is_resumed(tickets: bool) -> None:
    # RFC 6066 3: "the server MUST NOT include a server_name extension in the server hello" when resuming.
    world = ResumingWorld()
    again = returning(
        first(world, newcomer(tickets=tickets, extensions={SNI: ext.encode_server_name("gateway.example")}))
    )
    world.resume(again, ELSEWHERE)
    assert again.server_hello is not None
    assert SNI not in (again.server_hello.extensions or {})
    assert world.completed[-1].facts.server_name == "gateway.example"


@WAYS
def test_5_6_resumption_identity_confusion_psk_session_for_a_certificate_suite(tickets: bool) -> None:
    # Section 11: ticket from a PSK session on a listener that requires certificates.
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    again = returning(client, suites=(0xC0AE,))
    full_instead(world, again)
    assert world.completed[-1].association.context == again.device.chain  # type: ignore[union-attr]


def test_5_6_resumption_identity_confusion_psk_ticket_where_only_certificates_are_taken() -> None:
    client = first(ResumingWorld(), newcomer())
    world = ResumingWorld(psk=False)
    full_instead(world, returning(client, suites=(0xC0A8, 0xC0AE)))
    assert world.completed[-1].facts.suite == "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"


def test_5_6_resumption_identity_confusion_certificate_ticket_where_only_psk_is_taken() -> None:
    client = first(ResumingWorld(), newcomer(0xC0AE))
    world = ResumingWorld(certificate=False)
    full_instead(world, returning(client, suites=(0xC0AE, 0xC0A8)))
    assert world.completed[-1].association.context == b"dev1"


@WAYS
@KINDS
def test_5_6_shell_refuses_and_a_full_handshake_goes_on(suite: int, tickets: bool) -> None:
    world = ResumingWorld()
    client = first(world, newcomer(suite, tickets=tickets))
    world.welcome = False
    again = returning(client)
    full_instead(world, again)
    assert again.server_hello is not None
    assert again.server_hello.session_id != again.session_id
    assert world.outcomes() == {"refused": 1}


@WAYS
def test_5_6_nothing_is_sent_while_the_shell_thinks(tickets: bool) -> None:
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    again = returning(client)
    again.read(world.deliver(again.hello(), source=ELSEWHERE))
    world.answering = False
    assert world.deliver(again.hello(), source=ELSEWHERE) == []
    assert world.advance(30.0, ELSEWHERE) == []
    question = world.events[-1]
    world.answering = True
    world.answer(question)
    again.read(world.collect(ELSEWHERE))
    assert again.server_finished_verified
    world.answer(question)  # a second answer changes nothing
    assert world.collect(ELSEWHERE) == []
    assert world.deliver(again.change_cipher_spec(), again.finished(), source=ELSEWHERE) == []
    assert world.completed[-1].facts.resumed


@pytest.mark.parametrize("secret", [b"?" * 48, bytes(48), b"", bytes(range(48))], ids=["?", "zeros", "none", "range"])
@WAYS
def test_5_6_client_that_does_not_have_the_secret_gets_nowhere(tickets: bool, secret: bytes) -> None:
    # Whoever saw a ticket or an id go by can offer it, and no more: with a master secret that he makes up, all that he
    # sends is as it should be.
    world = ResumingWorld()
    thief = returning(first(world, newcomer(tickets=tickets)), resuming=secret)
    thief.read(world.deliver(thief.hello(), source=ELSEWHERE))
    records = split(*world.deliver(thief.hello(), source=ELSEWHERE))
    assert [record[0] for record in records] == [22, 20, 22]
    thief.read([raw_record(records[0][0], records[0][2], records[0][3])])
    thief.resume()  # an empty secret, too
    answers = world.deliver(thief.change_cipher_spec(), thief.finished(), source=ELSEWHERE)
    world.deliver(thief.data(b"let me in"), source=ELSEWHERE)
    assert [record[:3] for record in split(*answers)] == [(21, 0xFEFD, (1 << 48) + 1)]  # a protected alert
    assert world.reason == "finished_mismatch"
    assert list(world.endpoint.associations) == [CLIENT]
    assert world.data == []


# --- 5.7 session ids ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 16, 31, 32])
def test_5_7_session_id_that_comes_with_a_ticket_is_echoed(length: int) -> None:
    # RFC 5077 3.4: "If the server accepts the ticket and the Session ID is not empty, then it MUST respond with the
    # same Session ID present in the ClientHello."
    world = ResumingWorld()
    again = returning(first(world, newcomer()), session_id=b"i" * length)
    world.resume(again, ELSEWHERE)
    assert again.server_hello is not None
    assert again.server_hello.session_id == b"i" * length


def test_5_7_session_id_of_33_bytes_is_no_hello() -> None:
    world = ResumingWorld()
    again = returning(first(world, newcomer()), session_id=b"i" * 33)
    assert world.deliver(again.hello(), source=ELSEWHERE) == []
    assert world.drops() == {"malformed": 1}


@pytest.mark.parametrize("tickets", [True, False])
def test_5_7_unknown_session_id_is_not_echoed(tickets: bool) -> None:
    world = ResumingWorld()
    client = newcomer(tickets=tickets, session_id=b"never heard of it")
    first(world, client)
    assert client.server_hello is not None
    assert client.server_hello.session_id != client.session_id
    assert len(client.server_hello.session_id) == (0 if tickets else 32)
    assert world.outcomes() == {"unknown": 1}


def test_5_7_id_is_not_looked_up_beside_a_ticket() -> None:
    # RFC 5077 3.4: "If a ticket is presented by the client, the server MUST NOT attempt to use the Session ID in the
    # ClientHello for stateful session resumption."
    world = ResumingWorld()
    client = first(world, newcomer(tickets=False))
    again = returning(client)
    again.extensions = {**(again.extensions or {}), TICKET: b"some other server's"}
    full_instead(world, again)
    assert world.outcomes() == {"unknown": 1}


# --- 5.8 tickets that cannot be used --------------------------------------------------------------------------------


def test_5_8_corrupted_ticket_gives_a_full_handshake_without_an_alert() -> None:
    world = ResumingWorld()
    client = first(world, newcomer())
    for position in range(0, len(client.ticket), 7):
        broken = bytearray(client.ticket)
        broken[position] ^= 1
        again = returning(client, random=bytes([position]) * 32)
        again.extensions = {**(again.extensions or {}), TICKET: bytes(broken)}
        full_instead(world, again)
    assert set(world.outcomes()) == {"unknown"}


@pytest.mark.parametrize("length", [1, 15, 16, 27, 28, 43, 44, 160, MAX_TICKET, MAX_TICKET + 1])
def test_5_8_foreign_ticket_of_any_length(length: int) -> None:
    world = ResumingWorld()
    client = first(world, newcomer())
    again = returning(client)
    again.extensions = {**(again.extensions or {}), TICKET: client.ticket[:length].ljust(length, b"?")}
    full_instead(world, again)


@pytest.mark.parametrize("age_s", [0.0, 2 * DAY])
@pytest.mark.parametrize("secret", [bytes(MIN_SECRET), bytes(64), b"\xff" * MIN_SECRET], ids=["zeros", "64", "ones"])
def test_5_8_ticket_under_a_key_that_anybody_knows(secret: bytes, age_s: float) -> None:
    # CVE-2020-13777: until they were first changed, the keys of the tickets were zeros.
    world = ResumingWorld()
    world.clock.now += age_s
    client = first(world, newcomer())
    opened = TicketKeys([SECRET], DAY).open(client.ticket, world.clock.now)
    assert opened is not None  # a session as it should be
    again = returning(client)
    forged = TicketKeys([secret], DAY).seal(opened[0], counting_random(), world.clock.now)
    again.extensions = {**(again.extensions or {}), TICKET: forged}
    full_instead(world, again)
    assert world.outcomes() == {"unknown": 1}


def test_5_8_ticket_under_a_forgotten_key() -> None:
    world = ResumingWorld(keys=TicketKeys([SECRET], 3600.0), lifetime_s=DAY)
    client = first(world, newcomer())
    world.clock.now += 2 * 3600
    full_instead(world, returning(client))
    assert world.outcomes() == {"unknown": 1}


def test_5_8_ticket_of_another_version_of_the_gateway() -> None:
    keys = TicketKeys([SECRET], DAY)
    world = ResumingWorld(keys=keys)
    client = first(world, newcomer())
    opened = keys.open(client.ticket, EPOCH)
    assert opened is not None
    content = opened[0]
    wrongs = (b"\x02" + content[1:], content[:1] + b"\x09" + content[2:], content[:-1], content + b"?", b"")
    for number, wrong in enumerate(wrongs):
        again = returning(client, random=bytes([number]) * 32)
        again.extensions = {**(again.extensions or {}), TICKET: keys.seal(wrong, counting_random(), EPOCH)}
        full_instead(world, again)
    assert world.outcomes() == {"unknown": 5}


def test_5_8_resumption_identity_confusion_flood_of_corrupted_tickets_leaks_nothing() -> None:
    # Section 11. Nothing is kept for a ticket: what is left afterwards is what was there before.
    world = ResumingWorld()
    client = first(world, newcomer())
    for number in range(2000):
        again = returning(client, random=number.to_bytes(32, "big"))
        again.extensions = {**(again.extensions or {}), TICKET: client.ticket[:-2] + number.to_bytes(2, "big")}
        source = ("192.0.2.200", 1024 + number)
        again.read(world.deliver(again.hello(), source=source))
        answers = world.deliver(again.hello(), source=source)
        assert [record[0] for answer in answers for record in split(answer)] == [22, 22]  # ServerHello, Done
    assert world.outcomes() == {"unknown": 2000}
    assert world.kept == 0
    assert world.endpoint.handshakes_in_progress == 2000
    world.now += 121.0
    world.endpoint.handle_timer(world.now)
    assert world.endpoint.handshakes_in_progress == 0


# --- 5.9 sessions that are kept here --------------------------------------------------------------------------------


def id_client(number: int, identity: bytes = b"dev1") -> RawClient:
    return newcomer(tickets=False, random=number.to_bytes(32, "big"), identity=identity)


def test_5_9_cache_is_bounded_and_the_stalest_goes() -> None:
    world = ResumingWorld(max_sessions=3)
    clients = []
    for number in range(4):
        identity = b"device %d" % number
        world.keys[identity] = PSK
        clients.append(first(world, id_client(number, identity)))
        if number == 2:  # the first one comes back, so that the second is the stalest
            world.resume(returning(clients[0]), ELSEWHERE)
    assert world.kept == 3
    full_instead(world, returning(clients[1]))
    world.resume(returning(clients[3]), ELSEWHERE)
    assert world.outcomes() == {"resumed": 2, "unknown": 1}


def test_5_9_cache_is_bounded_per_identity() -> None:
    world = ResumingWorld(max_sessions=100)
    world.keys[b"another"] = PSK
    other = first(world, id_client(0, b"another"))
    clients = [first(world, id_client(number)) for number in range(1, 60)]
    assert world.kept == MAX_CACHED_SESSIONS_PER_IDENTITY + 1
    world.resume(returning(clients[-1]), ELSEWHERE)
    world.resume(returning(clients[-2]), ELSEWHERE)
    world.resume(returning(other), ELSEWHERE)
    full_instead(world, returning(clients[-3]))


def test_5_9_no_cache_no_session_id() -> None:
    world, client = ResumingWorld(max_sessions=0), newcomer(tickets=False)
    first(world, client)
    assert client.server_hello is not None
    assert client.server_hello.session_id == b""


def test_5_9_session_can_be_resumed_only_after_its_finished_has_verified() -> None:
    # STYLE practice 9: verify, then commit. pion kept sessions before that.
    world = ResumingWorld()
    client = newcomer(tickets=False)
    world.reach_server_done(client)
    assert client.server_hello is not None
    world.deliver(client.client_key_exchange(), client.change_cipher_spec())
    early = returning(client, resuming=client.master, random=b"early".ljust(32))
    early.read(world.deliver(early.hello(), source=ELSEWHERE))
    early.read(world.deliver(early.hello(), source=ELSEWHERE))
    assert early.server_hello is not None
    assert early.server_hello.session_id != early.session_id
    assert world.outcomes() == {"unknown": 1}
    client.read(world.deliver(client.finished()))
    assert client.server_finished_verified
    world.resume(returning(client, random=b"now".ljust(32)), ("192.0.2.3", 3))


def test_5_9_failed_finished_keeps_nothing() -> None:
    world = ResumingWorld()
    client = newcomer(tickets=False)
    world.reach_server_done(client)
    world.deliver(client.client_key_exchange(), client.change_cipher_spec(), client.finished(verify_data=bytes(12)))
    assert world.reason == "wrong_key"
    assert world.kept == 0


@pytest.mark.parametrize("resumed", [False, True])
def test_5_9_fatal_alert_makes_the_session_void(resumed: bool) -> None:
    # RFC 5246 7.2.2: "Any connection terminated with a fatal alert MUST NOT be resumed."
    world = ResumingWorld()
    client = first(world, newcomer(tickets=False))
    alerting = client
    if resumed:
        alerting = returning(client, random=b"second".ljust(32))
        world.resume(alerting)
    world.deliver(alerting.alert(2, 40, epoch=1))
    assert [event.reason for event in world.closed][-1] == "alert"
    assert world.kept == 0
    full_instead(world, returning(client, random=b"third".ljust(32)))


def test_5_9_close_notify_leaves_the_session() -> None:
    # RFC 5246 7.2.1 no longer makes a session void that was closed: it is what devices do before they sleep.
    world = ResumingWorld()
    client = first(world, newcomer(tickets=False))
    world.deliver(client.alert(1, 0, epoch=1))
    assert world.endpoint.associations == {}
    world.resume(returning(client), ELSEWHERE)


def test_5_9_failed_finished_of_a_resumption_makes_the_session_void() -> None:
    world = ResumingWorld()
    client = first(world, newcomer(tickets=False))
    again = returning(client)
    world.reach_server_done(again, ELSEWHERE)
    world.deliver(again.change_cipher_spec(), again.finished(verify_data=bytes(12)), source=ELSEWHERE)
    assert world.reason == "finished_mismatch"
    assert world.kept == 0
    full_instead(world, returning(client, random=b"once more".ljust(32)))


def test_5_9_refused_session_is_forgotten() -> None:
    world = ResumingWorld()
    client = first(world, newcomer(tickets=False))
    world.welcome = False
    again = returning(client)
    full_instead(world, again)
    assert world.kept == 1  # the one of the full handshake
    world.welcome = True
    full_instead(world, returning(client, random=b"the old one".ljust(32)))


@pytest.mark.pure("it looks at __slots__")
def test_5_9_idle_session_that_came_by_a_ticket_costs_no_more_than_any_other() -> None:
    world = ResumingWorld()
    association = world.resume(returning(first(world, newcomer())), ELSEWHERE)
    plain = World()
    other = plain.connect(RawClient())
    assert world.endpoint.sessions is not None
    assert world.kept == 0
    assert not world.endpoint.sessions.cache._by_association
    assert not hasattr(association, "__dict__")
    held = [getattr(association, name) for name in type(association).__slots__ if hasattr(association, name)]
    assert len(held) == len([name for name in type(other).__slots__ if hasattr(other, name)])


def test_5_9_what_the_cache_knows_of_associations_goes_with_them() -> None:
    world = ResumingWorld()
    client = first(world, newcomer(tickets=False))
    assert world.endpoint.sessions is not None
    cache = world.endpoint.sessions.cache
    for number in range(5):
        world.resume(returning(client, random=bytes([number]) * 32), ("192.0.2.5", 1000 + number))
    assert len(cache._by_association) == 1
    for association in list(world.endpoint.associations.values()):
        world.endpoint.close(association, world.now)
    world.endpoint.datagrams_to_send()
    assert len(cache._by_association) == 0
    assert len(cache) == 1


# --- flights: who has the last word ---------------------------------------------------------------------------------


@WAYS
def test_1_16_server_repeats_its_flight_until_the_client_s_finished_comes(tickets: bool) -> None:
    # RFC 6347 4.2.4: in an abbreviated handshake the client's Finished is the last flight, and has no timer.
    world = ResumingWorld()
    again = returning(first(world, newcomer(tickets=tickets)))
    flight = world.reach_server_done(again, ELSEWHERE)
    repeated = world.advance(1.0, ELSEWHERE)
    assert [len(datagram) for datagram in repeated] == [len(datagram) for datagram in flight]
    numbers = [[record[2] for record in split(datagram)] for datagram in (*flight, *repeated)]
    assert not set(numbers[0]) & set(numbers[1])
    again.read(repeated)
    assert world.deliver(again.change_cipher_spec(), again.finished(), source=ELSEWHERE) == []
    assert world.completed[-1].facts.retransmissions == 1
    assert world.advance(200.0, ELSEWHERE) == []


@WAYS
def test_1_16_half_of_the_client_s_last_flight_does_not_slow_the_repetition_down(tickets: bool) -> None:
    # Its ChangeCipherSpec came, its Finished got lost: the client has no timer that would send it again.
    world = ResumingWorld()
    again = returning(first(world, newcomer(tickets=tickets)))
    world.reach_server_done(again, ELSEWHERE)
    world.deliver(again.change_cipher_spec(), source=ELSEWHERE)
    assert world.advance(0.9, ELSEWHERE) == []
    assert world.advance(0.1, ELSEWHERE) != []
    world.deliver(again.finished(), source=ELSEWHERE)
    assert world.completed[-1].facts.resumed


@WAYS
def test_1_16_repeated_hello_gets_the_flight_again(tickets: bool) -> None:
    world = ResumingWorld()
    again = returning(first(world, newcomer(tickets=tickets)))
    flight = world.reach_server_done(again, ELSEWHERE)
    world.now += 0.5
    hello = again.record(22, again.transcript[0])
    repeated = world.deliver(hello, source=ELSEWHERE)
    assert [len(datagram) for datagram in repeated] == [len(datagram) for datagram in flight]


@WAYS
def test_1_16_repeated_finished_of_the_client_gets_no_answer(tickets: bool) -> None:
    # Two last flights that answer each other would never end.
    world = ResumingWorld()
    again = returning(first(world, newcomer(tickets=tickets)))
    world.resume(again, ELSEWHERE)
    world.now += 1.0
    repeated = again.record(22, again.transcript[-1], 1)
    assert world.deliver(again.change_cipher_spec(), repeated, source=ELSEWHERE) == []
    world.deliver(again.data(b"unharmed"), source=ELSEWHERE)
    assert world.data == [b"unharmed"]


@WAYS
def test_1_21_old_association_serves_until_the_resumption_has_verified(tickets: bool) -> None:
    # RFC 6347 4.2.8, for a device that rebooted and comes from the same port with what it kept in flash.
    world = ResumingWorld()
    client = first(world, newcomer(tickets=tickets))
    again = returning(client)
    world.reach_server_done(again)
    world.deliver(client.data(b"still the old one"))
    assert world.data == [b"still the old one"]
    world.deliver(again.change_cipher_spec(), again.finished())
    assert [event.reason for event in world.closed] == ["superseded"]
    world.deliver(again.data(b"the new one"))
    assert world.data[-1] == b"the new one"


def test_5_9_refused_chain_never_becomes_a_session() -> None:
    # A refused chain never becomes a session.
    world = ResumingWorld()
    world.verdict = HandshakeError(FailureReason.UNKNOWN_ROOT)
    client = certificate_client()
    world.reach_server_done(client)
    world.deliver(client.certificate(), client.client_key_exchange(), client.certificate_verify())
    assert world.reason == "unknown_root"
    assert world.kept == 0


# --- the key log ---------------------------------------------------------------------------------------------------


@WAYS
@KINDS
def test_key_log_gets_the_random_and_the_secret_of_every_session(suite: int, tickets: bool) -> None:
    # NSS key log format: the client's random and the master secret. The raw client's own arithmetic is the truth.
    logged: list[tuple[bytes, bytes]] = []
    world = ResumingWorld(key_log=lambda random, master: logged.append((random, master)))
    client = first(world, newcomer(suite, tickets=tickets))
    again = returning(client)
    world.resume(again, ELSEWHERE)
    assert logged == [(client.random, client.master), (again.random, client.master)]
    assert "key_log" not in repr(world.config)
