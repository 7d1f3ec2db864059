"""Bodies that come in blocks (RFC 7959 section 2.5): in order, out of order, too large, too many, never ending."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.coap import (
    Block,
    Code,
    Message,
    Peer,
    Refusal,
    Upload,
    Uploads,
    decode_uint,
    encode_block,
    encode_uint,
    limits,
)
from tests.coap.support import Session

POST = 2
URI_PATH, CONTENT_FORMAT, BLOCK1, SIZE1, REQUEST_TAG = 11, 12, 27, 60, 292
LIFETIME_S = 247.0
BODY = bytes(range(256)) * 20


def post(block: Block, payload: bytes, *options: tuple[int, bytes]) -> Message:
    own = [(URI_PATH, b"a"), (BLOCK1, encode_block(block))]
    return Message(0, POST, 1, b"t", sorted([*own, *options]), payload)


class Client:
    """Sends blocks of BODY, or whatever it is told to."""

    def __init__(
        self, uploads: Uploads, peer: Peer | None = None, max_body: int = 10_000, *, keep: bool = True
    ) -> None:
        self.uploads = uploads
        self.peer = peer or Peer()
        self.max_body = max_body
        self.keep = keep

    def send(
        self,
        number: int,
        more: bool,
        szx: int,
        *options: tuple[int, bytes],
        payload: bytes | None = None,
        at: float = 0,
    ) -> Upload | Refusal:
        block = Block(number, more, szx)
        start = block.offset % 4096  # far beyond its end the body begins again
        data = BODY[start : start + block.size] if payload is None else payload
        return self.uploads.receive(
            self.peer, post(block, data, *options), block, at, max_body=self.max_body, keep=self.keep
        )


def accepted(step: Upload | Refusal) -> Upload:
    assert isinstance(step, Upload), step
    return step


def refused(step: Upload | Refusal) -> tuple[int, list[tuple[int, bytes]]]:
    assert isinstance(step, Refusal), step
    return step.code, step.options


@pytest.fixture
def uploads() -> Uploads:
    return Uploads(LIFETIME_S)


@pytest.fixture
def client(uploads: Uploads) -> Client:
    return Client(uploads)


@pytest.mark.parametrize("szx", range(7))
def test_every_size(uploads: Uploads, client: Client, szx: int) -> None:
    size = 16 << szx
    for number in range(3):
        upload = accepted(client.send(number, True, szx))
        assert (upload.received, upload.complete, upload.repeated) == ((number + 1) * size, False, False)
    upload = accepted(client.send(3, False, szx, payload=b"end"))
    assert upload.complete
    assert upload.body == BODY[: 3 * size] + b"end"
    assert (len(uploads), uploads.size) == (0, 0)


def test_a_body_of_one_block_and_one_that_ends_with_nothing(client: Client) -> None:
    assert accepted(client.send(0, False, 6, payload=b"all")).body == b"all"
    client.send(0, True, 0)
    assert accepted(client.send(1, False, 0, payload=b"")).body == BODY[:16]


def test_the_size_may_get_smaller_and_larger_again(client: Client) -> None:
    # Section 2.3 figure 8: 0/1/128, then 4/1/32 for the same place.
    client.send(0, True, 3)
    client.send(4, True, 1)
    client.send(5, True, 1)
    client.send(3, True, 2)
    upload = accepted(client.send(2, False, 3))
    assert upload.body == BODY[: 3 * 128]


@pytest.mark.parametrize("number", [2, 3, 0xFFFFF])
def test_a_gap_is_4_08_and_harms_nothing(client: Client, number: int) -> None:
    client.send(0, True, 0)
    assert refused(client.send(number, True, 0)) == (Code.REQUEST_ENTITY_INCOMPLETE, [])
    assert refused(client.send(number, False, 0)) == (Code.REQUEST_ENTITY_INCOMPLETE, [])
    assert accepted(client.send(1, False, 0)).body == BODY[:32]


def test_overlapping_blocks_are_4_08_and_harm_nothing(client: Client) -> None:
    client.send(0, True, 1)
    client.send(1, True, 1)
    # Bytes 0 to 64 are there: 32 to 48, and 32 to 96, begin before the end.
    assert refused(client.send(2, True, 0)) == (Code.REQUEST_ENTITY_INCOMPLETE, [])
    assert refused(client.send(1, True, 1, payload=bytes(32))) == (Code.REQUEST_ENTITY_INCOMPLETE, [])
    assert accepted(client.send(2, False, 1)).body == BODY[:96]


def test_a_block_of_nothing_known_is_4_08(client: Client) -> None:
    assert refused(client.send(1, True, 0))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    client.send(0, False, 0)
    assert refused(client.send(1, False, 0))[0] == Code.REQUEST_ENTITY_INCOMPLETE


@pytest.mark.parametrize("keep", [True, False])
def test_an_older_block_again_changes_nothing(uploads: Uploads, keep: bool) -> None:
    """Over a path that takes longer than ACK_TIMEOUT, each block is acknowledged twice, and libcoap 4.3 answers either
    acknowledgement with the next block: the blocks come in two rows, of which one may be ahead of the other."""
    client = Client(uploads, keep=keep)
    for number in range(4):
        client.send(number, True, 0)
    for number in (1, 2, 1):
        upload = accepted(client.send(number, True, 0))
        assert (upload.received, upload.complete, upload.repeated) == (64, False, True)
    upload = accepted(client.send(4, False, 0))
    assert (upload.received, upload.complete, upload.repeated) == (80, True, False)
    assert upload.body == (BODY[:80] if keep else b"")


def test_an_older_block_with_something_else_in_it_is_4_08(client: Client) -> None:
    client.send(0, True, 0)
    client.send(1, True, 0)
    client.send(2, True, 0)
    assert refused(client.send(1, True, 0, payload=bytes(16)))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    # The last block of another body.
    assert refused(client.send(1, False, 0))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    assert accepted(client.send(3, False, 0)).body == BODY[:64]


def test_another_content_format_is_another_body(client: Client) -> None:
    # Section 2.3: blocks are of one body only when their Content-Format is the same; 2.9.2 names it as a reason.
    client.send(0, True, 0, (CONTENT_FORMAT, b"\x32"))
    assert refused(client.send(1, False, 0, (CONTENT_FORMAT, b"\x3c")))[0] == Code.REQUEST_ENTITY_INCOMPLETE


def test_the_newest_block_again_changes_nothing(client: Client) -> None:
    client.send(0, True, 0)
    client.send(1, True, 0)
    again = accepted(client.send(1, True, 0))
    assert (again.repeated, again.received, again.complete) == (True, 32, False)
    last = accepted(client.send(2, False, 0))
    assert (last.repeated, last.body) == (False, BODY[:48])


def test_the_first_block_again_begins_anew(client: Client) -> None:
    client.send(0, True, 0)
    client.send(1, True, 0)
    assert accepted(client.send(0, True, 0, payload=b"another body of ")).received == 16
    assert accepted(client.send(1, False, 0, payload=b"16 bytes")).body == b"another body of 16 bytes"


@pytest.mark.parametrize(("more", "size"), [(True, 0), (True, 15), (True, 17), (True, 32), (False, 17)])
def test_a_block_of_another_size_than_it_says_is_4_00(client: Client, more: bool, size: int) -> None:
    assert refused(client.send(0, more, 0, payload=bytes(size)))[0] == Code.BAD_REQUEST
    assert len(client.uploads) == 0


def test_too_large_by_its_own_words_is_4_13_at_the_first_block(uploads: Uploads, client: Client) -> None:
    code, options = refused(client.send(0, True, 6, (SIZE1, encode_uint(10_001))))
    assert (code, options) == (Code.REQUEST_ENTITY_TOO_LARGE, [(SIZE1, encode_uint(10_000))])
    assert len(uploads) == 0
    accepted(client.send(0, True, 6, (SIZE1, encode_uint(10_000))))
    # Longer than its 4 bytes: an elective option in a wrong form is ignored (RFC 7252 section 5.4.3).
    accepted(client.send(0, True, 6, (SIZE1, b"\xff" * 5)))


def test_too_large_in_fact_is_4_13_and_forgotten(uploads: Uploads) -> None:
    client = Client(uploads, max_body=40)
    client.send(0, True, 0)
    client.send(1, True, 0)
    code, options = refused(client.send(2, False, 0))
    assert code == Code.REQUEST_ENTITY_TOO_LARGE
    assert decode_uint(dict(options)[SIZE1]) == 40
    assert (len(uploads), uploads.size) == (0, 0)
    client.send(0, True, 0)
    client.send(1, True, 0)
    assert len(accepted(client.send(2, False, 0, payload=bytes(8))).body) == 40


def test_a_first_block_that_is_too_large_is_4_13(uploads: Uploads) -> None:
    assert refused(Client(uploads, max_body=15).send(0, False, 0))[0] == Code.REQUEST_ENTITY_TOO_LARGE
    assert len(uploads) == 0


def test_request_tags_keep_transfers_apart(client: Client) -> None:
    # RFC 9175 section 3.2.
    one, two = (REQUEST_TAG, b"\x01"), (REQUEST_TAG, b"\x02")
    client.send(0, True, 0, one, payload=b"one, first block")
    client.send(0, True, 0, two, payload=b"two, first block")
    client.send(0, True, 0, payload=b"no tag is a tag ")
    assert accepted(client.send(1, False, 0, one, payload=b"!")).body == b"one, first block!"
    assert accepted(client.send(1, False, 0, two, payload=b"?")).body == b"two, first block?"
    assert accepted(client.send(1, False, 0, payload=b".")).body == b"no tag is a tag ."


def test_peers_never_mix(uploads: Uploads) -> None:
    one, two = Client(uploads), Client(uploads)
    one.send(0, True, 0)
    assert refused(two.send(1, False, 0))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    uploads.forget(two.peer)
    assert accepted(one.send(1, False, 0)).complete
    one.send(0, True, 0)
    uploads.forget(one.peer)
    assert refused(one.send(1, False, 0))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    assert (len(uploads), uploads.size) == (0, 0)


def test_an_upload_expires_and_each_block_keeps_it(uploads: Uploads, client: Client) -> None:
    assert uploads.next_expiry() is None
    client.send(0, True, 0, at=0)
    client.send(1, True, 0, at=200)
    assert uploads.next_expiry() == 200 + LIFETIME_S
    uploads.expire(LIFETIME_S + 1)
    client.send(1, True, 0, at=300)  # the newest block again keeps it too
    accepted(client.send(2, True, 0, at=500))
    assert refused(client.send(3, False, 0, at=500 + LIFETIME_S))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    assert (len(uploads), uploads.size, uploads.next_expiry()) == (0, 0, None)


class TestPassedOn:
    """Uploads that are not kept, but passed on block by block."""

    @pytest.fixture
    def client(self, uploads: Uploads) -> Client:
        return Client(uploads, keep=False)

    def test_nothing_is_kept_but_the_newest_block(self, uploads: Uploads, client: Client) -> None:
        for number in range(3):
            upload = accepted(client.send(number, True, 6))
            assert (upload.received, upload.body) == ((number + 1) * 1024, b"")
            assert uploads.size == limits.UPLOAD_OVERHEAD_BYTES + 1024
        upload = accepted(client.send(3, False, 6, payload=b"end"))
        # It is there until the caller has finished with it: the last block may come again.
        assert upload.complete
        assert accepted(client.send(3, False, 6, payload=b"end")).repeated
        assert refused(client.send(4, False, 6))[0] == Code.REQUEST_ENTITY_INCOMPLETE
        uploads.finish(upload)
        uploads.finish(upload)
        assert (len(uploads), uploads.size) == (0, 0)

    @pytest.mark.parametrize("how", ["anew", "too large", "expired", "forgotten", "displaced"])
    def test_the_caller_learns_what_was_abandoned(self, uploads: Uploads, client: Client, how: str) -> None:
        upload = accepted(client.send(0, True, 6))
        upload.context = "handler"
        accepted(client.send(1, True, 6))
        if how == "anew":
            assert accepted(client.send(0, True, 6)).context is None
        elif how == "too large":
            client.max_body = 2048
            refused(client.send(2, True, 6))
        elif how == "expired":
            uploads.expire(LIFETIME_S)
        elif how == "forgotten":
            uploads.forget(client.peer)
        else:
            for number in range(limits.UPLOADS_OF_ONE):
                client.send(0, True, 0, (REQUEST_TAG, bytes([number])))
        assert uploads.abandoned == ["handler"]


def test_uploads_of_one_peer_are_bounded_in_number(uploads: Uploads, client: Client) -> None:
    for tag in range(1000):
        accepted(client.send(0, True, 0, (REQUEST_TAG, encode_uint(tag))))
        assert len(uploads) <= limits.UPLOADS_OF_ONE
    # The newest ones live.
    for tag in range(1000 - limits.UPLOADS_OF_ONE, 1000):
        assert accepted(client.send(1, False, 0, (REQUEST_TAG, encode_uint(tag)))).body == BODY[:32]


def test_uploads_of_one_peer_are_bounded_in_bytes(uploads: Uploads) -> None:
    client = Client(uploads, max_body=4 * limits.UPLOAD_BYTES_OF_ONE)
    bound = limits.UPLOAD_BYTES_OF_ONE + 1024
    for tag in range(limits.UPLOADS_OF_ONE):
        for number in range(600):
            accepted(client.send(number, True, 6, (REQUEST_TAG, bytes([tag])), payload=bytes(1024)))
            assert uploads.size <= bound
    # One alone may be as large as its route allows.
    for number in range(600, 2000):
        accepted(client.send(number, True, 6, (REQUEST_TAG, b"\x03"), payload=bytes(1024)))
    assert len(uploads) == 1
    assert uploads.size == 2000 * 1024 + limits.UPLOAD_OVERHEAD_BYTES


def test_sessions_of_one_device_share_its_bound_in_number(uploads: Uploads) -> None:
    sessions = [Client(uploads, Session("device")) for _ in range(4)]
    for tag in range(limits.UPLOADS_OF_ONE):
        for session in sessions:
            accepted(session.send(0, True, 0, (REQUEST_TAG, bytes([tag]))))
            assert len(uploads) <= limits.UPLOADS_OF_ONE
    # The newest ones live, one in each session here, and they still are apart.
    newest = REQUEST_TAG, bytes([limits.UPLOADS_OF_ONE - 1])
    uploads.forget(sessions[0].peer)
    assert refused(sessions[0].send(1, False, 0, newest))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    for session in sessions[1:]:
        assert accepted(session.send(1, False, 0, newest)).body == BODY[:32]
    assert (len(uploads), uploads.size) == (0, 0)


def test_sessions_of_one_device_share_its_bound_in_bytes(uploads: Uploads) -> None:
    """Four of them, each with the largest body that a route may allow, are all that there is for everybody."""
    largest = limits.UPLOAD_BYTES // 4
    other = Client(uploads)
    accepted(other.send(0, True, 0))
    sessions = [Client(uploads, Session("device"), max_body=largest) for _ in range(4)]
    blocks = largest // 1024 - 1
    for session in sessions:
        for number in range(blocks):
            accepted(session.send(number, True, 6, payload=bytes(1024)))
        assert uploads.size <= largest + 2 * limits.UPLOAD_OVERHEAD_BYTES
    assert len(uploads) == 2
    for session in sessions[:3]:
        assert refused(session.send(blocks, False, 6))[0] == Code.REQUEST_ENTITY_INCOMPLETE
    assert accepted(sessions[3].send(blocks, False, 6)).complete
    assert accepted(other.send(1, False, 0)).body == BODY[:32]


def test_a_body_that_never_ends_is_bounded(uploads: Uploads) -> None:
    client = Client(uploads, max_body=100_000)
    answers = [client.send(number, True, 6, payload=bytes(1024)) for number in range(98)]
    assert all(isinstance(answer, Upload) for answer in answers[:97])
    assert refused(answers[97])[0] == Code.REQUEST_ENTITY_TOO_LARGE
    assert uploads.size == 0


def test_uploads_of_all_peers_are_bounded_in_number(uploads: Uploads) -> None:
    clients = [Client(uploads) for _ in range(limits.UPLOADS)]
    for client in clients:
        accepted(client.send(0, True, 0))
    late = Client(uploads)
    assert refused(late.send(0, True, 0)) == (Code.SERVICE_UNAVAILABLE, [(14, b"\x05")])
    assert len(uploads) == limits.UPLOADS
    # Who has begun goes on.
    assert accepted(clients[7].send(1, False, 0)).complete
    accepted(late.send(0, True, 0))


@pytest.mark.pure("it changes a constant")
def test_uploads_of_all_peers_are_bounded_in_bytes(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPLOAD_BYTES", 100 * 1024)
    clients = [Client(uploads, max_body=1 << 20) for _ in range(5)]
    codes = list[int]()
    for number in range(50):
        for client in clients:
            step = client.send(number, True, 6, payload=bytes(1024))
            if isinstance(step, Refusal):
                codes.append(step.code)
            assert uploads.size <= 100 * 1024
    assert codes[0] == Code.SERVICE_UNAVAILABLE
    # Then its next block is one of nothing known.
    assert set(codes) == {Code.SERVICE_UNAVAILABLE, Code.REQUEST_ENTITY_INCOMPLETE}


class Model(RuleBasedStateMachine):
    """Two sessions of one device and two tags against the plainest model there is: a dict of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads = Uploads(LIFETIME_S)
        self.peers = {name: Session("device") for name in ("one", "two")}
        self.now = 0.0
        self.bodies: dict[tuple[str, bytes], bytes] = {}
        self.newest: dict[tuple[str, bytes], tuple[Block, bytes]] = {}
        self.until: dict[tuple[str, bytes], float] = {}

    @rule(
        peer=st.sampled_from(["one", "two"]),
        tag=st.sampled_from([b"", b"x"]),
        place=st.sampled_from(["next", "next", "next", "first", "again", "older", "any"]),
        number=st.integers(0, 12),
        more=st.sampled_from([True, True, False]),
        szx=st.integers(0, 2),
        fill=st.integers(0, 255),
    )
    def block(self, peer: str, tag: bytes, place: str, number: int, more: bool, szx: int, fill: int) -> None:
        name = peer, tag
        have = self.bodies.get(name)
        if place == "next" and have is not None:
            while len(have) % (16 << szx):
                szx -= 1
            number = len(have) >> szx + 4
        elif place == "first":
            number = 0
        block = Block(number, more, szx)
        payload = bytes([fill]) * (block.size if more else block.size // 2)
        if place == "again" and name in self.newest:
            block, payload = self.newest[name]
        if place == "older" and have is not None:
            block = Block(number % (len(have) // block.size + 1), True, szx)
            payload = have[block.offset : block.offset + block.size].ljust(block.size, b"?")
        options = [(REQUEST_TAG, tag)] if tag else []
        step = self.uploads.receive(self.peers[peer], post(block, payload, *options), block, self.now, max_body=300)
        if have is not None and self.stands_there(have, self.newest[name], block, payload):
            assert accepted(step).repeated
            self.until[name] = self.now + LIFETIME_S
        elif block.number and (have is None or len(have) != block.offset):
            assert refused(step)[0] == Code.REQUEST_ENTITY_INCOMPLETE
        else:
            self.taken(name, (have or b"") if block.number else b"", block, payload, step)

    @staticmethod
    def stands_there(have: bytes, newest: tuple[Block, bytes], block: Block, payload: bytes) -> bool:
        """Whether it is the newest block again, or an older one and not the first, which begins anew."""
        older = block.number > 0 and block.more and block.szx == newest[0].szx
        return newest == (block, payload) or (older and have[block.offset : block.offset + block.size] == payload)

    def taken(
        self, name: tuple[str, bytes], before: bytes, block: Block, payload: bytes, step: Upload | Refusal
    ) -> None:
        body = before + payload
        self.drop(name)
        if len(body) > 300:
            assert refused(step)[0] == Code.REQUEST_ENTITY_TOO_LARGE
        elif block.more:
            assert accepted(step).received == len(body)
            self.bodies[name], self.newest[name] = body, (block, payload)
            self.until[name] = self.now + LIFETIME_S
        else:
            assert accepted(step).body == body

    @rule(seconds=st.sampled_from([1.0, 100.0, 247.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.uploads.expire(self.now)
        for name in [name for name, until in self.until.items() if until <= self.now]:
            self.drop(name)

    @rule(peer=st.sampled_from(["one", "two"]))
    def lose(self, peer: str) -> None:
        self.uploads.forget(self.peers[peer])
        for name in [name for name in self.bodies if name[0] == peer]:
            self.drop(name)

    def drop(self, name: tuple[str, bytes]) -> None:
        for table in (self.bodies, self.newest, self.until):
            table.pop(name, None)

    @invariant()
    def nothing_else_is_kept(self) -> None:
        assert len(self.uploads) == len(self.bodies)
        held = sum(len(body) for body in self.bodies.values()) + limits.UPLOAD_OVERHEAD_BYTES * len(self.bodies)
        assert self.uploads.size == held
        assert self.uploads.next_expiry() == min(self.until.values(), default=None)


TestModel = Model.TestCase
TestModel.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
