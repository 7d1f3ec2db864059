"""Clients and servers with raw public keys (RFC 7250), one step at a time: see `rawclient` and `rawserver`."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.dtls.rawclient import Key, RawClient, default_extensions, handshake
from tests.dtls.rawserver import ClientWorld, RawServer, certificate_parameters
from tests.dtls.support import device

CLIENT_TYPE, SERVER_TYPE = 19, 20
X509, OPENPGP, RAW = 0, 1, 2

# RFC 7250 appendix A has an example of a key; P-256's SubjectPublicKeyInfo begins like this (RFC 5480).
P256_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def spki(key: Key) -> bytes:
    """Written down by hand for P-256: the prefix and the point."""
    public = key.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        return P256_PREFIX + public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def opaque24(data: bytes) -> bytes:
    return len(data).to_bytes(3, "big") + data


@dataclass(slots=True)
class RpkClient(RawClient):
    """Attributes:
    server_key: The server's raw public key, if that is what it sent.
    """

    server_key: bytes = b""

    def _take(self, message_type: int, seq: int, body: bytes) -> None:
        if message_type == 11 and (self.answers.get(SERVER_TYPE) == bytes((RAW,))):
            self.messages.append((message_type, seq, body))
            self.transcript.append(handshake(message_type, seq, body))
            length = int.from_bytes(body[:3], "big")
            assert length == len(body) - 3
            self.server_key = body[3:]
        else:
            RawClient._take(self, message_type, seq, body)

    @property
    def answers(self) -> dict[int, bytes]:
        assert self.server_hello is not None
        return self.server_hello.extensions or {}

    def certificate(self, chain: tuple[bytes, ...] | None = None) -> bytes:
        """Without a chain of its own: what was negotiated."""
        bare = chain is None and self.answers.get(CLIENT_TYPE) == bytes((RAW,))
        return self.key() if bare else RawClient.certificate(self, chain)

    def key(self, public_key: bytes | None = None) -> bytes:
        """Certificate with a bare key."""
        assert self.device is not None
        return self.message(11, opaque24(spki(self.device.key) if public_key is None else public_key))


def listing(client: bytes | None = None, server: bytes | None = None, suites: tuple[int, ...] = (0xC0AE,)) -> RpkClient:
    """A client that lists these certificate types."""
    extensions = default_extensions()
    for number, types in ((CLIENT_TYPE, client), (SERVER_TYPE, server)):
        if types is not None:
            extensions[number] = bytes((len(types),)) + types
    return RpkClient(suites=suites, device=device(), extensions=extensions)


@dataclass(slots=True)
class RpkServer(RawServer):
    """Attributes:
    client_key: The client's raw public key.
    """

    client_key: bytes = b""

    def _take(self, message_type: int, seq: int, body: bytes) -> None:
        if message_type == 11 and (self.extensions or {}).get(CLIENT_TYPE) == bytes((RAW,)):
            self.messages.append((message_type, seq, body))
            self.transcript.append(handshake(message_type, seq, body))
            self.client_key = body[3:]
            self.client_chain = device().chain  # for its signature: the same key
        else:
            RawServer._take(self, message_type, seq, body)

    def present(self, chain: tuple[bytes, ...] | None = None) -> bytes:
        """Without a chain of its own: what the server said that it would present."""
        bare = chain is None and (self.extensions or {}).get(SERVER_TYPE) == bytes((RAW,))
        return self.message(11, opaque24(spki(self._identity().key))) if bare else RawServer.present(self, chain)


def raw_pair(
    answers: dict[int, bytes], client: tuple[int, ...] = (RAW,), server: tuple[int, ...] = (RAW,)
) -> tuple[ClientWorld, RpkServer]:
    parameters = certificate_parameters(client_certificate_types=client, server_certificate_types=server)
    world, raw = ClientWorld(parameters), RpkServer(chosen=0xC0AE)
    raw.read(world.opening)
    raw.extensions = {23: b"", 0xFF01: b"\x00", **answers}
    return world, raw
