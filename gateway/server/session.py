"""One device that is connected: who it is, its association, and the state of its CoAP messages."""

from gateway.coap import Peer
from gateway.dtls import Association
from gateway.handlers.limits import MAX_RESPONSE_BYTES
from gateway.model import Principal


class Session(Peer):
    """The `context` of an association, and the CoAP peer in one object: there are very many of them.

    Attributes:
        principal: The proven identity.
        association: None until the handshake has completed.
        older: The session that the same device had before this one, while it lasts.
    """

    __slots__ = ("association", "older", "principal")

    def __init__(self, principal: Principal) -> None:
        super().__init__()
        self.principal = principal
        self.association: Association | None = None
        self.older: Session | None = None

    @property
    def max_message(self) -> int:
        """Bytes of the largest CoAP message that goes out: one record, as large as the device takes them."""
        association = self.association
        return MAX_RESPONSE_BYTES if association is None else min(MAX_RESPONSE_BYTES, association.sizes.send)
