"""The endpoint between three clients, an attacker who can write any address, a slow shell and a clock: a state machine.

The clients prove themselves in every way that there is, come back with tickets and session ids, and have connection ids
or none; the long form fails if it does not complete every kind of handshake while everything else goes on.

After each step the promises of the engine are checked: every container within its bound, no answer before the cookie
larger than its question, window and address moved by authenticated records alone, no nonce twice under one key, one
outcome a handshake, no session ended by anybody without its keys, nothing delivered that was not sent.
"""

from collections import Counter
from contextlib import suppress
from hashlib import sha256
from itertools import count
from operator import attrgetter
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.dtls import (
    Address,
    ApplicationData,
    Association,
    AssociationClosed,
    CertificatePresented,
    FailureReason,
    HandshakeCompleted,
    HandshakeError,
    HandshakeFailed,
    PskRequested,
    RawPublicKeyPresented,
    ResumptionRequested,
)
from gateway.dtls.crypto import signature
from gateway.dtls.limits import MAX_EARLY_RECORDS, MAX_REASSEMBLY_BYTES, MAX_SETTLED, TIMER_SLACK
from tests.dtls.kinds import FULL, KINDS, RESUMED, WITH_ID, client_of, kind_of
from tests.dtls.nonces import watch_nonces
from tests.dtls.rawclient import HANDSHAKE, RawClient, handshake, raw_record
from tests.dtls.rawkeys import RpkClient, spki
from tests.dtls.resuming import ResumingWorld, returning
from tests.dtls.support import PSK, device

CLIENTS = 3
SUITES = {
    "psk": (0xC0A8, 0x00A8),
    "ecdhe_psk": (0xD003, 0xCCAC),
    "certificate": (0xC0AE, 0xC02B),
    "raw_public_key": (0xC0AE, 0xC02C),
}
MAX_HANDSHAKES = 2
MAX_ASSOCIATIONS = 2
MAX_SESSIONS = 2
LONGEST_HANDSHAKE = 9
"""Datagrams of an honest client, from its first hello to the data behind its Finished."""
STEPS_S = (0.0, 0.25, 1.0, 3.0, 30.0, 61.0, 121.0, 250.0, 1000.0)

which = st.integers(0, CLIENTS - 1)
methods = st.sampled_from(FULL)
cids = st.sampled_from([None, b"", b"id"])
devices = st.tuples(methods, cids, st.booleans(), st.integers(0, 1), st.booleans())
"""Proof, connection id, whether it has tickets, which of its suites, whether it was here before."""
sequences = st.integers(0, 80) | st.sampled_from([1 << 32, (1 << 48) - 1])


Question = PskRequested | CertificatePresented | RawPublicKeyPresented | ResumptionRequested


class Party:
    """A client: what it is about to send, and what it has sent."""

    def __init__(self, number: int, client: RawClient, source: Address) -> None:
        self.number = number
        self.client = client
        self.source = source
        self.queue: list[bytes] = []
        self.flight_sent = False
        self.contents: Counter[bytes] = Counter()
        self.count = 0

    def next_datagram(self) -> bytes:
        """The next step of an honest client."""
        client = self.client
        if self.queue:
            return self.queue.pop(0)
        if not client.cookie or client.server_hello is None:
            return client.hello()
        if client.resuming and client.server_finished_verified and not self.flight_sent:
            self.flight_sent = True
            self.queue = [client.change_cipher_spec(), client.finished()]
            return self.queue.pop(0)
        done = any(kind == 14 for kind, _, _ in client.messages)
        if done and not self.flight_sent:
            self.flight_sent = True
            with suppress(AssertionError):  # it heard what was for another client at its address
                self.queue = client.answer_flight()
                return self.queue.pop(0)
        if client.write_keys is None or not self.flight_sent:
            return client.hello()
        self.count += 1
        return self.data(b"%d %d" % (self.number, self.count))

    def data(self, content: bytes) -> bytes:
        self.contents[content] += 1
        return self.client.data(content)


class EndpointMachine(RuleBasedStateMachine):
    """Attributes:
    reached: Handshakes that completed in all runs while anything could happen, by kind.
    """

    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.world = ResumingWorld(
            max_handshakes=MAX_HANDSHAKES,
            max_associations=MAX_ASSOCIATIONS,
            max_sessions=MAX_SESSIONS,
            idle_timeout_s=900.0,
        )
        self.world.keys = {b"dev%d" % number: PSK for number in range(CLIENTS)}
        self.randoms = 0
        self.disturbed = True
        self.parties = [self.fresh(number, FULL[number], number) for number in range(CLIENTS)]
        self.everybody = list(self.parties)
        self.sent: list[tuple[bytes, Address]] = []
        self.questions: list[Question] = []
        self.outcomes: Counter[int] = Counter()
        self.asked = 0
        self.owner: dict[Association, Party] = {}
        self.closed: set[Association] = set()
        self.may_end: set[str] = set()
        self.delivered: Counter[tuple[int, bytes]] = Counter()
        self.patch = pytest.MonkeyPatch()
        watch_nonces(self.patch)
        self.repeatable_keys()

    def repeatable_keys(self) -> None:
        """Ephemeral keys and signatures that are the same when hypothesis repeats a run.

        A signature is a byte longer or shorter otherwise, and with it a datagram, what an address may get for it, and
        so the number of datagrams.
        """
        made = count(1)

        def derive(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
            return ec.derive_private_key(next(made), curve)

        self.patch.setattr(ec, "generate_private_key", derive)
        for scheme, algorithm in signature._ECDSA.items():
            repeatable = ec.ECDSA(algorithm.algorithm, deterministic_signing=True)
            self.patch.setitem(signature._ECDSA, scheme, repeatable)

    def teardown(self) -> None:
        self.patch.undo()
        self.world.answering = True
        self.may_end = {"idle", "close_notify"}
        self.pass_time(3000.0)
        endpoint = self.world.endpoint
        assert endpoint.handshakes_in_progress == 0
        assert endpoint.all_associations() == []
        assert endpoint.associations == {}
        assert endpoint.next_timer() is None
        assert endpoint._delivery.lingering == {}

    def fresh(
        self, number: int, method: str, port: int, cid: bytes | None = None, tickets: bool = False, suite: int = 0
    ) -> Party:
        client = client_of(
            method,
            suite=SUITES[method][suite],
            tickets=tickets,
            identity=b"dev%d" % number,
            random=self.random(),
            cid=cid,
            path_check=cid == b"id",
        )
        return Party(number, client, ("192.0.2.1", 40_000 + port))

    def random(self) -> bytes:
        self.randoms += 1
        return self.randoms.to_bytes(32, "big")

    def replace(self, party: Party) -> None:
        self.parties[party.number] = party
        self.everybody.append(party)

    # --- what happens ----------------------------------------------------------------------------------------------

    @initialize(devices=st.lists(devices, min_size=CLIENTS, max_size=CLIENTS))
    def begins(self, devices: list[tuple[str, bytes | None, bool, int, bool]]) -> None:
        """Some devices are new, and some have a session from before, which they are about to resume."""
        self.disturbed = False
        for number, (method, cid, tickets, suite, was_here) in enumerate(devices):
            self.restart(number, method, number, cid, tickets, suite)
            if was_here:
                self.all_the_way(number)
                self.back_again(self.parties[number], number, cid)
        self.disturbed = True

    @rule(number=which)
    def honest(self, number: int) -> None:
        party = self.parties[number]
        self.give(party.next_datagram(), party.source, by=party)

    @rule(number=which, count=st.integers(2, 12))
    def honest_for_a_while(self, number: int, count: int) -> None:
        for _ in range(count):
            self.honest(number)

    @rule(number=which)
    def all_the_way(self, number: int) -> None:
        """A handshake that nobody disturbs, nor a slow shell; it may have begun before."""
        answering, self.world.answering = self.world.answering, True
        self.honest_for_a_while(number, LONGEST_HANDSHAKE)
        self.world.answering = answering

    @rule(number=which)
    def out_of_order(self, number: int) -> None:
        """The next two datagrams change places."""
        party = self.parties[number]
        first, second = party.next_datagram(), party.next_datagram()
        self.give(second, party.source, by=party)
        self.give(first, party.source, by=party)

    @rule(number=which)
    def lost(self, number: int) -> None:
        self.sent.append((self.parties[number].next_datagram(), self.parties[number].source))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), elsewhere=st.booleans())
    def replayed(self, data: st.DataObject, elsewhere: bool) -> None:
        """Anything that was ever sent, from where it came or from the address of another."""
        datagram, source = data.draw(st.sampled_from(self.sent))
        if elsewhere:
            source = self.parties[data.draw(which)].source
        # It may be what the address's owner sent and the network lost, so that it may count for the first time.
        self.give(datagram, source, by=None, keys=True)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), position=st.integers(0, 300), flip=st.integers(1, 255))
    def mutated(self, data: st.DataObject, position: int, flip: int) -> None:
        datagram, source = data.draw(st.sampled_from(self.sent))
        changed = bytearray(datagram)
        changed[position % len(changed)] ^= flip
        self.give(bytes(changed), source, by=None)

    @rule(number=which, kind=st.sampled_from([20, 21, 22, 23, 24, 25, 27]), epoch=st.integers(0, 3), at=sequences,
          content=st.binary(max_size=60))  # fmt: skip
    def spoofed(self, number: int, kind: int, epoch: int, at: int, content: bytes) -> None:
        """An attacker without keys or cookie, who writes a client's address as his own."""
        self.give(raw_record(kind, epoch << 48 | at, content), self.parties[number].source, by=None)

    @rule(number=which, kind=st.sampled_from([0, 1, 2, 11, 14, 15, 16, 20, 99]), seq=st.integers(0, 6), at=sequences,
          body=st.binary(max_size=50), extra=st.integers(0, 40), start=st.integers(0, 40))  # fmt: skip
    def spoofed_message(self, number: int, kind: int, seq: int, at: int, body: bytes, extra: int, start: int) -> None:
        header = bytes((kind,)) + (len(body) + extra).to_bytes(3, "big") + seq.to_bytes(2, "big")
        fragment = header + start.to_bytes(3, "big") + len(body).to_bytes(3, "big") + body
        self.give(raw_record(HANDSHAKE, at, fragment), self.parties[number].source, by=None)

    @rule(number=which, content=st.sampled_from([b"\x02\x28", b"\x01\x00", b"\x01\x5a", b"\x02\x0a"]), at=sequences)
    def spoofed_alert(self, number: int, content: bytes, at: int) -> None:
        self.give(raw_record(21, at, content), self.parties[number].source, by=None)

    @rule(number=which, kind=st.sampled_from([1, 11, 15, 16, 20, 99]), body=st.binary(max_size=20))
    def illegal(self, number: int, kind: int, body: bytes) -> None:
        """A client that sends a message of its own choice under the number that is due."""
        party = self.parties[number]
        client = party.client
        epoch = 1 if client.write_keys is not None and client.next_number[1] else 0
        content = handshake(kind, client.next_seq, body)
        self.give(client.record(HANDSHAKE, content, epoch), party.source, by=party)

    @rule(number=which, content=st.sampled_from([b"\x01\x00", b"\x02\x28", b"\x01\x5a", b"\x01"]))
    def protected_alert(self, number: int, content: bytes) -> None:
        party = self.parties[number]
        if party.client.write_keys is not None:
            self.give(party.client.record(21, content, 1), party.source, by=party)

    @rule(number=which, ahead=st.integers(1, 200))
    def skips_numbers(self, number: int, ahead: int) -> None:
        self.parties[number].client.next_number[1] += ahead

    @rule(number=which, port=st.integers(0, 5))
    def moves(self, number: int, port: int) -> None:
        """A network gives a device another address; a session without a connection id stays where it was."""
        self.parties[number].source = ("192.0.2.1", 40_000 + port)

    @rule(number=which, method=methods, port=which, cid=cids, tickets=st.booleans(), suite=st.integers(0, 1))
    def restart(self, number: int, method: str, port: int, cid: bytes | None, tickets: bool, suite: int) -> None:
        """A device forgets everything, and may come back from an address that another one had."""
        self.replace(self.fresh(number, method, port, cid, tickets, suite))

    @precondition(lambda self: any(party.client.server_finished_verified for party in self.parties))
    @rule(data=st.data(), port=which, cid=cids)
    def comes_back(self, data: st.DataObject, port: int, cid: bytes | None) -> None:
        """A device slept, and has kept its session: the ticket, or the id."""
        asleep = [party for party in self.parties if party.client.server_finished_verified]
        self.back_again(data.draw(st.sampled_from(asleep)), port, cid)

    def back_again(self, before: Party, port: int, cid: bytes | None) -> None:
        client = returning(before.client, random=self.random(), cid=cid, path_check=cid == b"id")
        self.replace(Party(before.number, client, ("192.0.2.1", 40_000 + port)))

    @rule(number=which)
    def comes_back_with_another_secret(self, number: int) -> None:
        """Who has seen a ticket, or an id, does not have the secret of the session."""
        before = self.parties[number].client
        if before.server_finished_verified:
            client = returning(before, random=self.random(), resuming=bytes(48), psk=bytes(16))
            self.replace(Party(number, client, self.parties[number].source))

    @rule(number=which, psk=st.booleans(), method=st.sampled_from(["psk", "ecdhe_psk"]))
    def wrong_credential(self, number: int, psk: bool, method: str) -> None:
        party = self.fresh(number, method, number)
        party.client.psk = bytes(16) if psk else PSK
        party.client.identity = b"dev%d" % number if psk else b"nobody\x00\xff"
        self.replace(party)

    @rule(seconds=st.sampled_from(STEPS_S))
    def wait(self, seconds: float) -> None:
        self.may_end = {"idle"}
        self.pass_time(seconds)

    @rule()
    def the_shell_is_slow(self) -> None:
        self.world.answering = not self.world.answering

    @precondition(lambda self: self.questions)
    @rule(data=st.data(), good=st.booleans())
    def late_answer(self, data: st.DataObject, good: bool) -> None:
        """To any question there ever was: late, twice, or after the end."""
        self.answer(data.draw(st.sampled_from(self.questions)), good)

    def answer(self, question: Question, good: bool) -> None:
        endpoint, now = self.world.endpoint, self.world.now
        self.may_end = {"superseded", "evicted"}  # the client's Finished may have come long ago
        if good:
            self.world.answer(question)
        elif isinstance(question, ResumptionRequested):
            endpoint.resumption_verdict(question.handshake, False, now)
        elif isinstance(question, PskRequested):
            endpoint.provide_psk(question.handshake, None, now)
        else:
            endpoint.certificate_verdict(question.handshake, HandshakeError(FailureReason.UNKNOWN_ROOT), now)
        self.collect()

    @precondition(lambda self: self.questions)
    @rule(data=st.data())
    def answer_to_another_question(self, data: st.DataObject) -> None:
        """Of the kind that was not asked: it changes nothing."""
        question, endpoint, now = data.draw(st.sampled_from(self.questions)), self.world.endpoint, self.world.now
        if not isinstance(question, PskRequested):
            endpoint.provide_psk(question.handshake, PSK, now, context=b"not asked")
        if not isinstance(question, CertificatePresented | RawPublicKeyPresented):
            endpoint.certificate_verdict(question.handshake, None, now, context=b"not asked")
        if not isinstance(question, ResumptionRequested):
            endpoint.resumption_verdict(question.handshake, True, now, context=b"not asked")
        self.collect()

    @rule(number=which)
    def send(self, number: int) -> None:
        for association in self.world.endpoint.all_associations():
            self.world.endpoint.send(association, b"%d" % number, self.world.now)
        self.collect()

    @precondition(lambda self: self.world.endpoint.association_count)
    @rule(data=st.data())
    def closed_here(self, data: st.DataObject) -> None:
        self.may_end = {"local"}
        association = data.draw(st.sampled_from(self.world.endpoint.all_associations()))
        self.world.endpoint.close(association, self.world.now)
        self.collect()

    # --- the shell and the network ---------------------------------------------------------------------------------

    def give(self, datagram: bytes, source: Address, *, by: Party | None, keys: bool = False) -> None:
        """A datagram arrives.

        Args:
            datagram: As it is.
            source: Where it says that it comes from.
            by: The client that made it; None for an attacker.
            keys: Whether some record in it may authenticate although an attacker sends it: it is a copy.
        """
        world, endpoint = self.world, self.world.endpoint
        if by is not None:
            self.sent.append((datagram, source))
        genuine = by is not None or keys
        self.may_end = {"close_notify", "alert", "superseded", "evicted"} if genuine else set()
        waiting = endpoint._handshakes.at(source)
        if waiting is not None and waiting._early:  # the Finished is here, and the mark between the epochs has no keys
            self.may_end |= {"superseded", "evicted"}
        before = {each: (each._newest, each._window, each.address) for each in endpoint.all_associations()}
        known = source in endpoint.associations or source in endpoint._handshakes or (genuine and bool(before))
        valid = endpoint.counters.hello_verify_valid
        endpoint.receive_datagram(datagram, source, world.now)
        answers = self.collect()
        assert {address for _, address in answers} <= {source} | (
            {each.address for each in before} if genuine else set()
        )
        if not known and endpoint.counters.hello_verify_valid == valid:
            assert sum(len(answer) for answer, _ in answers) <= len(datagram)
        for association, state in before.items():
            if not genuine or (not association.cid and association.address != source):
                assert (association._newest, association._window, association.address) == state

    def collect(self) -> list[tuple[bytes, Address]]:
        world = self.world
        while (event := world.endpoint.next_event()) is not None:
            world.events.append(event)
            self.on_event(event)
            if world.answering:
                world.answer(event)
        sent = world.endpoint.datagrams_to_send()
        for datagram, address in sent:
            for party in self.parties:
                if party.source == address:
                    with suppress(Exception):  # it understands only what is for its own handshake
                        party.client.read([datagram])
        return sent

    def on_event(self, event: object) -> None:
        match event:
            case PskRequested() | CertificatePresented() | RawPublicKeyPresented() | ResumptionRequested():
                self.asked += 1
                self.questions.append(event)
            case HandshakeCompleted():
                self.outcomes[id(event.facts)] += 1
                (owner,) = [party for party in self.everybody if self.keys_of(party) == event.association._read_key]
                assert owner.client.psk == PSK or not owner.client.with_key
                kind = kind_of(owner.client, event)
                assert event.association.context in self.proven_by(owner.client)
                self.owner[event.association] = owner
                self.reached[kind] += self.disturbed
            case HandshakeFailed(reason=FailureReason.COOKIE_LOOP):
                pass  # a report of hellos that never got as far as a handshake
            case HandshakeFailed():
                self.outcomes[id(event.facts)] += 1
            case AssociationClosed():
                assert event.association not in self.closed
                self.closed.add(event.association)
                assert event.reason in self.may_end, f"{event.reason} by somebody without keys"
            case ApplicationData():
                party = self.owner[event.association]
                self.delivered[id(party), event.data] += 1
                assert self.delivered[id(party), event.data] <= party.contents[event.data]
            case _:
                pass

    def proven_by(self, client: RawClient) -> list[object]:
        """What the shell has been told of a client: in a full handshake, or when it resumes one."""
        if client.with_key:
            return [client.identity]
        key, chain = spki(device().key), device().chain
        return [key, sha256(key).digest()] if isinstance(client, RpkClient) else [chain, sha256(chain[0]).digest()]

    def keys_of(self, party: Party) -> bytes | None:
        """The key that a client writes with, by the formula of the RFC."""
        return party.client.write_keys.key if party.client.write_keys is not None else None

    def pass_time(self, seconds: float) -> None:
        world = self.world
        until = world.now + seconds
        for _ in range(3000):
            timer = world.endpoint.next_timer()
            if timer is None or timer > until:
                break
            world.now = max(world.now, timer)
            world.endpoint.handle_timer(world.now)
            self.collect()
        else:
            raise AssertionError("the timer does not move")
        world.now = until

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def bounds(self) -> None:
        endpoint = self.world.endpoint
        assert len(endpoint._handshakes._by_address) == len(endpoint._handshakes) <= MAX_HANDSHAKES
        assert len(endpoint.all_associations()) == endpoint.association_count <= MAX_ASSOCIATIONS
        assert len(endpoint.associations) <= MAX_ASSOCIATIONS
        assert len(endpoint._delivery.lingering) <= MAX_ASSOCIATIONS
        assert len(endpoint._handshakes.settled) <= MAX_SETTLED
        assert len(endpoint._handshakes._timers) <= 2 * MAX_HANDSHAKES + TIMER_SLACK + 1
        assert self.world.kept <= MAX_SESSIONS
        assert not endpoint._delivery.outgoing
        assert not endpoint._events
        for each in endpoint._handshakes.values():
            assert 0 <= each._reassembler.buffered <= MAX_REASSEMBLY_BYTES
            assert len(each._early) <= MAX_EARLY_RECORDS

    @invariant()
    def associations_are_where_they_say(self) -> None:
        endpoint = self.world.endpoint
        alive = endpoint.all_associations()
        assert len(set(alive)) == len(alive)
        for address, association in endpoint.associations.items():
            assert association.address == address
        for cid, association in endpoint.associations_by_id.items():
            assert association.cid == cid
        assert not any(association.closed for association in alive)
        assert self.closed | set(alive) == set(self.owner)
        assert not self.closed & set(alive)
        assert set(endpoint.associations.values()) <= set(alive)

    @invariant()
    def one_outcome_each(self) -> None:
        assert all(count == 1 for count in self.outcomes.values())
        begun = self.world.endpoint._handshakes._last_number
        running = self.world.endpoint.handshakes_in_progress
        assert begun == len(self.outcomes) + running, f"{begun} begun, {len(self.outcomes)} ended, {running} run"

    @invariant()
    def a_closed_session_is_over(self) -> None:
        for association in self.closed:
            assert association.closed
            assert association not in self.world.endpoint._delivery.lingering


def run_machine(examples: int, steps: int) -> None:
    EndpointMachine.reached.clear()
    too_much = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        EndpointMachine,
        settings=settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=too_much),
    )


def test_endpoint_machine() -> None:
    run_machine(80, 60)
    # Hypothesis takes what it tries out of the modules that are loaded, so that a few runs cannot be held to more.
    resumed = sum(EndpointMachine.reached[kind] for kind in KINDS if kind.removesuffix(WITH_ID) in RESUMED)
    assert 0 < resumed < EndpointMachine.reached.total()


@pytest.mark.long
def test_endpoint_machine_for_long() -> None:
    run_machine(2000, 100)
    assert [kind for kind in KINDS if not EndpointMachine.reached[kind]] == [], EndpointMachine.reached


def test_the_machine_reaches_deep() -> None:
    """Driven by hand, so that it is known to find its way to the end of a handshake and to see what goes wrong."""
    machine = EndpointMachine()
    for number in (0, 2):
        machine.honest_for_a_while(number, 10)
    assert len(machine.owner) == 2
    machine.spoofed_alert(0, b"\x02\x28", 5)
    assert sum(machine.delivered.values()) >= 4
    machine.restart(0, "certificate", 2, None, tickets=False, suite=0)
    machine.honest_for_a_while(0, 10)
    assert {event.reason for event in machine.world.closed} == {"superseded"}
    machine.teardown()


def test_the_machine_moves_devices_with_a_connection_id() -> None:
    machine = EndpointMachine()
    machine.restart(0, "psk", 0, b"", tickets=False, suite=0)
    machine.honest_for_a_while(0, 8)
    machine.moves(0, 5)
    machine.honest_for_a_while(0, 3)
    (association,) = machine.world.endpoint.all_associations()
    assert association.address == machine.parties[0].source
    assert machine.world.endpoint.counters.address_changes == 1
    assert sum(machine.delivered.values()) >= 3
    machine.teardown()


@pytest.mark.parametrize("cid", [None, b"", b"id"])
@pytest.mark.parametrize("tickets", [True, False])
@pytest.mark.parametrize("method", FULL)
def test_the_machine_completes_every_kind_of_handshake(method: str, tickets: bool, cid: bytes | None) -> None:
    machine = EndpointMachine()
    machine.reached.clear()
    machine.replace(machine.fresh(0, method, 0, cid, tickets))
    machine.all_the_way(0)
    machine.back_again(machine.parties[0], 0, cid)
    machine.all_the_way(0)
    with_id = "" if cid is None else "+cid"
    assert machine.reached == {method + with_id: 1, ("ticket" if tickets else "session_id") + with_id: 1}
    assert sum(machine.delivered.values()) >= 3
    machine.teardown()


def test_a_late_answer_can_be_what_completes_a_handshake() -> None:
    """The old session ends then, whoever sent the last datagram before."""
    machine = EndpointMachine()
    machine.all_the_way(0)
    machine.restart(1, "psk", 0, None, tickets=False, suite=0)
    machine.the_shell_is_slow()
    machine.honest_for_a_while(1, 5)
    machine.spoofed_alert(2, b"\x02\x28", 5)
    machine.answer(machine.questions[-1], good=True)
    assert {event.reason for event in machine.world.closed} == {"superseded"}
    machine.teardown()


@pytest.mark.parametrize("name", ["associations", "_handshakes._by_address"])
def test_the_machine_notices_what_is_lost(name: str) -> None:
    machine = EndpointMachine()
    machine.honest_for_a_while(0, 10 if name == "associations" else 2)
    machine.patch.undo()
    attrgetter(name)(machine.world.endpoint).clear()
    check = machine.associations_are_where_they_say if name == "associations" else machine.bounds
    with pytest.raises(AssertionError):
        check()


@pytest.mark.pure("it watches the nonces by replacing functions of the engine")
def test_the_machine_notices_a_nonce_that_comes_twice() -> None:
    machine = EndpointMachine()
    machine.honest_for_a_while(0, 10)
    (association,) = machine.world.endpoint.associations.values()
    association._write_number -= 1
    with pytest.raises(AssertionError, match="nonce"):
        machine.send(0)
    machine.patch.undo()
