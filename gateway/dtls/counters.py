"""What the endpoint counts: plain integers, read when metrics are scraped."""

from collections import Counter

from gateway.dtls.errors import DropReason
from gateway.dtls.messages.framing import Alert
from gateway.dtls.numbers import AlertLevel


class EndpointCounters:
    """Attributes:
    drops: Records and datagrams dropped without an answer, by reason.
    hello_verify_sent: HelloVerifyRequests.
    hello_verify_valid: ClientHellos with a good cookie.
    hello_verify_invalid: ClientHellos with a bad or old cookie.
    alerts: By direction, level and description.
    """

    __slots__ = ("alerts", "drops", "hello_verify_invalid", "hello_verify_sent", "hello_verify_valid")

    def __init__(self) -> None:
        self.drops = dict.fromkeys(DropReason, 0)
        self.hello_verify_sent = 0
        self.hello_verify_valid = 0
        self.hello_verify_invalid = 0
        # Closed: level is one of three words, description one of the enum's names or "unknown".
        self.alerts: Counter[tuple[str, str, str]] = Counter()

    def alert(self, direction: str, alert: Alert) -> None:
        levels = {int(AlertLevel.WARNING): "warning", int(AlertLevel.FATAL): "fatal"}
        self.alerts[direction, levels.get(alert.level, "unknown"), alert.name] += 1
