"""Every handshake message that both sides have seen, in order (RFC 6347 section 4.2.6)."""

from gateway.dtls.crypto import HashAlgorithm, RunningHash
from gateway.dtls.errors import ApiMisuse
from gateway.dtls.messages.framing import HandshakeMessage


class Transcript:
    """Hashes each byte once, and keeps the bytes: CertificateVerify may be signed with another hash than ours.

    Attributes:
        size: Bytes kept.

    With which hash is known only when the suite is chosen; until then it only keeps.

    The first ClientHello and the HelloVerifyRequest are never added; other messages as if sent in one fragment.
    """

    __slots__ = ("_hash", "_hashed", "_messages", "size")

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self.size = 0
        self._hash: RunningHash | None = None
        self._hashed = 0

    def add(self, message: HandshakeMessage) -> None:
        self._messages.append(message.whole)
        self.size += len(message.whole)

    def restart(self) -> None:
        """Forgets everything: a HelloVerifyRequest and the hello before it do not count."""
        self._messages.clear()
        self.size = 0
        self._hash = None
        self._hashed = 0

    def hash_with(self, algorithm: HashAlgorithm) -> None:
        """The suite is chosen: `digest` is made with its hash (RFC 5246 section 7.4.9)."""
        self._hash = RunningHash(algorithm)
        self._hashed = 0

    def digest(self) -> bytes:
        """The hash of everything so far."""
        if self._hash is None:
            raise ApiMisuse("the suite, and so the hash, is not chosen yet")
        self._hash.update(b"".join(self._messages[self._hashed :]))
        self._hashed = len(self._messages)
        return self._hash.digest()

    def content(self) -> bytes:
        """Everything so far: what CertificateVerify signs (RFC 5246 section 7.4.8)."""
        return b"".join(self._messages)
