"""The stateless gate in front of the server's endpoint (RFC 6347 section 4.2.1).

Until a client has shown by a cookie that it receives what is sent to its address, a ClientHello is looked at and
perhaps answered, and nothing is kept, computed or looked up for it; where the configuration says so, a good ticket does
instead (`sparing`). Only the first fragment of a ClientHello counts, so
that a fragmented one passes if its first piece reaches to the compression methods.
"""

from gateway.dtls.cookie import Address, CookieJar
from gateway.dtls.errors import DropReason
from gateway.dtls.messages.framing import HandshakeMessage, decode_fragment
from gateway.dtls.messages.hello import HelloPrefix, HelloStart, HelloVerifyRequest
from gateway.dtls.numbers import DTLS_1_0, ContentType, HandshakeType
from gateway.dtls.record import Record, encode_record


def hello_start(record: Record) -> HelloStart | None:
    """The ClientHello that begins in a plain handshake record; None if none does.

    Raises:
        DecodeError: The record is malformed, or ends too early.
    """
    fragment, _ = decode_fragment(record.fragment, 0)
    if fragment.type != HandshakeType.CLIENT_HELLO or fragment.offset:
        return None
    return HelloStart(record.sequence, fragment.message_seq, HelloPrefix.decode(fragment.data))


class Gate:
    """Holds a secret, and nothing about any client."""

    __slots__ = ("_cookies",)

    def __init__(self, secret: bytes) -> None:
        self._cookies = CookieJar(secret)

    def judge(self, hello: HelloStart, address: Address, size: int, now: float) -> bytes | DropReason | None:
        """What becomes of a ClientHello.

        Args:
            hello: Its beginning.
            address: Where it came from.
            size: Bytes of the datagram that brought it.
            now: Seconds.

        Returns:
            None when its cookie is good; else the datagram to answer with, or why there is no answer.
        """
        if not hello.is_early:
            return DropReason.MALFORMED
        prefix = hello.prefix
        if prefix.cookie and self._cookies.verify(prefix.cookie, address, prefix.parameters, now):
            return None
        return self.question(hello, address, size, now)

    def question(self, hello: HelloStart, address: Address, size: int, now: float) -> bytes | DropReason:
        """The HelloVerifyRequest that asks for a cookie; arguments as for `judge`."""
        prefix = hello.prefix
        body = HelloVerifyRequest(self._cookies.make(address, prefix.parameters, now)).encode()
        # Both numbers are the ClientHello's, which keeps us stateless.
        message = HandshakeMessage.of(HandshakeType.HELLO_VERIFY_REQUEST, hello.message_seq, body)
        answer = encode_record(ContentType.HANDSHAKE, hello.sequence, message.whole, DTLS_1_0)
        # Never more than was sent to us: we are nobody's amplifier.
        return answer if len(answer) <= size else DropReason.MALFORMED
