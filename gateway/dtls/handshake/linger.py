"""The last flight, kept for a peer that did not get it: the server's, or the client's where a session was resumed."""

from gateway.dtls.handshake.flight import Flight, Retransmission, Sealer


class Linger:
    """What an association keeps for a while after the handshake, for a peer that did not get our last flight.

    Attributes:
        client_random: Tells a late copy of the ClientHello from a new one.
        expires_at: When to forget this, seconds.
    """

    __slots__ = ("_flight", "_limit", "_retransmission", "_sealer", "client_random", "expires_at")

    def __init__(
        self, client_random: bytes, expires_at: float, flight: Flight, sealer: Sealer, limit: int, now: float
    ) -> None:
        self.client_random = client_random
        self.expires_at = expires_at
        self._flight = flight
        self._sealer = sealer
        self._limit = limit
        self._retransmission = Retransmission(0.0)
        self._retransmission.sent(now)

    def repeat(self, now: float) -> list[bytes]:
        """The last flight again, under new record numbers; empty when it was only just sent."""
        return self._flight.datagrams(self._sealer, self._limit) if self._retransmission.asked(now) else []
