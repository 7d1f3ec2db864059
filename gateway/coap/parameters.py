"""Transmission parameters (RFC 7252 section 4.8) and what follows from them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransmissionParameters:
    """The defaults are those of RFC 7252 section 4.8, except where said. All durations in seconds.

    Attributes:
        ack_timeout_s: ACK_TIMEOUT, the smallest wait before the first retransmission.
        ack_random_factor: ACK_RANDOM_FACTOR, the first wait is up to this many times as long.
        max_retransmit: MAX_RETRANSMIT.
        nstart: NSTART, the messages and requests to one peer that may be under way at once.
        max_latency_s: MAX_LATENCY, the longest a datagram may take.
        processing_delay_s: PROCESSING_DELAY, after which a request whose handler still works is acknowledged. The RFC
            allows up to ACK_TIMEOUT; half a second leaves the ACK 1.5 s to arrive before the client repeats.

    Raises:
        ValueError: A value would break the back-off.
    """

    ack_timeout_s: float = 2.0
    ack_random_factor: float = 1.5
    max_retransmit: int = 4
    nstart: int = 1
    max_latency_s: float = 100.0
    processing_delay_s: float = 0.5

    def __post_init__(self) -> None:
        if self.ack_timeout_s <= 0 or self.ack_random_factor < 1 or self.max_retransmit < 0:
            raise ValueError("ack_timeout_s must be above 0, ack_random_factor at least 1, max_retransmit at least 0")
        if self.nstart < 1:
            raise ValueError("nstart must be at least 1: nothing could ever be sent")
        if self.max_latency_s < 0 or self.processing_delay_s < 0:
            raise ValueError("max_latency_s and processing_delay_s must not be negative")

    @property
    def max_transmit_span_s(self) -> float:
        """From the first transmission of a confirmable message to its last one: 45 s."""
        return float(self.ack_timeout_s * (2**self.max_retransmit - 1) * self.ack_random_factor)

    @property
    def max_transmit_wait_s(self) -> float:
        """From the first transmission to giving up: 93 s."""
        return float(self.ack_timeout_s * (2 ** (self.max_retransmit + 1) - 1) * self.ack_random_factor)

    @property
    def exchange_lifetime_s(self) -> float:
        """EXCHANGE_LIFETIME, for which a confirmable message id is taken: 247 s.

        It counts the RFC's PROCESSING_DELAY, which is ACK_TIMEOUT, whatever ours is: it is about both sides.
        """
        return self.max_transmit_span_s + 2 * self.max_latency_s + self.ack_timeout_s

    @property
    def non_lifetime_s(self) -> float:
        """NON_LIFETIME, for which a non-confirmable message id is taken: 145 s."""
        return self.max_transmit_span_s + self.max_latency_s

    def first_timeout_s(self, random: bytes) -> float:
        """The wait before the first retransmission: ACK_TIMEOUT times 1 to ACK_RANDOM_FACTOR (section 4.2).

        Args:
            random: Two random bytes.
        """
        spread = int.from_bytes(random, "big") / 0xFFFF
        return self.ack_timeout_s * (1 + (self.ack_random_factor - 1) * spread)
