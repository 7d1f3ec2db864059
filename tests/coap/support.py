"""What the tests of the message layer share: a fixed random source and datagrams built by hand."""

from collections.abc import Callable, Hashable

from gateway.coap import MessageLayer, Peer, TransmissionParameters


class Session(Peer):
    """A peer of an owner who may have several."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Hashable) -> None:
        super().__init__()
        self._owner = owner

    @property
    def owner(self) -> Hashable:
        return self._owner


def fixed_random(value: int) -> Callable[[int], bytes]:
    """Every byte the same."""
    return lambda count: bytes([value]) * count


def new_layer(random_byte: int = 0, max_payload: int = 1280) -> MessageLayer:
    return MessageLayer(random=fixed_random(random_byte), parameters=TransmissionParameters(), max_payload=max_payload)


def post(message_id: int, *, non: bool = False, token: bytes = b"\xaa", rest: bytes = b"\xb1a\xff1") -> bytes:
    """POST /a with the payload "1", as it is on the wire; `rest` is everything behind the token."""
    return bytes([(0x50 if non else 0x40) | len(token), 0x02]) + message_id.to_bytes(2, "big") + token + rest


def sent(layer: MessageLayer, peer: Peer) -> list[str]:
    """What the layer queued, in hex; all of it for this peer."""
    queued = layer.datagrams_to_send()
    assert all(item[0] is peer for item in queued)
    return [item[1].hex() for item in queued]
