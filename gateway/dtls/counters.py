"""What the endpoint counts: plain integers, read when metrics are scraped."""

from collections import Counter

from gateway.dtls.errors import DropReason
from gateway.dtls.messages.framing import Alert
from gateway.dtls.numbers import AlertLevel, ContentType
from gateway.dtls.record import RECORD_HEADER_LENGTH

_LEVELS: dict[int, str] = {level: level.name.lower() for level in AlertLevel}


class EndpointCounters:
    """Attributes:
    drops: Records and datagrams dropped without an answer, by reason.
    hello_verify_sent: HelloVerifyRequests.
    hello_verify_valid: ClientHellos with a good cookie.
    hello_verify_invalid: ClientHellos with a bad or old cookie.
    alerts: By direction, level and description.
    received: Records that reached a handshake or an association, by content type.
    sent: Records sent but HelloVerifyRequests and application data, by content type.
    direct_received: Records of application data that the shell opened without the endpoint.
    application_data_sent: Records of application data sent.
    """

    __slots__ = (
        "alerts",
        "application_data_sent",
        "direct_received",
        "drops",
        "hello_verify_invalid",
        "hello_verify_sent",
        "hello_verify_valid",
        "received",
        "sent",
    )

    def __init__(self) -> None:
        self.drops = dict.fromkeys(DropReason, 0)
        self.hello_verify_sent = 0
        self.hello_verify_valid = 0
        self.hello_verify_invalid = 0
        self.received: dict[int, int] = dict.fromkeys(ContentType, 0)
        self.sent: dict[int, int] = dict.fromkeys(ContentType, 0)
        self.direct_received = 0
        self.application_data_sent = 0
        # Closed: level is one of three words, description one of the enum's names or "unknown".
        self.alerts: Counter[tuple[str, str, str]] = Counter()

    def alert(self, direction: str, alert: Alert) -> None:
        self.alerts[direction, _LEVELS.get(alert.level, "unknown"), alert.name] += 1

    def count_received(self, content_type: int) -> None:
        if content_type in self.received:
            self.received[content_type] += 1

    def count_sent(self, datagram: bytes) -> None:
        """Counts the records of a datagram of ours; not for the established path."""
        position, end = 0, len(datagram)
        while position < end:
            self.sent[datagram[position]] += 1
            length_at = position + RECORD_HEADER_LENGTH - 2
            position += RECORD_HEADER_LENGTH + (datagram[length_at] << 8 | datagram[length_at + 1])
