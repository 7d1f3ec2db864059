"""Section 11 of the checklist: the classes of vulnerability that DTLS servers had, each as an attack on ours.

What one row needs beside these is in tests/dtls (test_attacks, test_checklist_1 to 3, test_reassembly, test_gate);
docs/security.md has the list, row by row. A CVE number names the pattern, not this code.
"""

import gc
import inspect
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import gateway
from gateway.dtls import Address, CertificatePresented
from gateway.dtls.association import Association
from gateway.dtls.crypto import SUITES as ENGINE_SUITES
from gateway.dtls.handshake.linger import Linger
from gateway.dtls.handshake.server import ServerHandshake
from gateway.dtls.limits import COOKIE_PERIOD_S, MAX_EARLY_RECORDS, MAX_REASSEMBLY_BYTES
from gateway.dtls.messages import extensions as ext
from tests.dtls import stages
from tests.dtls.nonces import watch_nonces
from tests.dtls.rawclient import (
    HANDSHAKE,
    SUITES,
    DirectionKeys,
    RawClient,
    default_extensions,
    handshake,
    plain_premaster,
    prf,
    raw_record,
)
from tests.dtls.support import (
    CLIENT,
    EMPTY,
    PSK,
    World,
    alerts,
    certificate_client,
    client_for,
    device,
    self_signed,
    sizes,
)
from tests.dtls.test_checklist_3_suites import G, P, point

MAX_24 = (1 << 24) - 1
STRANGER: Address = ("203.0.113.9", 40000)
OTHER_PORT: Address = (CLIENT[0], 40001)


def fragment(kind: int, length: int, seq: int, offset: int, data: bytes, size: int | None = None) -> bytes:
    """A handshake fragment that says of itself what it likes."""
    head = bytes((kind,)) + length.to_bytes(3, "big") + seq.to_bytes(2, "big") + offset.to_bytes(3, "big")
    return head + (len(data) if size is None else size).to_bytes(3, "big") + data


def drain(world: World) -> None:
    """Lets all time pass, and all events and datagrams go."""
    while (timer := world.endpoint.next_timer()) is not None:
        world.now = max(world.now, timer)
        world.endpoint.handle_timer(world.now)
        world.endpoint.datagrams_to_send()
        while world.endpoint.next_event() is not None:
            pass


# --- possession not proven (CVE-2022-29222, CVE-2015-0205, CVE-2022-25640, CVE-2020-2655, CVE-2026-55962) ------------


@pytest.mark.parametrize(
    "signature",
    [b"", b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\x30\x06\x02\x01\x01\x02\x01\x01", b"\x30\x00", bytes(72)],
    ids=["empty", "zero and zero", "one and one", "no numbers", "zeros"],
)
def test_11_certificate_verify_of_nothing(signature: bytes) -> None:
    """CVE-2022-21449: r = s = 0 verified under every key."""
    stage = stages.reach("certificate", "ExpectCertificateVerify")
    body = b"\x04\x03" + len(signature).to_bytes(2, "big") + signature
    ((level, _),) = alerts(stage.client.read(stage.world.deliver(stage.client.message(15, body))))
    assert level == 2
    assert stage.world.reason in ("possession_not_proven", "decode_error")
    assert not any(isinstance(event, CertificatePresented) for event in stage.world.events)


@pytest.mark.parametrize("scheme", [0x0000, 0x0001, 0x0101, 0x0201, 0x0203, 0x0401, 0x0402, 0x0804, 0xFFFF])
def test_11_certificate_verify_by_an_algorithm_that_was_not_offered(scheme: int) -> None:
    """CVE-2022-25638: the algorithm of CertificateVerify was not compared with what had been offered."""
    stage = stages.reach("certificate", "ExpectCertificateVerify")
    right = stage.client.certificate_verify()[13 + 12 + 2 :]
    stage.client.next_seq -= 1
    answers = stage.world.deliver(stage.client.message(15, scheme.to_bytes(2, "big") + right))
    assert alerts(stage.client.read(answers)) == [(2, 47)]
    assert stage.world.reason == "illegal_parameter"


def test_11_certificate_verify_before_client_key_exchange() -> None:
    """CVE-2026-2645: a CertificateVerify that came early let the later check be skipped."""
    stage = stages.reach("certificate", "ExpectEcdheKeyExchange")
    client = stage.client
    early = client.certificate_verify()
    rest = [client.client_key_exchange(), client.change_cipher_spec(), client.finished()]
    assert alerts(client.read(stage.world.deliver(early))) == [(2, 10)]
    assert stage.world.deliver(*rest) == []
    assert stage.world.completed == []


@pytest.mark.parametrize("when", ["ExpectCertificateVerify", "ExpectChangeCipherSpec", "ExpectFinished"])
def test_11_second_certificate_after_the_proof_is_refused(when: str) -> None:
    """Proof for one certificate, identity of another."""
    stage = stages.reach("certificate", when)
    client = stage.client
    if stage.epoch:
        answers = stage.world.deliver(client.message(11, b"\x00\x00\x00", epoch=1))
    else:
        answers = stage.world.deliver(client.certificate((device().chain[0],)))
    assert alerts(client.read(answers)) == [(2, 10)]
    assert stage.world.completed == []


def test_11_proof_is_of_the_leaf_and_of_nothing_behind_it() -> None:
    """Whose key signs and whose certificate comes first is one; what stands behind it proves nothing."""
    world, client = World(), certificate_client()
    stranger = ec.generate_private_key(ec.SECP256R1())
    chain = (device().chain[0], self_signed(stranger, "dev1"))
    world.reach_server_done(client)
    world.deliver(client.certificate(chain), client.client_key_exchange())
    client.read(world.deliver(client.certificate_verify(key=stranger)))
    assert world.reason == "possession_not_proven"


# --- un-negotiated certificate type (CVE-2026-55960) -----------------------------------------------------------------


@pytest.mark.parametrize("offer", [None, b"\x01\x00", b"\x02\x00\x01"], ids=["no list", "X.509", "X.509 and OpenPGP"])
def test_11_bare_public_key_where_a_certificate_was_agreed_on(offer: bytes | None) -> None:
    world, client = World(), certificate_client()
    if offer is not None:
        client.extensions = {**default_extensions(), 19: offer}
    spki = device().key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    world.reach_server_done(client)
    bare = len(spki).to_bytes(3, "big") + spki
    ((level, _),) = alerts(client.read(world.deliver(client.message(11, bare))))
    assert level == 2
    assert not any(isinstance(event, CertificatePresented) for event in world.events)
    assert world.completed == []


# --- order of ChangeCipherSpec and Finished (CVE-2014-0224) ----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "state"), [pair for pair in stages.EVERY if pair[1] not in ("ExpectFinished", "Established")]
)
def test_11_early_change_cipher_spec_makes_no_keys_of_nothing(kind: str, state: str) -> None:
    """CVE-2014-0224: a ChangeCipherSpec before ClientKeyExchange made keys out of an empty master secret. Whoever knows
    those has a Finished that is right, and data behind it."""
    for guess in range(6):
        stage = stages.reach(kind, state)
        world, client = stage.world, stage.client
        randoms = (client.server_hello.random if client.server_hello else bytes(32)) + client.random
        masters = [b"", bytes(48)]
        for premaster in (b"", plain_premaster(b"")):
            masters.append(prf(premaster, b"master secret", randoms[32:] + randoms[:32], 48))
            masters.append(prf(premaster, b"extended master secret", sha256(b"".join(client.transcript)).digest(), 48))
        master = masters[guess]
        block = prf(master, b"key expansion", randoms, 40)
        keys = DirectionKeys(client.suites[0], block[0:16], block[32:36])
        verify_data = prf(master, b"client finished", sha256(b"".join(client.transcript)).digest(), 12)
        finished = handshake(20, client.next_seq, verify_data)
        number = 1 << 48
        world.deliver(raw_record(20, 3, b"\x01"), raw_record(20, (1 << 48) - 2, b"\x01"))
        world.deliver(raw_record(HANDSHAKE, number, keys.seal(HANDSHAKE, number, finished)))
        world.deliver(raw_record(23, number + 1, keys.seal(23, number + 1, b"mine")))
        assert world.completed == []
        assert world.data == []


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x02", b"\x01\x01", b"\x01\x00", bytes(100)])
def test_11_change_cipher_spec_of_any_other_content_does_not_count(body: bytes) -> None:
    stage = stages.reach("psk", "ExpectChangeCipherSpec")
    world, client = stage.world, stage.client
    assert world.deliver(raw_record(20, 90, body)) == []
    verify = client.finished()
    assert world.deliver(verify) == []
    assert world.completed == []
    client.read(world.deliver(client.change_cipher_spec()))
    assert client.server_finished_verified


def test_11_change_cipher_spec_in_epoch_1_changes_no_epoch() -> None:
    """The epoch of a session never moves: there is no second one."""
    for state in ("ExpectFinished", "Established"):
        stage = stages.reach("psk", state)
        assert stage.world.deliver(stage.client.record(20, b"\x01", 1)) == []
        assert stage.world.drops() == {"unexpected": 1}
        if state == "ExpectFinished":
            stage.complete()
        stage.world.deliver(stage.client.data(b"still epoch 1"))
        assert stage.world.data == [b"still epoch 1"]


# --- fragments (CVE-2014-0195, CVE-2009-1379, CVE-2026-33846, CVE-2026-42009, CVE-2026-33845) ------------------------

LIES: dict[str, Callable[[int, int], bytes]] = {
    "offset and size over the length": lambda kind, seq: fragment(kind, 100, seq, 90, bytes(20)),
    "offset over the length": lambda kind, seq: fragment(kind, 100, seq, 101, b""),
    "offset at the end of everything": lambda kind, seq: fragment(kind, 100, seq, MAX_24, b"x"),
    "offset and size that overflow 24 bits": lambda kind, seq: fragment(kind, MAX_24, seq, MAX_24, b"x"),
    "size over the record": lambda kind, seq: fragment(kind, MAX_24, seq, 0, b"x" * 50, MAX_24),
    "size under the record": lambda kind, seq: fragment(kind, 50, seq, 0, b"x" * 50, 20),
    "no size": lambda kind, seq: fragment(kind, 50, seq, 10, b""),
    "header cut off": lambda kind, seq: fragment(kind, 50, seq, 10, b"")[:11],
    "nothing": lambda kind, seq: b"",
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(("kind", "state"), [pair for pair in stages.UNFINISHED if pair[1] != "ExpectClientHello"])
def test_11_fragment_that_lies_about_itself_is_dropped_and_harms_nothing(lie: str, kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    content = LIES[lie](16, stage.client.next_seq)
    assert stage.world.deliver(*[raw_record(HANDSHAKE, 100 + n, content) for n in range(20)]) == []
    assert sum(stage.world.drops().values()) == 20
    assert set(stage.world.drops()) <= {"malformed", "bad_fragment", "old_epoch"}
    stage.complete()


@pytest.mark.parametrize("ahead", range(1, 7))
def test_11_claim_of_16_megabytes_ahead_allocates_nothing(ahead: int) -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    (current,) = stage.world.endpoint._handshakes.values()
    for offset in range(0, MAX_24 - 100, 1 << 16):
        content = fragment(16, MAX_24, stage.client.next_seq + ahead, offset, bytes(100))
        assert stage.world.deliver(raw_record(HANDSHAKE, 100 + offset, content)) == []
    assert current._reassembler.buffered == 0
    stage.complete()


@pytest.mark.parametrize(
    "second",
    [fragment(16, 6, 2, 3, b"ev1"), fragment(16, 8, 2, 3, b"v1xxx"), fragment(15, 7, 2, 3, b"dev1")],
    ids=["shorter in all", "longer in all", "of another type"],
)
def test_11_fragments_that_disagree_are_not_put_together(second: bytes) -> None:
    """CVE-2026-33846: the lengths of two fragments of one message differed, and the larger was believed."""
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    body = b"\x00\x05xdev1"
    first = fragment(16, 7, 2, 0, body[:3])
    assert stage.world.deliver(raw_record(HANDSHAKE, 100, first), raw_record(HANDSHAKE, 101, second)) == []
    assert stage.world.drops() == {"bad_fragment": 1}
    assert stage.world.events == []
    (current,) = stage.world.endpoint._handshakes.values()
    assert type(current._state).__name__ == "ExpectPskKeyExchange"


def test_11_storm_of_pieces_of_one_byte_is_bounded_in_bytes_and_in_time() -> None:
    """CVE-2026-42009, CVE-2022-29190: sorting and searching of pieces that never become whole."""
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    (current,) = stage.world.endpoint._handshakes.values()
    for n in range(5000):
        content = fragment(16, 16_000, stage.client.next_seq + n % 7, 3 * n % 16_000, b"x")
        stage.world.deliver(raw_record(HANDSHAKE, 100 + n, content))
    assert current._reassembler.buffered <= MAX_REASSEMBLY_BYTES
    pieces = sum(len(partial.pieces) for partial in current._reassembler._partials.values())
    assert pieces <= MAX_REASSEMBLY_BYTES // 100


# --- memory (CVE-2009-1377, CVE-2014-3506, CVE-2015-0206, CVE-2016-2179, CVE-2022-29189, CVE-2022-39368) -------------


def epochs(client: RawClient, n: int) -> bytes:
    return raw_record(23, (2 + n % 60_000) << 48 | n, bytes(600))


def future_messages(client: RawClient, n: int) -> bytes:
    return raw_record(HANDSHAKE, 100 + n, fragment(11, 9000, client.next_seq + 1 + n % 6, n % 9000, bytes(50)))


def next_epoch(client: RawClient, n: int) -> bytes:
    return raw_record(23, 1 << 48 | n, bytes(500))


def far_messages(client: RawClient, n: int) -> bytes:
    return raw_record(HANDSHAKE, 100 + n, fragment(11, 90, 20 + n % 60_000, 0, bytes(50)))


FLOODS: dict[str, Callable[[RawClient, int], bytes]] = {
    "future epochs": epochs,
    "next epoch": next_epoch,
    "future messages": future_messages,
    "far messages": far_messages,
}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize(("kind", "state"), stages.ALL)
def test_11_flood_of_the_future_is_bounded_and_leaves_nothing(flood: str, kind: str, state: str) -> None:
    stage = stages.reach(kind, state)
    world = stage.world
    for n in range(400):
        assert world.deliver(FLOODS[flood](stage.client, n)) == []
    for current in world.endpoint._handshakes.values():
        assert current._reassembler.buffered <= MAX_REASSEMBLY_BYTES
        assert len(current._early) <= MAX_EARLY_RECORDS
    drain(world)
    assert {**sizes(world.endpoint), "_settled": 0} == EMPTY
    assert world.endpoint.handshakes_in_progress == 0


def alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


@pytest.mark.parametrize("how", ["abandoned", "failed", "completed and closed"])
def test_11_handshakes_of_every_end_leave_no_object_behind(how: str) -> None:
    """Not in a container that the test knows, but anywhere."""
    kinds: tuple[type, ...] = (ServerHandshake, Association, Linger)
    before = [alive(kind) for kind in kinds]
    world = World()
    for port in range(30):
        client, source = RawClient(random=bytes((port,)) * 32), ("192.0.2.1", port)
        world.reach_server_done(client, source)
        if how == "failed":
            world.deliver(client.message(99, b""), source=source)
        elif how == "completed and closed":
            client.read(world.deliver(*client.answer_flight(), source=source))
            world.deliver(client.alert(1, 0, epoch=1), source=source)
    drain(world)
    world.events.clear()
    assert [alive(kind) for kind in kinds] == before


# --- cookies (CVE-2022-34293, CVE-2022-2576, CVE-2022-35409, CVE-2021-34430) -----------------------------------------


def test_11_cookie_from_another_port_or_host() -> None:
    world, client = World(), RawClient()
    client.read(world.deliver(client.hello()))
    hello = client.hello()
    for source in (OTHER_PORT, STRANGER):
        (answer,) = world.deliver(hello, source=source)
        assert len(answer) <= len(hello)
    assert world.endpoint.handshakes_in_progress == 0
    assert world.endpoint.counters.hello_verify_invalid == 2


@pytest.mark.parametrize(("age", "good"), [(COOKIE_PERIOD_S, True), (2 * COOKIE_PERIOD_S + 0.1, False)])
def test_11_cookie_after_the_key_has_rotated(age: float, good: bool) -> None:
    world, client = World(), RawClient()
    world.now = 100 * COOKIE_PERIOD_S
    client.read(world.deliver(client.hello()))
    world.advance(age)
    client.read(world.deliver(client.hello()))
    assert (world.endpoint.handshakes_in_progress == 1) is good


CHANGES: dict[str, Callable[[RawClient], None]] = {
    "random": lambda client: setattr(client, "random", bytes(32)),
    "session id": lambda client: setattr(client, "session_id", bytes(32)),
    "suites": lambda client: setattr(client, "suites", (0xC0A8, 0x00A8)),
    "compression": lambda client: setattr(client, "compression", b"\x00\x01"),
    "version": lambda client: setattr(client, "version", 0xFEFC),
}


@pytest.mark.parametrize("what", CHANGES)
def test_11_cookie_with_a_changed_hello(what: str) -> None:
    world, client = World(), RawClient()
    client.read(world.deliver(client.hello()))
    CHANGES[what](client)
    hello = client.hello()
    (answer,) = world.deliver(hello)
    assert len(answer) <= len(hello)
    assert world.endpoint.handshakes_in_progress == 0


def hostile_hellos() -> Iterator[tuple[str, RawClient]]:
    """First hellos with everything in them that a server may be tempted to act on before the cookie."""
    tickets = {35: bytes(200), 54: b"\x08" + bytes(8), 61: b"", 1: b"\x01", 28: b"\x00\x40", 19: b"\x01\x02"}
    for number, body in tickets.items():
        yield f"extension {number}", RawClient(extensions={**default_extensions(), number: body})
    yield "all extensions", RawClient(extensions={**default_extensions(), **tickets})
    yield "session id", RawClient(session_id=bytes(range(32)))
    yield "guessed cookie", RawClient(cookie=bytes(16))
    yield "no suites", RawClient(extensions=None, suites=())
    yield "smallest", RawClient(extensions=None)
    yield "old version", RawClient(version=0xFEFF)
    yield "unknown suites", RawClient(suites=(0x0A0A, 0x1A1A))
    yield "renegotiation", RawClient(extensions={**default_extensions(), 0xFF01: b"\x0c" + bytes(12)})


PLACES = ["nobody", "a handshake", "a session"]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (place, name)
        for place in PLACES
        for name, _ in hostile_hellos()
        # What is no hello may be a piece of one: of a client that has shown its address, and asks for the flight again.
        if (place, name) != ("a handshake", "no suites")
    ],
)
def test_11_no_answer_is_larger_than_its_question_before_the_cookie(place: str, name: str) -> None:
    """On every path: whoever is known at that address, and whatever the hello promises (CVE-2022-2576)."""
    world, known = World(), RawClient(random=b"known".ljust(32, b"."))
    if place == "a handshake":
        world.reach_server_done(known)
    elif place == "a session":
        world.connect(known)
    client = dict(hostile_hellos())[name]
    for number in range(5):
        hello = client.hello()
        for datagram in (hello, hello + hello, hello[:-1], hello + known.record(22, b"x")):
            asked = len(datagram)
            assert sum(map(len, world.deliver(datagram))) <= asked, number
    assert len(world.endpoint._handshakes._by_number) == (1 if place == "a handshake" else 0)
    # What the operator is told of a loop of bad cookies is no handshake that failed.
    assert {event.reason.value for event in world.failures} <= {"cookie_loop"}


def test_11_no_answer_to_anything_but_a_hello() -> None:
    world, client = World(), RawClient()
    world.connect(client)
    for content_type in range(256):
        for epoch in (0, 1, 2):
            for body in (b"", b"\x01", b"\x02\x28", bytes(60)):
                if content_type == HANDSHAKE and epoch == 0:
                    continue
                assert world.deliver(raw_record(content_type, epoch << 48 | 5, body), source=STRANGER) == []
    assert world.endpoint.handshakes_in_progress == 0


# --- renegotiation (CVE-2009-3555, CVE-2021-3449, GnuTLS #1808) ------------------------------------------------------

RENEGOTIATIONS: dict[str, dict[int, bytes] | None] = {
    "as at first": default_extensions(),
    "with our verify data": {**default_extensions(), 0xFF01: b"\x0c" + bytes(12)},
    "without signature algorithms": {number: body for number, body in default_extensions().items() if number != 13},
    "signature algorithms without any": {**default_extensions(), 13: ext.encode_u16_list(())},
    "nothing": None,
}


@pytest.mark.parametrize("name", RENEGOTIATIONS)
@pytest.mark.parametrize("suite", [0xC0A8, 0xC0AE], ids=["psk", "certificate"])
def test_11_renegotiation_inside_a_session_is_refused_whatever_it_offers(suite: int, name: str) -> None:
    world, client = World(), client_for(suite)
    world.keys[b"dev2"] = PSK
    association = world.connect(client)
    keys, context = (association._read_key, association._write_key), association.context
    client.extensions = RENEGOTIATIONS[name]
    client.identity = b"dev2"
    hello = handshake(1, client.next_seq, client.hello_body())
    records = client.read(world.deliver(client.record(HANDSHAKE, hello, 1)))
    assert alerts(records) == [(1, 100)]
    exchange = handshake(16, client.next_seq + 1, b"\x00\x04dev2")
    assert world.deliver(client.record(HANDSHAKE, exchange, 1), client.record(20, b"\x01", 1)) == []
    assert (association._read_key, association._write_key) == keys
    assert association.context == context
    world.deliver(client.data(b"as before"))
    assert world.data == [b"as before"]
    assert world.endpoint.associations == {CLIENT: association}


# --- pre-shared keys (CVE-2026-42010) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "identity",
    [b"dev1\x00", b"dev1\x00x", b"\x00dev1", b"\x00", b"", b"\xff\xfe\xfd", b"dev1\xc0\x80", b"DEV1", b"dev1 ", b"de"],
    ids=repr,
)
def test_11_psk_identity_is_all_its_bytes(identity: bytes) -> None:
    """CVE-2026-42010: an identity was cut at its first NUL, and somebody else's key was looked up."""
    world, client = World(), RawClient(identity=identity)
    world.reach_server_done(client)
    client.read(world.deliver(*client.answer_flight()[:2]))
    assert [event.identity for event in world.events if hasattr(event, "identity")] == [identity]
    client.read(world.deliver(client.finished()))
    assert world.completed == []
    world = World()
    world.keys = {identity: PSK}
    world.connect(RawClient(identity=identity))
    assert world.completed[-1].facts.psk_identity == identity


@pytest.mark.parametrize("length", [1025, 16_000, 65_535])
def test_11_psk_identity_of_up_to_65535_bytes(length: int) -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    body = length.to_bytes(2, "big") + bytes(length)
    answers: list[bytes] = []
    for n, start in enumerate(range(0, len(body), 1000)):
        content = handshake(16, stage.client.next_seq, body, start, min(start + 1000, len(body)))
        answers += stage.world.deliver(raw_record(HANDSHAKE, 100 + n, content))
    ((level, _),) = alerts(stage.client.read(answers))
    assert level == 2
    assert stage.world.events == stage.world.failures
    assert stage.world.reason in ("decode_error", "handshake_too_large")


@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"\xff\xff", b"\xff\xffdev1", b"\x00\x03dev1", b"\x00\x05dev1"], ids=repr
)
def test_11_psk_identity_whose_length_lies(body: bytes) -> None:
    stage = stages.reach("psk", "ExpectPskKeyExchange")
    assert alerts(stage.client.read(stage.world.deliver(stage.client.message(16, body)))) == [(2, 50)]
    assert stage.world.events == stage.world.failures


# --- nonces (GHSA-9f3f-wv7r-qc8r, wolfSSL PR 11177) ------------------------------------------------------------------


@pytest.mark.pure("it watches the nonces by replacing a method of the engine")
@pytest.mark.parametrize("suite", SUITES, ids=hex)
def test_11_aead_sees_no_nonce_twice(suite: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the AEAD itself: over repetitions of the last flight, alerts, data, rest and a new handshake."""
    seen = watch_nonces(monkeypatch)
    world = World()
    for attempt in range(2):
        client = client_for(suite)
        client.random = bytes((attempt,)) * 32
        association = world.connect(client)
        for _ in range(20):
            world.advance(1.0)
            world.deliver(client.record(HANDSHAKE, client.transcript[-2], 1))
            world.deliver(client.record(HANDSHAKE, handshake(1, 9, client.hello_body()), 1))
            world.endpoint.send(association, b"data", world.now)
            world.collect()
            association.rest()
    world.endpoint.shut_down(world.now)
    assert len(seen) > 2 * 20 * 2


# --- spoofed records and the failure budget of an association --------------------------------------------------------

NO_FORGERIES: dict[str, Callable[[RawClient], bytes]] = {
    "a replay": lambda client: client.data(b"once"),
    "another epoch": lambda client: raw_record(23, 2 << 48, bytes(40)),
    "epoch 0": lambda client: raw_record(23, 5, bytes(40)),
    "too short for a tag": lambda client: raw_record(23, 1 << 48 | 50, bytes(15)),
    "another version": lambda client: raw_record(23, 1 << 48 | 50, bytes(40), 0xFEFF),
    "longer than a record": lambda client: raw_record(23, 1 << 48 | 50, bytes((1 << 14) + 60)),
    "cut off": lambda client: raw_record(23, 1 << 48 | 50, bytes(40))[:-1],
}


@pytest.mark.parametrize("name", NO_FORGERIES)
def test_11_record_that_is_no_forgery_costs_nothing_of_the_failure_budget(name: str) -> None:
    world, client = World(), RawClient()
    association = world.connect(client)
    datagram = NO_FORGERIES[name](client)
    world.deliver(datagram)
    before = len(world.data)
    for _ in range(50):
        assert world.deliver(datagram) == []
    assert association.authentication_failures == 0
    assert len(world.data) == before


def test_11_ten_thousand_forgeries_end_no_session() -> None:
    """An off-path attacker knows the address and sends what he can: nothing of it authenticates, nothing ends."""
    world, client = World(), RawClient()
    association = world.connect(client)
    world.deliver(client.data(b"before"))
    window = (association._newest, association._window, association.last_heard)
    for number in range(10_000):
        forged = raw_record(20 + number % 4, 1 << 48 | (number * 7919) % (1 << 40), bytes(30))
        world.endpoint.receive_datagram(forged, CLIENT, world.now)
    assert world.collect() == []
    assert (association._newest, association._window, association.last_heard) == window
    world.deliver(client.data(b"after"))
    assert world.data == [b"before", b"after"]
    assert world.closed == []


# --- points (invalid curve, low order) -------------------------------------------------------------------------------

POINTS = {
    "order 2: y is zero": point(5, 0),
    "x is zero": point(0, 0),
    "generator of the twist": point((P - 3) % P, 1),
    "y out of range": point(G.x, P + 1),
    "both out of range": point(P, P),
    "infinity of 65 bytes": b"\x00" + bytes(64),
    "infinity of one byte": b"\x00",
    "compressed": bytes((2,)) + G.x.to_bytes(32, "big"),
    "64 bytes": point(G.x, G.y)[:-1],
    "66 bytes": point(G.x, G.y) + b"\x00",
    "255 bytes": b"\x04" + bytes(254),
}


@pytest.mark.parametrize("name", POINTS)
def test_11_point_that_is_not_on_the_curve_ends_the_handshake(name: str) -> None:
    stage = stages.reach("certificate", "ExpectEcdheKeyExchange")
    body = bytes((len(POINTS[name]),)) + POINTS[name]
    assert alerts(stage.client.read(stage.world.deliver(stage.client.message(16, body)))) == [(2, 47)]
    assert stage.world.reason == "illegal_parameter"
    assert stage.world.endpoint.handshakes_in_progress == 0


@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff", b"\x41\x04", b"\x01\x04\x04"], ids=repr)
def test_11_point_whose_length_lies(body: bytes) -> None:
    stage = stages.reach("certificate", "ExpectEcdheKeyExchange")
    ((level, _),) = alerts(stage.client.read(stage.world.deliver(stage.client.message(16, body))))
    assert level == 2
    assert stage.world.endpoint.handshakes_in_progress == 0


# --- timing: no padding, no MAC-then-encrypt (CVE-2013-1619, CVE-2011-4108) ------------------------------------------


def test_11_every_suite_is_an_aead() -> None:
    """The Lucky 13 family needs CBC; what is not there cannot leak."""
    for suite in ENGINE_SUITES.values():
        for length in (16, 32):
            try:
                aead = suite.aead(bytes(length))
            except ValueError:
                continue
            assert isinstance(aead, AESCCM | AESGCM | ChaCha20Poly1305), suite.name
    source = "".join(path.read_text() for path in (Path(inspect.getfile(gateway)).parent / "dtls").rglob("*.py"))
    assert "modes.CBC" not in source
    # What is padded symmetrically; a server's RSA signature has a padding of its own.
    assert re.search(r"primitives(\.| import )padding|PKCS7|ANSIX923", source) is None


# --- a failure in one handshake does not stick to the next (CVE-2020-27222) ------------------------------------------


@pytest.mark.parametrize("kind", ["psk", "certificate"])
def test_11_hundred_failures_of_an_address_do_not_stick(kind: str) -> None:
    world = World()
    for number in range(100):
        client = RawClient() if kind == "psk" else certificate_client()
        client.random = number.to_bytes(32, "big")
        world.reach_server_done(client)
        world.deliver(client.message(99, b"x"))
    assert len(world.failures) == 100
    assert {**sizes(world.endpoint), "_settled": 0, "_timers": 0} == EMPTY
    world.connect(RawClient() if kind == "psk" else certificate_client())
