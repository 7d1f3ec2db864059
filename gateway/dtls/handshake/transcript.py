"""Every handshake message that both sides have seen, in order (RFC 6347 section 4.2.6)."""

from gateway.dtls.crypto import RunningHash
from gateway.dtls.messages.framing import HandshakeMessage


class Transcript:
    """Hashes as it grows, and keeps the bytes: CertificateVerify may be signed with another hash than ours.

    The first ClientHello and the HelloVerifyRequest are never added; other messages as if sent in one fragment.
    """

    __slots__ = ("_hash", "_messages")

    def __init__(self) -> None:
        self._hash = RunningHash()
        self._messages: list[bytes] = []

    def add(self, message: HandshakeMessage) -> None:
        data = message.for_transcript()
        self._hash.update(data)
        self._messages.append(data)

    def restart(self) -> None:
        """Forgets everything: a HelloVerifyRequest and the hello before it do not count."""
        self._hash = RunningHash()
        self._messages.clear()

    def digest(self) -> bytes:
        """SHA-256 of everything so far."""
        return self._hash.digest()

    def content(self) -> bytes:
        """Everything so far: what CertificateVerify signs (RFC 5246 section 7.4.8)."""
        return b"".join(self._messages)
