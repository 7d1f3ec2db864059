"""A program out of the fuzzer's bytes: what peers send to a server endpoint, what its shell answers, and how time goes.

The first byte chooses the suite of an honest handshake that is under way all the time. Each step is one byte that names
an action, followed by its arguments. An honest client hands out the next datagram of its handshake on demand, so that
mutations, repetitions, delays and forgeries happen in every state and not only in front of the gate. What the endpoint
must keep to whatever comes is checked after each step: see `Run.check` and `Run.finish`.
"""

from collections import Counter
from contextlib import suppress

from gateway.coap import Code, MessageLayer, Peer
from gateway.dtls import (
    Address,
    ApplicationData,
    Association,
    AssociationClosed,
    FailureReason,
    HandshakeCompleted,
    HandshakeError,
)
from gateway.dtls.messages import extensions as ext
from tests.dtls.kinds import FULL, client_of, kind_of
from tests.dtls.rawclient import (
    ECDHE_PSK_SUITES,
    ECDHE_RSA_SUITES,
    ECDHE_SUITES,
    PSK_SUITES,
    SUITES,
    RawClient,
    default_extensions,
    handshake,
    raw_record,
)
from tests.dtls.rawkeys import CLIENT_TYPE, RAW, SERVER_TYPE, X509
from tests.dtls.resuming import TICKET, ResumingWorld, returning
from tests.dtls.support import CLIENT, client_for

FIRST_SUITES = (0xC0A8, 0xC0A4, 0x00A8, 0xC0AE, 0xC0AC, 0xC02B)
LATER_SUITES = tuple(suite for suite in SUITES if suite not in FIRST_SUITES)
FIRST_LATER_SUITE = 0xC0
"""First bytes from here on name a suite that the engine did not have when the first corpus was kept."""
MAX_STEPS = 80
HANDSHAKE_TIMEOUT_S = 120.0
IDLE_TIMEOUT_S = 900.0
MAX_SESSIONS = 3
OTHERS: tuple[Address, ...] = (CLIENT, ("203.0.113.7", 5684), ("2001:db8::1", 5684, 0, 0))
STEPS_S = (0.0, 0.25, 1.0, 2.5, 31.0, 61.0, 125.0, 300.0)
CONTENT_TYPES = (20, 21, 22, 23, 24, 25, 0, 255)
VERSIONS = (0xFEFD, 0xFEFD, 0xFEFF, 0xFEFC, 0x0303, 0)
# What hellos carry beside what every client of ours says: names, sizes, certificate types, tickets, connection ids.
EXTENSIONS = (0, 1, 10, 11, 13, 16, 17, 19, 20, 22, 23, 28, 35, 53, 54, 61, 0xFF01)
CERTIFICATE_TYPES = (bytes((RAW,)), bytes((RAW, X509)), bytes((X509, RAW)), bytes((X509,)))
"""What a device with a raw public key lists, in order of preference (RFC 7250)."""
SUITES_OF = {
    "psk": tuple(PSK_SUITES),
    "ecdhe_psk": tuple(ECDHE_PSK_SUITES),
    "certificate": tuple(ECDHE_SUITES | ECDHE_RSA_SUITES),
    "raw_public_key": tuple(ECDHE_SUITES),
}
FIRST_STEP_OF_KINDS = 252
FIRST_STEP_OF_IDS = 254
FIRST_LATER_STEP = 240
"""Steps that were added after the first corpus was kept have the bytes from here on."""


class Program:
    """The bytes that are left. Runs out into zeros and never fails."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def byte(self) -> int:
        return self.take(1)[0]

    def word(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def take(self, count: int) -> bytes:
        taken = self._data[self._position : self._position + count]
        self._position += count
        return taken + bytes(count - len(taken))

    def text(self) -> bytes:
        """Bytes with their length in front; a length of 255 means all that is left."""
        length = self.byte()
        return self.take(len(self._data) - self._position) if length == 255 else self.take(length)


class Run:
    """One program on one endpoint.

    Attributes:
        world: The endpoint and its shell.
        client: The honest client whose datagrams are at hand.
        kinds: Handshakes that completed, by kind.
        delivered: Datagrams that the endpoint was given.
        source: Where it sends from.
    """

    def __init__(self, suite: int) -> None:
        self.world = ResumingWorld(
            handshake_timeout_s=HANDSHAKE_TIMEOUT_S,
            idle_timeout_s=IDLE_TIMEOUT_S,
            max_handshakes=2,
            max_associations=2,
            max_sessions=MAX_SESSIONS,
        )
        self.client = client_for(suite)
        self.kinds = Counter[str]()
        self.source = CLIENT
        self.delivered = 0
        self._suite = suite
        self._stage = 0
        self._clients: dict[int, RawClient] = {}
        self._flight: list[bytes] = []
        self._sent: list[bytes] = []
        self._held: list[bytes] = []
        self._contents = Counter[bytes]()
        self._cookies: set[tuple[Address, bytes]] = set()
        self._finished: list[bytes] = []
        self._alive: list[Association] = []
        self._layer = MessageLayer(random=lambda count: bytes(count))
        self._peers: dict[int, Peer] = {}
        self._drops = 0

    # --- the honest client -----------------------------------------------------------------------------------------

    def next_datagram(self) -> bytes:
        """The next one of an honest handshake, then application data."""
        self._clients[id(self.client)] = self.client
        if self._flight:
            return self._flight.pop(0)
        if self._stage == 0 or (self._stage == 1 and not self.client.cookie):
            self._stage = 1
            return self.client.hello()
        if self._stage == 1:
            self._stage = 2
            return self.client.hello()
        if self._stage == 2 and self.client.resuming and self.client.server_finished_verified:
            self._stage = 3
            self._flight = [self.client.change_cipher_spec(), self.client.finished()]
            self._finished.append(self._flight[-1])
            return self._flight.pop(0)
        if self._stage == 2 and any(kind == 14 for kind, _, _ in self.client.messages):
            self._stage = 3
            try:
                self._flight = self.client.answer_flight()
                self._finished.append(self._flight[-1])
            except Exception:  # it did not understand what it got, and begins anew
                self._stage = 0
                return self.client.hello()
            return self._flight.pop(0)
        if self._stage == 3 and self.client.write_keys is not None:
            return self.data(b"\x40\x02" + len(self._sent).to_bytes(2, "big"))
        return self.client.hello()

    def data(self, content: bytes) -> bytes:
        self._contents[content] += 1
        return self.client.data(content)

    def expect(self, content_type: int, content: bytes) -> None:
        """What a protected record of the client may deliver."""
        if self.client.server_cid:  # RFC 9146 section 4: content, real type, zeros
            inner = (content + bytes((content_type,))).rstrip(b"\0")
            content_type, content = (inner[-1], inner[:-1]) if inner else (0, b"")
        if content_type == 23:
            self._contents[content] += 1

    # --- steps -----------------------------------------------------------------------------------------------------

    def step(self, program: Program) -> None:
        steps = (
            self.honest,
            self.honest,
            self.flipped,
            self.cut,
            self.again,
            self.hold,
            self.release,
            self.anything,
            self.wait,
            self.plain_record,
            self.protected_record,
            self.split_message,
            self.shell,
            self.two_in_one,
            self.restart,
            self.behind_junk,
        )
        later = (
            self.any_record,
            self.offers,
            self.any_message,
            self.empty_records,
            self.asks_for_ticket,
            self.comes_back,
            self.verdict,
            self.clock,
        )
        number = program.byte()
        if number >= FIRST_STEP_OF_IDS:
            (self.asks_for_connection_id, self.moves)[number - FIRST_STEP_OF_IDS](program)
        elif number >= FIRST_STEP_OF_KINDS:
            (self.comes_back_with_an_id, self.another_kind)[number - FIRST_STEP_OF_KINDS](program)
        elif number >= FIRST_LATER_STEP:
            later[number % len(later)](program)
        else:
            steps[number % len(steps)](program)

    def honest(self, program: Program) -> None:
        self.deliver(self.next_datagram())

    def flipped(self, program: Program) -> None:
        datagram = bytearray(self.next_datagram())
        for _ in range(1 + program.byte() % 4):
            datagram[program.word() % len(datagram)] ^= program.byte()
        self.deliver(bytes(datagram))

    def cut(self, program: Program) -> None:
        datagram = self.next_datagram()
        self.deliver(datagram[: program.word() % len(datagram)])

    def again(self, program: Program) -> None:
        """Anything that was sent before, from anywhere."""
        if self._sent:
            self.deliver(self._sent[program.byte() % len(self._sent)], OTHERS[program.byte() % 3])

    def hold(self, program: Program) -> None:
        self._held.append(self.next_datagram())

    def release(self, program: Program) -> None:
        if self._held:
            self.deliver(self._held.pop(program.byte() % len(self._held)))

    def anything(self, program: Program) -> None:
        self.deliver(program.text(), OTHERS[program.byte() % 3])

    def wait(self, program: Program) -> None:
        self.advance(STEPS_S[program.byte() % len(STEPS_S)])

    def two_in_one(self, program: Program) -> None:
        self.deliver(self.next_datagram() + self.next_datagram())

    def behind_junk(self, program: Program) -> None:
        self.deliver(program.text() + self.next_datagram())

    def restart(self, program: Program) -> None:
        """The device forgets everything, and perhaps comes from another address."""
        self.client = client_for(self._suite)
        self.client.random = program.take(32)
        self.source = OTHERS[program.byte() % 3]
        self._stage, self._flight = 0, []

    def plain_record(self, program: Program) -> None:
        """A record of epoch 0 with a handshake fragment that says anything about itself."""
        content_type, kind, seq = CONTENT_TYPES[program.byte() % 8], program.byte() % 24, program.byte() % 8
        body = program.text()
        start, total = program.byte(), len(body) + program.byte()
        fragment = bytes((kind,)) + total.to_bytes(3, "big") + seq.to_bytes(2, "big") + start.to_bytes(3, "big")
        fragment += len(body).to_bytes(3, "big") + body
        number = program.word()
        source = OTHERS[program.byte() % 3] if program.byte() & 1 else self.source
        self.deliver(raw_record(content_type, number, fragment if content_type == 22 else body), source)

    def protected_record(self, program: Program) -> None:
        """A record that authenticates, with any content: what only a peer with the keys can send."""
        content_type, content = CONTENT_TYPES[program.byte() % 8], program.text()
        if self.client.write_keys is None:
            return
        if content_type == 22 and program.byte() & 1:
            content = handshake(program.byte() % 24, program.byte(), content)
        self.expect(content_type, content)
        sequence = program.word() if program.byte() & 1 else None
        self.deliver(self.client.record(content_type, content, 1, sequence))

    def any_record(self, program: Program) -> None:
        """A record of any type, version and epoch; protected with the client's keys if that makes sense."""
        content_type, version = program.byte(), VERSIONS[program.byte() % len(VERSIONS)]
        epoch, sequence, content = program.byte() % 4, program.word(), program.text()
        if epoch == 1 and program.byte() & 1 and self.client.write_keys is not None:
            if version == 0xFEFD or self.client.server_cid:
                self.expect(content_type, content)
            self.deliver(self.client.record(content_type, content, 1, sequence, version))
            return
        number = epoch << 48 | (sequence << 32 if program.byte() & 1 else sequence)
        self.deliver(raw_record(content_type, number, content, version), OTHERS[program.byte() % 3])

    def offers(self, program: Program) -> None:
        """The device begins anew, with other extensions than it had: known ones with any body, and unknown ones."""
        self.restart(program)
        offered = dict(default_extensions() if program.byte() & 1 else {})
        for _ in range(program.byte() % 5):
            which = program.byte()
            number = EXTENSIONS[which % len(EXTENSIONS)] if which < 250 else program.word()
            offered[number] = program.text()
        self.client.extensions = offered
        self.client.session_id = program.take(program.byte() % 33)

    def asks_for_ticket(self, program: Program) -> None:
        self.restart(program)
        self.client.extensions = {**default_extensions(), TICKET: b""}

    def asks_for_connection_id(self, program: Program) -> None:
        self.restart(program)
        self.client.cid = program.take(program.byte() % 9)
        self.client.path_check = bool(program.byte() & 1)

    def another_kind(self, program: Program) -> None:
        """A device that proves itself in another way than the one before, and asks for one thing or another."""
        self.restart(program)
        method, flags = FULL[program.byte() % len(FULL)], program.byte()
        suites = SUITES_OF[method]
        self.client = client_of(
            method,
            suite=suites[program.byte() % len(suites)],
            tickets=bool(flags & 1),
            cid=program.take(program.byte() % 9) if flags & 2 else None,
            path_check=bool(flags & 4),
            random=self.client.random,
        )
        extensions = self.client.extensions or {}
        if CLIENT_TYPE in extensions:
            theirs, ours = CERTIFICATE_TYPES[flags >> 3 & 3], CERTIFICATE_TYPES[flags >> 5 & 3]
            extensions[CLIENT_TYPE], extensions[SERVER_TYPE] = (bytes((len(each),)) + each for each in (theirs, ours))
        if self.client.suites[0] in ECDHE_RSA_SUITES:
            extensions[13] = ext.encode_u16_list((0x0804, 0x0403))

    def moves(self, program: Program) -> None:
        """The device goes on from another address, as behind a NAT that has forgotten it."""
        self.source = OTHERS[program.byte() % len(OTHERS)]

    def comes_back(self, program: Program) -> None:
        """The device offers the session that it had: its id or its ticket, as it was or changed."""
        before = self.client
        if before.server_hello is None or not before.master:
            return
        self.restart(program)
        self.client = returning(before, random=program.take(32))
        if program.byte() & 1 and self.client.ticket:
            changed = bytearray(self.client.ticket)
            changed[program.byte() % len(changed)] ^= program.byte()
            self.client.extensions = {**(self.client.extensions or {}), TICKET: bytes(changed)}
        elif program.byte() & 1:
            suites = FIRST_SUITES + LATER_SUITES
            self.client.suites = (suites[program.byte() % len(suites)],)

    def comes_back_with_an_id(self, program: Program) -> None:
        """The same, and asks for a connection id too."""
        before = self.client
        self.comes_back(program)
        if self.client is not before:
            self.client.cid = program.take(program.byte() % 9)

    def verdict(self, program: Program) -> None:
        """Of the shell on a session to be resumed: at any time, for any handshake."""
        endpoint, number = self.world.endpoint, program.byte() % 8
        self.world.welcome = bool(program.byte() & 1)
        endpoint.resumption_verdict(number, bool(program.byte() & 1), self.world.now, context=b"verdict")
        self.collect()

    def clock(self, program: Program) -> None:
        """The time of day jumps, back too."""
        self.world.clock.now += (program.word() - 0x4000) * 10.0

    def any_message(self, program: Program) -> None:
        """The message that is due by its number, of any type and content, whole, in the epoch that is read."""
        kind, body = program.byte(), program.text()
        epoch = 1 if program.byte() & 1 and self.client.write_keys is not None else 0
        self.deliver(self.client.record(22, handshake(kind, self.client.next_seq, body), epoch))

    def empty_records(self, program: Program) -> None:
        """Many records with nothing in them, in one datagram."""
        content_type, count = CONTENT_TYPES[program.byte() % 8], 1 + program.byte() % 64
        self.deliver(raw_record(content_type, program.word(), b"") * count)

    def split_message(self, program: Program) -> None:
        """A ClientHello in pieces that may overlap, leave gaps, and come in any order."""
        body = self.client.hello_body()
        seq = self.client.next_seq
        for _ in range(1 + program.byte() % 6):
            start = program.word() % len(body)
            stop = min(len(body), start + 1 + program.byte())
            self.deliver(self.client.record(22, handshake(1, seq, body, start, stop)))

    def shell(self, program: Program) -> None:
        """Answers that come late, twice, or for nobody; orders at the wrong time."""
        endpoint, now = self.world.endpoint, self.world.now
        match program.byte() % 6:
            case 0:
                self.world.answering = not self.world.answering
            case 1:
                endpoint.provide_psk(program.byte() % 8, bytes(16), now, context=b"guess")
            case 2:
                endpoint.provide_psk(program.byte() % 8, None, now)
            case 3:
                endpoint.certificate_verdict(program.byte() % 8, None, now, context=b"verdict")
            case 4:
                refusal = HandshakeError(FailureReason.UNKNOWN_ROOT, "fuzz")
                endpoint.certificate_verdict(program.byte() % 8, refusal, now)
            case _:
                for association in endpoint.all_associations():
                    endpoint.close(association, now)
                if program.byte() & 1:
                    endpoint.shut_down(now)
        self.collect()

    def deliver(self, datagram: bytes, source: Address | None = None) -> None:
        endpoint, source = self.world.endpoint, source or self.source
        verified = endpoint.counters.hello_verify_valid
        known = source in endpoint.associations or bool(endpoint.handshakes_in_progress or endpoint.associations_by_id)
        self._sent.append(datagram)
        self.delivered += 1
        endpoint.receive_datagram(datagram, source, self.world.now)
        answers = self.collect()
        if not known and endpoint.counters.hello_verify_valid == verified:
            # RFC 6347 section 4.2.1: no more than was sent goes to an address that has shown nothing.
            assert sum(len(answer) for answer, _ in answers) <= len(datagram)
            assert {address for _, address in answers} <= {source}
        if endpoint.counters.hello_verify_valid > verified:
            assert any(address == source and cookie in datagram for address, cookie in self._cookies)
        for answer, address in answers:
            if answer[0] == 22 and answer[13] == 3:  # HelloVerifyRequest: 12 bytes of header, version, length, cookie
                self._cookies.add((address, answer[28:]))
        self.read(answers)

    def advance(self, seconds: float) -> None:
        until = self.world.now + seconds
        for _ in range(1000):
            timer = self.world.endpoint.next_timer()
            if timer is None or timer > until:
                break
            self.world.now = max(self.world.now, timer)
            self.world.endpoint.handle_timer(self.world.now)
            self.read(self.collect())
        else:
            raise AssertionError("the timer does not move")
        self.world.now = until

    def read(self, answers: list[tuple[bytes, Address]]) -> None:
        """The honest client reads what is for it, and understands only its own handshake."""
        for answer, address in answers:
            if address == self.source:
                with suppress(Exception):
                    self.client.read([answer])

    # --- what must hold --------------------------------------------------------------------------------------------

    def collect(self) -> list[tuple[bytes, Address]]:
        """Does the shell's work; returns what is to be sent."""
        world = self.world
        while (event := world.endpoint.next_event()) is not None:
            world.events.append(event)
            if world.answering:
                world.answer(event)
            match event:
                case HandshakeCompleted():
                    assert event.association.context not in (None, b"guess")
                    assert any(finished in datagram for datagram in self._sent for finished in self._finished)
                    self._alive.append(event.association)
                    self.kinds[self.kind(event)] += 1
                case AssociationClosed():
                    assert event.association in self._alive
                    self._alive.remove(event.association)
                case ApplicationData():
                    self.application_data(event)
                case _:
                    pass
        sent = world.endpoint.datagrams_to_send()
        assert all(datagram for datagram, _ in sent)
        return sent

    def kind(self, event: HandshakeCompleted) -> str:
        """What kind it was, by the client that has its keys."""
        (owner,) = (client for client in self._clients.values() if has_keys_of(client, event.association))
        return kind_of(owner, event)

    def application_data(self, event: ApplicationData) -> None:
        """What arrives was sent, once, by who had the keys; and CoAP makes what it can of it."""
        assert self._contents[event.data] > 0
        self._contents[event.data] -= 1
        peer = self._peers.setdefault(id(event.association), Peer())
        message = self._layer.receive(peer, event.data, self.world.now)
        if message is not None:
            answer = self._layer.reply(peer, message, Code.CHANGED, [], b"", self.world.now)
            self.world.endpoint.send(event.association, answer, self.world.now)
        for _, datagram in self._layer.datagrams_to_send():
            self.world.endpoint.send(event.association, datagram, self.world.now)

    def check(self) -> None:
        endpoint = self.world.endpoint
        assert set(endpoint.all_associations()) == set(self._alive)
        assert len(self._alive) == endpoint.association_count <= self.world.config.max_associations
        assert endpoint.handshakes_in_progress <= self.world.config.max_handshakes
        assert self.world.kept <= MAX_SESSIONS
        drops = sum(endpoint.counters.drops.values())
        assert drops >= self._drops
        self._drops = drops

    def finish(self) -> None:
        """Everything ends: each handshake by its time limit, each association by its silence. Then nothing is left."""
        self.advance(HANDSHAKE_TIMEOUT_S + IDLE_TIMEOUT_S + 600.0)
        self.check()
        assert self.world.endpoint.handshakes_in_progress == 0
        assert not self._alive
        assert self.world.endpoint.next_timer() is None


def has_keys_of(client: RawClient, association: Association) -> bool:
    return client.write_keys is not None and client.write_keys.key == association._read_key


def suite_of(byte: int) -> int:
    suites = FIRST_SUITES if byte < FIRST_LATER_SUITE else LATER_SUITES
    return suites[byte % len(suites)]


def run(data: bytes) -> Run:
    """Runs a program.

    Raises:
        AssertionError: The endpoint broke one of its promises. Any other exception is as bad.
    """
    program = Program(data)
    run = Run(suite_of(program.byte()))
    for _ in range(MAX_STEPS):
        if not program:
            break
        run.step(program)
        run.check()
    run.finish()
    return run
