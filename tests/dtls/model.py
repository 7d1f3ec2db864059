"""The legal orders of a handshake, as a small automaton that was written from RFC 5246 section 7.3 and RFC 6347; for
ECDHE_PSK from RFC 5489 section 2, for raw public keys from RFC 7250 section 4, for tickets from RFC 5077 section 3.1.

It knows nothing of the engine. Its inputs are what a client may send after the hellos, one letter each, well-formed and
numbered as the next message of the client:

    C certificate   K key exchange   V verify   S change cipher spec   F finished (protected once there are keys)
    P finished in epoch 0   D data in epoch 0   W a warning in epoch 0   A a fatal alert in epoch 0

Where the RFCs leave a choice the automaton has several answers: it is nondeterministic, and an implementation conforms
if what it does is always one of them. The one choice is what a ChangeCipherSpec counts that comes before the messages
that it should follow. It has no message number, so that it may be one that overtook them (RFC 6347 section 4.2.4), or
one that was sent too early.
"""

from dataclasses import dataclass, replace

ORDER = {
    "psk": "K",
    "ecdhe_psk": "K",
    "certificate": "CKV",
    "raw_public_key": "CKV",
    "ticket": "",
    "session_id": "",
    "refused": "K",
}
"""The client's messages between the hellos and ChangeCipherSpec: none where a session is resumed. One that is refused
goes on as if it had not been offered; here with a pre-shared key."""

LETTERS = {kind: "CKVSFPDWA" if kind in ("certificate", "raw_public_key") else "CKSFPDWA" for kind in ORDER}

WRONG_KEYS = dict.fromkeys(ORDER, "finished_mismatch") | dict.fromkeys(("psk", "ecdhe_psk", "refused"), "wrong_key")
"""What it means when the first protected record does not open."""

HONEST = {kind: order + "SF" for kind, order in ORDER.items()}


@dataclass(frozen=True)
class State:
    """Attributes:
    taken: How many messages of the order have come.
    changed: Whether a ChangeCipherSpec counts.
    finished: Whether the client's Finished has come before ChangeCipherSpec, to be opened after it.
    ahead: Whether the client has used a number that the server will not see a message under. What it sends from then on
        is numbered too high, and waits for ever.
    other_keys: Whether the client has made itself other keys since.
    end: None while it runs; "done", or the reason why it failed, or "gone" when the client ended it.
    """

    taken: int = 0
    changed: bool = False
    finished: bool = False
    ahead: bool = False
    other_keys: bool = False
    end: str | None = None


def start() -> frozenset[State]:
    return frozenset({State()})


def step(kind: str, states: frozenset[State], letter: str) -> frozenset[State]:
    """All states that a conforming server may be in after one more input."""
    return frozenset(after for state in states for after in _after(kind, state, letter))


def _after(kind: str, state: State, letter: str) -> set[State]:
    if state.end is not None or letter in "DW":
        return {state}  # what follows the end is nobody's; data in epoch 0 and warnings change nothing
    if state.taken == len(ORDER[kind]) and state.changed:
        return {_protected(kind, state, letter)}
    if letter == "A":
        return {replace(state, end="gone")}
    if letter == "S":
        return _change(kind, state)
    if state.ahead or state.finished:
        return {state}
    return _plain(kind, state, letter)


def _protected(kind: str, state: State, letter: str) -> State:
    """Epoch 0 has no say any more, but its messages use up the client's numbers."""
    if letter == "F" and state.other_keys:
        return replace(state, end=WRONG_KEYS[kind])
    if letter == "F":
        return state if state.ahead else replace(state, end="done")
    if letter in "CKVP":
        return replace(state, ahead=True, other_keys=state.other_keys or letter == "K")
    return state


def _change(kind: str, state: State) -> set[State]:
    if state.taken == len(ORDER[kind]):
        return {replace(state, changed=True, end="done" if state.finished else None)}
    return {state, replace(state, changed=True)}


def _plain(kind: str, state: State, letter: str) -> set[State]:
    order = ORDER[kind]
    if letter == "F" and state.taken == len(order):
        return {replace(state, finished=True)}
    if letter == "F" and "K" in order[: state.taken]:
        return {replace(state, ahead=True)}  # cannot be opened yet, and skips a number
    if letter not in order[state.taken : state.taken + 1]:
        return {replace(state, end="unexpected_message")}
    after = replace(state, taken=state.taken + 1)
    # A ChangeCipherSpec that came before the last message may count after all, or not.
    return {after, replace(after, changed=False)} if after.taken == len(order) else {after}
