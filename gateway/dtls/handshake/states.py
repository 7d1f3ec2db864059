"""The kinds of state, shared by server and client. A driver knows these; what the states mean is in `server_states`
and `client_states`.

A state has the fields that it needs and no others. Which messages may come is data: `accepts`.
"""

from abc import abstractmethod
from typing import ClassVar

from gateway.dtls.errors import HandshakeError
from gateway.dtls.handshake.common import SessionKeys
from gateway.dtls.messages.framing import HandshakeMessage
from gateway.dtls.numbers import HandshakeType


class State:
    """Any state. `accepts` is what may come next; everything else is unexpected_message."""

    __slots__ = ()
    accepts: ClassVar[frozenset[HandshakeType]] = frozenset()

    def write_keys(self) -> SessionKeys | None:
        """What protects our own flight behind its ChangeCipherSpec, if a flight that leads to this state has one."""
        return None


class ReadingState(State):
    """Waits for a message of the peer."""

    __slots__ = ()

    @abstractmethod
    def on_message(self, message: HandshakeMessage) -> State:
        """The next state. The message's type is in `accepts`.

        Raises:
            DecodeError: The message's syntax is broken.
            HandshakeError: The handshake has failed.
        """


class SuspendedState(State):
    """Waits for the shell; what the peer sends meanwhile is kept, within limits."""

    __slots__ = ()


class FinishedState(ReadingState):
    """Waits for Finished, and reads nothing but epoch 1.

    Attributes:
        keys: What opens the records.
        refusal: What it means when the first of them does not open.
    """

    __slots__ = ("keys", "refusal")

    def __init__(self, keys: SessionKeys, refusal: HandshakeError) -> None:
        self.keys = keys
        self.refusal = refusal


class ExpectChangeCipherSpec(State):
    """Waits for the mark between the epochs (RFC 5246 section 7.1), which is no handshake message."""

    __slots__ = ("then",)

    def __init__(self, then: FinishedState) -> None:
        self.then = then

    def write_keys(self) -> SessionKeys:
        return self.then.keys

    def on_change_cipher_spec(self) -> FinishedState:
        return self.then


class Established(State):
    """The peer's Finished has verified."""

    __slots__ = ("keys",)

    def __init__(self, keys: SessionKeys) -> None:
        self.keys = keys

    def write_keys(self) -> SessionKeys:
        return self.keys
