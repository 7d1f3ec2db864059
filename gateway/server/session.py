"""One device that is connected: who it is, its association, and the state of its CoAP messages."""

from dataclasses import replace
from typing import Final

from gateway.coap import Peer
from gateway.dtls import Association
from gateway.handlers.limits import MAX_RESPONSE_BYTES
from gateway.model import Device, Principal

_NO_LIMIT: Final = 65_507


class Session(Peer):
    """The `context` of an association, and the CoAP peer in one object: there are very many of them.

    Attributes:
        principal: The proven identity.
        datagram_limit: Bytes of UDP payload that the path to the device carries.
        association: None until the handshake has completed, and again when the association has ended.
        older: The session that the same device had before this one, while it lasts.
        newer: The one after it.
    """

    __slots__ = ("association", "datagram_limit", "newer", "older", "principal")

    def __init__(self, principal: Principal) -> None:
        super().__init__()
        self.principal = principal
        self.datagram_limit = _NO_LIMIT
        self.association: Association | None = None
        self.older: Session | None = None
        self.newer: Session | None = None

    def renew(self, device: Device) -> None:
        """Takes what an operator changed about the device: its tags, its attributes."""
        if device != self.principal.device:
            self.principal = replace(self.principal, device=device)

    @property
    def is_open(self) -> bool:
        """Whether something can be sent to the device."""
        return self.association is not None and not self.association.closed

    @property
    def owner(self) -> tuple[str, str]:
        """The device: what it observes is its own, whatever session it has, and all it has is counted together."""
        device = self.principal.device
        return device.tenant_id, device.id

    @property
    def max_message(self) -> int:
        """Bytes of the largest CoAP message that goes out: one record, as large as the device and the path take it."""
        association = self.association
        if association is None:
            return MAX_RESPONSE_BYTES
        return min(MAX_RESPONSE_BYTES, association.sizes.send, self.datagram_limit - association.overhead)
