"""Every state of the server against everything that may come in it, next to a table that was written by hand.

The table is RFC 5246 section 7.3 (the order of the messages), section 7.2 (alerts) and RFC 6347 sections 4.1 (epochs),
4.1.2.7 (invalid records are dropped), 4.2.2 (what is early is kept, what is old is a repetition) in one place. Each
message is well-formed: what is judged is its moment.
"""

from collections.abc import Callable

import pytest

from gateway.dtls.handshake import server_states, states
from tests.dtls import stages
from tests.dtls.rawclient import HANDSHAKE, RawClient, handshake, raw_record, split
from tests.dtls.rawkeys import RpkClient, opaque24, spki
from tests.dtls.stages import Stage
from tests.dtls.support import alerts, device
from tests.dtls.test_states import concrete

TABLE = """
                     | P-Hel  P-Key  P-Ask  P-CCS  P-Fin  P-Done C-Hel  C-Cert C-Key  C-Ver  C-Ask  C-CCS  C-Fin  C-Done
hello request        | keep   !10    keep   !10    !10    -unexp keep   !10    !10    !10    keep   !10    !10    -unexp
client hello         | keep   !10    keep   !10    !10    ~100   keep   !10    !10    !10    keep   !10    !10    ~100
client hello, old    | more   -again -again -again -old   -stale more   -again -again -again -again -again -old   -stale
client hello, another| ask    ask    ask    ask    ask    ask    ask    ask    ask    ask    ask    ask    ask    ask
server hello         | keep   !10    keep   !10    !10    -unexp keep   !10    !10    !10    keep   !10    !10    -unexp
hello verify request | keep   !10    keep   !10    !10    -unexp keep   !10    !10    !10    keep   !10    !10    -unexp
new session ticket   | keep   !10    keep   !10    !10    -unexp keep   !10    !10    !10    keep   !10    !10    -unexp
certificate          | keep   !10    keep   !10    !10    -unexp keep   go     !10    !10    keep   !10    !10    -unexp
server key exchange  | keep   !10    keep   !10    !10    -unexp keep   !10    !10    !10    keep   !10    !10    -unexp
certificate request  | keep   !10    keep   !10    !10    -unexp keep   !10    !10    !10    keep   !10    !10    -unexp
server hello done    | keep   !10    keep   !10    !10    -unexp keep   !10    !10    !10    keep   !10    !10    -unexp
certificate verify   | keep   !10    keep   !10    !10    -unexp keep   !10    !10    go     keep   !10    !10    -unexp
client key exchange  | keep   go     keep   !10    !10    -unexp keep   !10    go     !10    keep   !10    !10    -unexp
finished             | keep   !10    keep   !10    go     last   keep   !10    !10    !10    keep   !10    go     last
finished, plain      | keep   !10    keep   !10    -old   -nobod keep   !10    !10    !10    keep   !10    -old   -nobod
unassigned message   | keep   !10    keep   !10    !10    -unexp keep   !10    !10    !10    keep   !10    !10    -unexp
change cipher spec   | keep   keep   keep   go     -unexp -nobod keep   keep   keep   keep   keep   go     -unexp -nobod
ccs that is none     | -bad   -bad   -bad   -bad   -bad   -nobod -bad   -bad   -bad   -bad   -bad   -bad   -bad   -nobod
ccs, protected       | keep   keep   keep   keep   -unexp -unexp keep   keep   keep   keep   keep   keep   -unexp -unexp
warning, plain       | keep   keep   keep   keep   -old   -nobod keep   keep   keep   keep   keep   keep   -old   -nobod
fatal, plain         | end    end    end    end    -old   -nobod end    end    end    end    end    end    -old   -nobod
close notify, plain  | end    end    end    end    -old   -nobod end    end    end    end    end    end    -old   -nobod
half an alert, plain | -bad   -bad   -bad   -bad   -old   -nobod -bad   -bad   -bad   -bad   -bad   -bad   -old   -nobod
fatal, protected     | keep   keep   keep   keep   end    closed keep   keep   keep   keep   keep   keep   end    closed
warning, protected   | keep   keep   keep   keep   keep   keep   keep   keep   keep   keep   keep   keep   keep   keep
data, plain          | -zero  -zero  -zero  -zero  -zero  -zero  -zero  -zero  -zero  -zero  -zero  -zero  -zero  -zero
data, protected      | -early -early -early -early -unexp data   -early -early -early -early -early -early -unexp data
data, forged         | -early -early -early -early -mac   -mac   -early -early -early -early -early -early -mac   -mac
finished, forged     | keep   keep   keep   keep   !51    -mac   keep   keep   keep   keep   keep   keep   !51    -mac
record of epoch 2    | -epoch -epoch -epoch -epoch -epoch -epoch -epoch -epoch -epoch -epoch -epoch -epoch -epoch -epoch
heartbeat, plain     | -unexp -unexp -unexp -unexp -unexp -nobod -unexp -unexp -unexp -unexp -unexp -unexp -unexp -nobod
return check, plain  | -unexp -unexp -unexp -unexp -unexp -nobod -unexp -unexp -unexp -unexp -unexp -unexp -unexp -nobod
"""
"""What each input does in each state; P is a handshake with a pre-shared key, C one with a certificate. ECDHE_PSK has
the messages of PSK (RFC 5489 section 2), and a raw public key those of a certificate (RFC 7250 section 4.1).

    go      the next state
    keep    nothing that can be seen: it is kept for later, or has no meaning
    more    the rest of the hello that was missing: the next state
    !n      fatal alert n, and the handshake is over
    ~n      warning alert n
    ask     a HelloVerifyRequest no larger than the question
    end     the handshake is over without a word
    closed  the association is over without a word
    last    the last flight once more
    data    application data is delivered
    -why    dropped and counted
"""

RESUMED = """
                     | R-Hel  R-Ask  R-CCS  R-Fin  R-Done
hello request        | keep   keep   !10    !10    -unexp
client hello         | keep   keep   !10    !10    ~100
client hello, old    | more   -again -again -old   -stale
client hello, another| ask    ask    ask    ask    ask
server hello         | keep   keep   !10    !10    -unexp
hello verify request | keep   keep   !10    !10    -unexp
new session ticket   | keep   keep   !10    !10    -unexp
certificate          | keep   keep   !10    !10    -unexp
server key exchange  | keep   keep   !10    !10    -unexp
certificate request  | keep   keep   !10    !10    -unexp
server hello done    | keep   keep   !10    !10    -unexp
certificate verify   | keep   keep   !10    !10    -unexp
client key exchange  | keep   keep   !10    !10    -unexp
finished             | keep   keep   !10    go     keep
finished, plain      | keep   keep   !10    -old   -nobod
unassigned message   | keep   keep   !10    !10    -unexp
change cipher spec   | keep   keep   go     -unexp -nobod
ccs that is none     | -bad   -bad   -bad   -bad   -nobod
ccs, protected       | keep   keep   keep   -unexp -unexp
warning, plain       | keep   keep   keep   -old   -nobod
fatal, plain         | end    end    end    -old   -nobod
close notify, plain  | end    end    end    -old   -nobod
half an alert, plain | -bad   -bad   -bad   -old   -nobod
fatal, protected     | keep   keep   keep   end    closed
warning, protected   | keep   keep   keep   keep   keep
data, plain          | -zero  -zero  -zero  -zero  -zero
data, protected      | -early -early -early -unexp data
data, forged         | -early -early -early -mac   -mac
finished, forged     | keep   keep   keep   !51    -mac
record of epoch 2    | -epoch -epoch -epoch -epoch -epoch
heartbeat, plain     | -unexp -unexp -unexp -unexp -nobod
return check, plain  | -unexp -unexp -unexp -unexp -nobod
"""
"""The same for R, a handshake that resumes a session (RFC 5246 section 7.3, figure 2), by its id or by a ticket (RFC
5077 section 3.1, figure 2)."""

KINDS = {"P": ("psk", "ecdhe_psk"), "C": ("certificate", "raw_public_key"), "R": ("ticket", "session_id")}
"""The kinds of handshake that a column is about."""

STATES = {
    "Hel": "ExpectClientHello",
    "Cert": "ExpectCertificate",
    "Ver": "ExpectCertificateVerify",
    "CCS": "ExpectChangeCipherSpec",
    "Fin": "ExpectFinished",
    "Done": "Established",
}
OWN_STATES = {
    "P-Key": "ExpectPskKeyExchange",
    "C-Key": "ExpectEcdheKeyExchange",
    "P-Ask": "AwaitPsk",
    "C-Ask": "AwaitCertificateVerdict",
    "R-Ask": "AwaitResumption",
    "R-Fin": "ExpectResumedFinished",
}
DROPS = {
    "unexp": "unexpected",
    "again": "repeated",
    "old": "old_epoch",
    "stale": "stale_hello",
    "nobod": "no_session",
    "bad": "malformed",
    "zero": "epoch_zero_data",
    "early": "early_data",
    "mac": "bad_mac",
    "epoch": "future_epoch",
}


def message(kind: int, body: bytes = b"") -> Callable[[Stage], bytes]:
    """A handshake message under the next number, in the epoch that the server reads."""

    def make(stage: Stage) -> bytes:
        content = handshake(kind, stage.client.next_seq, body)
        return stage.client.record(HANDSHAKE, content, stage.epoch)

    return make


def plain(content_type: int, content: bytes) -> Callable[[Stage], bytes]:
    return lambda stage: stage.client.record(content_type, content)


def protected(content_type: int, content: bytes) -> Callable[[Stage], bytes]:
    """A record of epoch 1: with the client's keys where it has some already."""

    def make(stage: Stage) -> bytes:
        if stage.client.write_keys is None:
            return raw_record(content_type, 1 << 48, bytes(40))
        return stage.client.record(content_type, content, 1)

    return make


def forged(content_type: int) -> Callable[[Stage], bytes]:
    return lambda stage: raw_record(content_type, 1 << 48 | 60, bytes(40))


def hello(stage: Stage) -> bytes:
    return message(1, stage.client.hello_body())(stage)


def old_hello(stage: Stage) -> bytes:
    """A late copy of the one that the server has."""
    return stage.client.record(HANDSHAKE, handshake(1, 1, stage.client.hello_body()), sequence=1)


def another_hello(stage: Stage) -> bytes:
    return raw_record(HANDSHAKE, 70, handshake(1, 0, RawClient(random=b"another".ljust(32, b".")).hello_body()))


def certificate(stage: Stage) -> bytes:
    der = device().chain[0]
    length = len(der)
    body = (length + 3).to_bytes(3, "big") + length.to_bytes(3, "big") + der
    if isinstance(stage.client, RpkClient):
        body = opaque24(spki(device().key))
    stage.client.transcript.append(handshake(11, stage.client.next_seq, body))
    return message(11, body)(stage)


def key_exchange(stage: Stage) -> bytes:
    if stage.state in ("ExpectPskKeyExchange", "ExpectEcdheKeyExchange"):
        return stage.client.client_key_exchange()
    identity, point = b"\x00\x04dev1", b"\x41" + bytes(65)
    if stage.client.server_hello is None or stage.client.is_psk:
        return message(16, identity)(stage)
    return message(16, identity + point if stage.client.with_key else point)(stage)


def certificate_verify(stage: Stage) -> bytes:
    if stage.epoch:
        return message(15, bytes(8))(stage)
    stage.client.device = device()
    return stage.client.certificate_verify()


def finished(stage: Stage) -> bytes:
    if stage.state in ("ExpectFinished", "ExpectResumedFinished"):
        return stage.client.finished()
    if stage.state == "Established":  # the one that has been, repeated
        ours = stage.client.transcript[-1 if stage.client.resuming else -2]
        return stage.client.record(HANDSHAKE, ours, 1)
    return message(20, bytes(12))(stage)


INPUTS: dict[str, Callable[[Stage], bytes]] = {
    "hello request": message(0),
    "client hello": hello,
    "client hello, old": old_hello,
    "client hello, another": another_hello,
    "server hello": message(2, bytes(38)),
    "hello verify request": message(3, b"\xfe\xff\x00"),
    "new session ticket": message(4, bytes(6)),
    "certificate": certificate,
    "server key exchange": message(12, b"\x00\x00"),
    "certificate request": message(13, bytes(6)),
    "server hello done": message(14),
    "certificate verify": certificate_verify,
    "client key exchange": key_exchange,
    "finished": finished,
    "finished, plain": lambda stage: stage.client.record(HANDSHAKE, handshake(20, stage.client.next_seq, bytes(12))),
    "unassigned message": message(99, b"x"),
    "change cipher spec": plain(20, b"\x01"),
    "ccs that is none": plain(20, b"\x02"),
    "ccs, protected": protected(20, b"\x01"),
    "warning, plain": plain(21, b"\x01\x5a"),
    "fatal, plain": plain(21, b"\x02\x28"),
    "close notify, plain": plain(21, b"\x01\x00"),
    "half an alert, plain": plain(21, b"\x02"),
    "fatal, protected": protected(21, b"\x02\x28"),
    "warning, protected": protected(21, b"\x01\x5a"),
    "data, plain": plain(23, b"data"),
    "data, protected": protected(23, b"data"),
    "data, forged": forged(23),
    "finished, forged": forged(HANDSHAKE),
    "record of epoch 2": lambda stage: raw_record(HANDSHAKE, 2 << 48, bytes(40)),
    "heartbeat, plain": plain(24, bytes(20)),
    "return check, plain": plain(27, bytes(9)),
}


def rows() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table in (TABLE, RESUMED):
        (_, head), *lines = [line.split("|") for line in table.strip("\n").splitlines()]
        for name, cells in lines:
            found.setdefault(name.strip(), {}).update(zip(head.split(), cells.split(), strict=True))
    return found


def places(column: str) -> list[tuple[str, str]]:
    """(kind of handshake, state) of a column."""
    return [(kind, OWN_STATES.get(column) or STATES[column[2:]]) for kind in KINDS[column[0]]]


CELLS = [
    (kind, state, name, outcome)
    for name, cells in rows().items()
    for column, outcome in cells.items()
    for kind, state in places(column)
]


def state_of(stage: Stage) -> str:
    if not stage.world.endpoint._handshakes:
        return "Established" if stage.world.endpoint.associations else "over"
    (current,) = stage.world.endpoint._handshakes.values()
    return type(current._state).__name__


def following(kind: str, state: str) -> str:
    states = stages.STATES[kind]
    return states[states.index(state) + 1]


def test_the_table_is_whole() -> None:
    cells = [(kind, state, name) for kind, state, name, _ in CELLS]
    assert sorted(cells) == sorted((kind, state, name) for kind, state in stages.EVERY for name in INPUTS)


def test_no_state_is_missing_in_the_table() -> None:
    shared = {states.ExpectChangeCipherSpec, states.Established}
    assert {state for _, state, _, _ in CELLS} == {cls.__name__ for cls in concrete(server_states) | shared}


@pytest.mark.parametrize(("kind", "state", "name", "outcome"), CELLS)
def test_input_in_a_state(kind: str, state: str, name: str, outcome: str) -> None:
    stage = stages.reach(kind, state)
    world, client = stage.world, stage.client
    world.advance(1.0)  # so that nothing is held back for having been sent just now
    client.read(world.collect())
    world.answering = False
    before = world.drops()
    datagram = INPUTS[name](stage)
    answers = world.deliver(datagram)
    new_drops = {why: count - before.get(why, 0) for why, count in world.drops().items() if count != before.get(why, 0)}
    dropped = [DROPS[outcome[1:]]] if outcome[0] == "-" else []
    assert list(new_drops) == dropped
    over = outcome[0] == "!" or outcome in ("end", "closed")
    moved = outcome in ("go", "more")
    assert state_of(stage) == ("over" if over else following(kind, state) if moved else state)
    if outcome == "ask":
        (answer,) = answers
        assert len(answer) <= len(datagram)
        assert [(content_type, body[0]) for content_type, _, _, body in split(answer)] == [(HANDSHAKE, 3)]
        return
    records = client.read(answers)
    spoken = [(2, int(outcome[1:]))] if outcome[0] == "!" else [(1, int(outcome[1:]))] if outcome[0] == "~" else []
    assert alerts(records) == spoken
    if outcome == "last":
        assert [record.content_type for record in records] == [20, HANDSHAKE]
    elif not moved and not spoken and outcome != "-again":  # a repetition may bring our flight again
        assert records == [] or name == "client hello, old"
    assert world.data == ([b"data"] if outcome == "data" else [])


@pytest.mark.parametrize(
    ("kind", "state", "name"),
    [
        (kind, state, name)
        for kind, state, name, outcome in CELLS
        if outcome[0] == "-" and (kind, state) in stages.UNFINISHED
    ],
)
def test_what_is_dropped_leaves_the_handshake_as_it_was(kind: str, state: str, name: str) -> None:
    stage = stages.reach(kind, state)
    stage.world.deliver(INPUTS[name](stage))
    stage.complete()
