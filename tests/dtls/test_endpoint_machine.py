"""The endpoint between three clients, an attacker who can write any address, a slow shell and a clock: a state machine.

After each step the promises of the engine are checked: every container within its bound, no answer before the cookie
larger than its question, window and address moved by authenticated records alone, no nonce twice under one key, one
outcome a handshake, no session ended by anybody without its keys, nothing delivered that was not sent.
"""

from collections import Counter
from contextlib import suppress
from operator import attrgetter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.dtls import (
    Address,
    ApplicationData,
    Association,
    AssociationClosed,
    CertificatePresented,
    FailureReason,
    HandshakeCompleted,
    HandshakeFailed,
    PskRequested,
)
from gateway.dtls.limits import MAX_EARLY_RECORDS, MAX_REASSEMBLY_BYTES, MAX_SETTLED, TIMER_SLACK
from tests.dtls.nonces import watch_nonces
from tests.dtls.rawclient import HANDSHAKE, RawClient, handshake, raw_record
from tests.dtls.support import PSK, World, device

CLIENTS = 3
SUITES = (0xC0A8, 0x00A8, 0xC0AE, 0xC02B)
MAX_HANDSHAKES = 2
MAX_ASSOCIATIONS = 2
STEPS_S = (0.0, 0.25, 1.0, 3.0, 30.0, 61.0, 121.0, 250.0, 1000.0)

which = st.integers(0, CLIENTS - 1)
sequences = st.integers(0, 80) | st.sampled_from([1 << 32, (1 << 48) - 1])


class Party:
    """A client: what it is about to send, and what it has sent."""

    def __init__(self, number: int, random: bytes, suite: int, source: Address, cid: bytes | None = None) -> None:
        self.number = number
        self.client = RawClient(
            suites=(suite,),
            device=device(),
            identity=b"dev%d" % number,
            random=random,
            cid=cid,
            path_check=cid == b"id",
        )
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
        done = any(kind == 14 for kind, _, _ in client.messages)
        if done and not self.flight_sent:
            self.flight_sent = True
            with suppress(AssertionError):  # it heard what was for another client at its address
                self.queue = client.answer_flight()
                return self.queue.pop(0)
        if client.write_keys is None:
            return client.hello()
        self.count += 1
        return self.data(b"%d %d" % (self.number, self.count))

    def data(self, content: bytes) -> bytes:
        self.contents[content] += 1
        return self.client.data(content)


class EndpointMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(max_handshakes=MAX_HANDSHAKES, max_associations=MAX_ASSOCIATIONS, idle_timeout_s=900.0)
        self.world.keys = {b"dev%d" % number: PSK for number in range(CLIENTS)}
        self.randoms = 0
        self.parties = [self.fresh(number, SUITES[number], number) for number in range(CLIENTS)]
        self.everybody = list(self.parties)
        self.sent: list[tuple[bytes, Address]] = []
        self.questions: list[PskRequested | CertificatePresented] = []
        self.outcomes: Counter[int] = Counter()
        self.asked = 0
        self.owner: dict[Association, Party] = {}
        self.closed: set[Association] = set()
        self.may_end: set[str] = set()
        self.delivered: Counter[tuple[int, bytes]] = Counter()
        self.patch = pytest.MonkeyPatch()
        watch_nonces(self.patch)

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

    def fresh(self, number: int, suite: int, port: int, cid: bytes | None = None) -> Party:
        self.randoms += 1
        return Party(number, self.randoms.to_bytes(32, "big"), suite, ("192.0.2.1", 40_000 + port), cid)

    # --- what happens ----------------------------------------------------------------------------------------------

    @rule(number=which)
    def honest(self, number: int) -> None:
        party = self.parties[number]
        self.give(party.next_datagram(), party.source, by=party)

    @rule(number=which, count=st.integers(2, 12))
    def honest_for_a_while(self, number: int, count: int) -> None:
        for _ in range(count):
            self.honest(number)

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

    @rule(number=which, suite=st.sampled_from(SUITES), port=which, cid=st.sampled_from([None, b"", b"id"]))
    def restart(self, number: int, suite: int, port: int, cid: bytes | None) -> None:
        """A device forgets everything, and may come back from an address that another one had."""
        party = self.fresh(number, suite, port, cid)
        self.parties[number] = party
        self.everybody.append(party)

    @rule(number=which, psk=st.booleans())
    def wrong_credential(self, number: int, psk: bool) -> None:
        party = self.fresh(number, 0xC0A8, number)
        party.client.psk = bytes(16) if psk else PSK
        party.client.identity = b"dev%d" % number if psk else b"nobody\x00\xff"
        self.parties[number] = party
        self.everybody.append(party)

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
        question = data.draw(st.sampled_from(self.questions))
        if good:
            self.world.answer(question)
        else:
            self.world.endpoint.provide_psk(question.handshake, None, self.world.now)
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
            case PskRequested() | CertificatePresented():
                self.asked += 1
                self.questions.append(event)
            case HandshakeCompleted():
                self.outcomes[id(event.facts)] += 1
                (owner,) = [party for party in self.everybody if self.keys_of(party) == event.association._read_key]
                assert owner.client.psk == PSK
                assert event.association.context in (owner.client.identity, device().chain)
                self.owner[event.association] = owner
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


TestEndpoint = EndpointMachine.TestCase
TestEndpoint.settings = settings(
    max_examples=60, stateful_step_count=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


class LongMachine(EndpointMachine):
    """The same, for minutes."""


TestEndpointForLong = pytest.mark.long(LongMachine.TestCase)
TestEndpointForLong.settings = settings(TestEndpoint.settings, max_examples=2000, stateful_step_count=100)


def test_the_machine_reaches_deep() -> None:
    """Driven by hand, so that it is known to find its way to the end of a handshake and to see what goes wrong."""
    machine = EndpointMachine()
    for number in (0, 2):
        machine.honest_for_a_while(number, 10)
    assert len(machine.owner) == 2
    machine.spoofed_alert(0, b"\x02\x28", 5)
    assert sum(machine.delivered.values()) >= 4
    machine.restart(0, 0xC0AE, 2, None)
    machine.honest_for_a_while(0, 10)
    assert {event.reason for event in machine.world.closed} == {"superseded"}
    machine.teardown()


def test_the_machine_moves_devices_with_a_connection_id() -> None:
    machine = EndpointMachine()
    machine.restart(0, 0xC0A8, 0, b"")
    machine.honest_for_a_while(0, 8)
    machine.moves(0, 5)
    machine.honest_for_a_while(0, 3)
    (association,) = machine.world.endpoint.all_associations()
    assert association.address == machine.parties[0].source
    assert machine.world.endpoint.counters.address_changes == 1
    assert sum(machine.delivered.values()) >= 3
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


def test_the_machine_notices_a_nonce_that_comes_twice() -> None:
    machine = EndpointMachine()
    machine.honest_for_a_while(0, 10)
    (association,) = machine.world.endpoint.associations.values()
    association._write_number -= 1
    with pytest.raises(AssertionError, match="nonce"):
        machine.send(0)
    machine.patch.undo()
