"""What the endpoint counts: plain integers, read when metrics are scraped. On the path of a record nothing may be
done for a metric but to add one."""

from collections import Counter
from struct import Struct
from typing import Final

from gateway.dtls.errors import DropReason
from gateway.dtls.messages.framing import Alert
from gateway.dtls.numbers import AlertLevel, ContentType
from gateway.dtls.record import RECORD_HEADER_LENGTH

_TLS12_CID: Final = int(ContentType.TLS12_CID)
_type_and_length: Final = Struct(">B10xH").unpack_from
_LEVELS: Final[dict[int, str]] = {level: level.name.lower() for level in AlertLevel}


class EndpointCounters:
    """Attributes:
    drops: Records and datagrams dropped without an answer, by reason.
    hello_verify_sent: HelloVerifyRequests.
    hello_verify_valid: ClientHellos with a good cookie.
    hello_verify_invalid: ClientHellos with a bad or old cookie.
    alerts: By direction, level and description.
    received: Records that reached a handshake or an association, by content type.
    sent: Records sent but HelloVerifyRequests and application data, by content type.
    address_changes: Associations that moved to another address of their peer.
    withheld: Records not sent, because an unproven address has had three times the bytes received from there.
    direct_received: Records of application data that the shell opened without the endpoint.
    application_data_sent: Records of application data sent.
    questions_held: Questions to the shell that were held back, because the credential or its network failed lately.
    """

    __slots__ = (
        "address_changes",
        "alerts",
        "application_data_sent",
        "direct_received",
        "drops",
        "hello_verify_invalid",
        "hello_verify_sent",
        "hello_verify_valid",
        "questions_held",
        "received",
        "sent",
        "withheld",
    )

    def __init__(self) -> None:
        self.drops = dict.fromkeys(DropReason, 0)
        self.hello_verify_sent = 0
        self.hello_verify_valid = 0
        self.hello_verify_invalid = 0
        self.received: dict[int, int] = dict.fromkeys(ContentType, 0)
        self.sent: dict[int, int] = dict.fromkeys(ContentType, 0)
        self.address_changes = 0
        self.withheld = 0
        self.direct_received = 0
        self.application_data_sent = 0
        self.questions_held = 0
        # Closed: level is one of three words, description one of the enum's names or "unknown".
        self.alerts: Counter[tuple[str, str, str]] = Counter()

    def alert(self, direction: str, alert: Alert) -> None:
        self.alerts[direction, _LEVELS.get(alert.level, "unknown"), alert.name] += 1

    def count_received(self, content_type: int) -> None:
        if content_type in self.received:
            self.received[content_type] += 1

    def count_sent(self, datagram: bytes, cid_length: int = 0) -> None:
        """Counts the records of a datagram of ours; not for the established path.

        Args:
            datagram: Well-formed.
            cid_length: Bytes of the peer's connection id, in records that carry one.
        """
        sent = self.sent
        position, end = 0, len(datagram)
        while position < end:
            content_type, length = _type_and_length(datagram, position)
            if content_type == _TLS12_CID:  # the id stands before the length
                position += cid_length
                _, length = _type_and_length(datagram, position)
            sent[content_type] += 1
            position += RECORD_HEADER_LENGTH + length
