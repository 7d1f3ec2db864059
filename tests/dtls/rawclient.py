"""A client that does one step at a time, and any step wrong.

Each method gives one record and moves nothing but its own counters, so that a test can leave records out, repeat them,
reorder them or change their bytes. Keys, nonces and Finished come from formulas of the RFCs written down here
once more, over the standard library's HMAC: the server's arithmetic is never checked against itself.
"""

import hashlib
import hmac
import io
import itertools
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.dtls.messages import extensions as ext
from gateway.dtls.messages.certificate import Certificate, DigitallySigned
from gateway.dtls.messages.hello import ClientHello, HelloVerifyRequest, ServerHello
from gateway.dtls.messages.key_exchange import EcdheParameters, EcdheServerKeyExchange

CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
TLS12_CID, PATH_CHECK = 25, 27

CURVES: dict[int, type[ec.EllipticCurve]] = {23: ec.SECP256R1, 24: ec.SECP384R1}

PSK_SUITES = {
    0xC0A8: "PSK_AES_128_CCM_8",
    0xC0A4: "PSK_AES_128_CCM",
    0x00A8: "PSK_AES_128_GCM",
    0xC0A9: "PSK_AES_256_CCM_8",
    0xC0A5: "PSK_AES_256_CCM",
    0x00A9: "PSK_AES_256_GCM",
    0xCCAB: "PSK_CHACHA20_POLY1305",
}
ECDHE_PSK_SUITES = {
    0xD003: "ECDHE_PSK_AES_128_CCM_8",
    0xD005: "ECDHE_PSK_AES_128_CCM",
    0xD001: "ECDHE_PSK_AES_128_GCM",
    0xD002: "ECDHE_PSK_AES_256_GCM",
    0xCCAC: "ECDHE_PSK_CHACHA20_POLY1305",
}
ECDHE_SUITES = {
    0xC0AE: "ECDHE_ECDSA_AES_128_CCM_8",
    0xC0AC: "ECDHE_ECDSA_AES_128_CCM",
    0xC02B: "ECDHE_ECDSA_AES_128_GCM",
    0xC0AF: "ECDHE_ECDSA_AES_256_CCM_8",
    0xC0AD: "ECDHE_ECDSA_AES_256_CCM",
    0xC02C: "ECDHE_ECDSA_AES_256_GCM",
    0xCCA9: "ECDHE_ECDSA_CHACHA20_POLY1305",
}
ECDHE_RSA_SUITES = {
    0xC02F: "ECDHE_RSA_AES_128_GCM",
    0xC030: "ECDHE_RSA_AES_256_GCM",
    0xCCA8: "ECDHE_RSA_CHACHA20_POLY1305",
}
SUITES = PSK_SUITES | ECDHE_PSK_SUITES | ECDHE_SUITES | ECDHE_RSA_SUITES
"""IANA numbers and names. RFC 6655, 7251 (CCM), 5487, 5289 (GCM), 8442 (ECDHE_PSK), 7905 (ChaCha20-Poly1305)."""


def suite_hash(suite: int) -> str:
    """Of PRF and transcript: SHA-384 with AES-256-GCM (RFC 5487, 5289, 8442), SHA-256 with everything else."""
    return "sha384" if SUITES[suite].endswith("AES_256_GCM") else "sha256"


def key_length(suite: int) -> int:
    return 16 if "AES_128" in SUITES[suite] else 32


def tag_length(suite: int) -> int:
    return 8 if SUITES[suite].endswith("CCM_8") else 16


def iv_length(suite: int) -> int:
    """Bytes of the nonce out of the key block: four for CCM and GCM, all twelve for ChaCha20-Poly1305."""
    return 12 if SUITES[suite].endswith("POLY1305") else 4


def explicit_length(suite: int) -> int:
    """Bytes of the nonce that are in the record."""
    return 12 - iv_length(suite)


def aead(suite: int, key: bytes) -> AESCCM | AESGCM | ChaCha20Poly1305:
    assert len(key) == key_length(suite)
    if SUITES[suite].endswith("POLY1305"):
        return ChaCha20Poly1305(key)
    if SUITES[suite].endswith("GCM"):
        return AESGCM(key)
    return AESCCM(key, tag_length=tag_length(suite))


def nonce(suite: int, iv: bytes, number: bytes) -> bytes:
    """The nonce of a record with that epoch and sequence number.

    RFC 6655 section 3 and RFC 9325 section 7.2.1: both one after the other. RFC 7905 section 2: the number, padded on
    the left to twelve bytes, XORed into the IV.
    """
    if explicit_length(suite):
        return iv + number
    return bytes(a ^ b for a, b in zip(iv, bytes(4) + number, strict=True))


def prf(secret: bytes, label: bytes, seed: bytes, length: int, algorithm: str = "sha256") -> bytes:
    """P_hash of RFC 5246 section 5: A(0) = label + seed, A(i) = HMAC(secret, A(i-1))."""
    output, a = b"", label + seed
    while len(output) < length:
        a = hmac.digest(secret, a, algorithm)
        output += hmac.digest(secret, a + label + seed, algorithm)
    return output[:length]


def plain_premaster(psk: bytes) -> bytes:
    """RFC 4279 section 2: uint16 N, N zero bytes, uint16 N, the key."""
    n = len(psk).to_bytes(2, "big")
    return n + bytes(len(psk)) + n + psk


def ecdhe_premaster(psk: bytes, shared: bytes) -> bytes:
    """RFC 5489 section 2: uint16 length of Z, Z, uint16 length of the key, the key."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in (shared, psk))


class DirectionKeys:
    """One direction of a connection state: key, implicit nonce, and the AEAD of the suite's name."""

    def __init__(self, suite: int, key: bytes, iv: bytes) -> None:
        self.suite = suite
        self.key = key
        self.iv = iv
        self.explicit_length = explicit_length(suite)
        self.tag_length = tag_length(suite)
        self._aead = aead(suite, key)

    def seal(self, content_type: int, number: int, content: bytes, version: int = 0xFEFD) -> bytes:
        """GenericAEADCipher; the explicit nonce is epoch and sequence number (RFC 6655 section 3)."""
        seq_num = number.to_bytes(8, "big")
        aad = seq_num + bytes((content_type,)) + version.to_bytes(2, "big") + len(content).to_bytes(2, "big")
        sealed = self._aead.encrypt(nonce(self.suite, self.iv, seq_num), content, aad)
        return seq_num[: self.explicit_length] + sealed

    def seal_inner(self, number: int, cid: bytes, inner: bytes) -> bytes:
        """The protected body of a record with a connection id; `inner` is content, real type, zeros."""
        seq_num = number.to_bytes(8, "big")
        sealed = self._aead.encrypt(nonce(self.suite, self.iv, seq_num), inner, cid_aad(seq_num, cid, len(inner)))
        return seq_num[: self.explicit_length] + sealed

    def open_inner(self, number: bytes, cid: bytes, fragment: bytes) -> bytes:
        length = len(fragment) - self.explicit_length - self.tag_length
        aad = cid_aad(number, cid, length)
        return self._aead.decrypt(self.nonce(number, fragment), fragment[self.explicit_length :], aad)

    def nonce(self, number: bytes, fragment: bytes) -> bytes:
        return nonce(self.suite, self.iv, fragment[:8] if self.explicit_length else number)

    def open(self, content_type: int, number: bytes, fragment: bytes) -> bytes:
        length = len(fragment) - self.explicit_length - self.tag_length
        aad = number + bytes((content_type,)) + b"\xfe\xfd" + length.to_bytes(2, "big")
        return self._aead.decrypt(self.nonce(number, fragment), fragment[self.explicit_length :], aad)


Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

DIGESTS: dict[int, hashes.HashAlgorithm] = {
    0x0203: hashes.SHA1(),
    0x0501: hashes.SHA384(),
    0x0503: hashes.SHA384(),
    0x0601: hashes.SHA512(),
    0x0603: hashes.SHA512(),
    0x0805: hashes.SHA384(),
    0x0806: hashes.SHA512(),
}
"""Hashes of signature schemes; SHA-256 for those that are not listed."""


def sign(key: Key, scheme: int, data: bytes) -> bytes:
    """A signature with the scheme if the key can, else with one that it can: to see it refused."""
    digest = DIGESTS.get(scheme, hashes.SHA256())
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)  # RFC 8446 section 4.2.3
        return key.sign(data, pss if scheme >> 8 == 8 else padding.PKCS1v15(), digest)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    # Deterministic (RFC 6979): the length of a signature is part of what a test repeats.
    return key.sign(data, ec.ECDSA(digest, deterministic_signing=True))


@dataclass(slots=True)
class Device:
    """A certificate and its key; RSA only for a server's."""

    key: Key
    chain: tuple[bytes, ...]


@dataclass(slots=True)
class Received:
    """A record of the server, opened where it was protected."""

    content_type: int
    version: int
    epoch: int
    sequence: int
    content: bytes
    nonce: bytes = b""
    cid: bytes = b""


@dataclass(slots=True)
class RawClient:
    """Attributes:
    received: Every record of the server, in order of arrival.
    messages: Its handshake messages, whole: (type, message_seq, body), each once, in order.
    transcript: What both sides hash (RFC 6347 section 4.2.6).
    resuming: Master secret of a session before this one, with whose keys the server's first flight ends.
    ticket: The server's, from NewSessionTicket (RFC 5077 section 3.3), and the lifetime that it says.
    next_seq: message_seq of the next message.
    next_number: Next record number, by epoch.
    cid: The connection id that is offered; None offers none.
    path_check: Whether the return routability check is offered.
    server_cid: What the server answers, in every protected record from then on.
    """

    suites: tuple[int, ...] = (0xC0A8,)
    identity: bytes = b"dev1"
    psk: bytes = bytes(range(16))
    device: Device | None = None
    random: bytes = bytes(range(100, 132))
    session_id: bytes = b""
    compression: bytes = b"\x00"
    version: int = 0xFEFD
    extensions: dict[int, bytes] | None = field(default_factory=lambda: default_extensions())
    cookie: bytes = b""
    cid: bytes | None = None
    path_check: bool = False
    server_cid: bytes = b""
    next_seq: int = 0
    next_number: list[int] = field(default_factory=lambda: [0, 0])
    received: list[Received] = field(default_factory=list)
    messages: list[tuple[int, int, bytes]] = field(default_factory=list)
    transcript: list[bytes] = field(default_factory=list)
    server_hello: ServerHello | None = None
    server_key_exchange: EcdheServerKeyExchange | None = None
    server_share: EcdheParameters | None = None
    server_hint: bytes | None = None
    server_chain: tuple[bytes, ...] = ()
    server_finished_verified: bool = False
    master: bytes = b""
    resuming: bytes = b""
    ticket: bytes = b""
    ticket_lifetime: int = 0
    write_keys: DirectionKeys | None = None
    read_keys: DirectionKeys | None = None
    _fragments: dict[int, tuple[int, bytearray, set[int]]] = field(default_factory=dict)
    _expected_seq: int = 0
    _client_finished_transcript: bytes = b""

    # --- records ---------------------------------------------------------------------------------------------------

    def record(
        self, content_type: int, content: bytes, epoch: int = 0, sequence: int | None = None, version: int = 0xFEFD
    ) -> bytes:
        """One record under the next number of its epoch, or under `sequence`; protected in epoch 1."""
        if sequence is None:
            sequence = self.next_number[epoch]
            self.next_number[epoch] += 1
        number = (epoch << 48) | sequence
        if epoch and self.server_cid:
            return self.inner_record(content + bytes((content_type,)), number)
        if epoch:
            assert self.write_keys is not None
            content = self.write_keys.seal(content_type, number, content)
        return raw_record(content_type, number, content, version)

    def inner_record(self, inner: bytes, number: int | None = None, cid: bytes | None = None) -> bytes:
        """A record with a connection id around any DTLSInnerPlaintext."""
        if number is None:
            number = (1 << 48) | self.next_number[1]
            self.next_number[1] += 1
        cid = self.server_cid if cid is None else cid
        assert self.write_keys is not None
        return raw_record(TLS12_CID, number, self.write_keys.seal_inner(number, cid, inner), cid=cid)

    def bare_record(self, content_type: int, content: bytes) -> bytes:
        """A protected record without a connection id, whatever was negotiated."""
        number = (1 << 48) | self.next_number[1]
        self.next_number[1] += 1
        assert self.write_keys is not None
        return raw_record(content_type, number, self.write_keys.seal(content_type, number, content))

    def message(
        self,
        message_type: int,
        body: bytes,
        *,
        epoch: int = 0,
        seq: int | None = None,
        pieces: tuple[int, ...] = (),
    ) -> bytes:
        """A handshake message as one record, or as several cut at the offsets `pieces`; entered into the transcript."""
        if seq is None:
            seq = self.next_seq
            self.next_seq += 1
        self.transcript.append(handshake(message_type, seq, body))
        cuts = [0, *pieces, len(body)]
        return b"".join(
            self.record(HANDSHAKE, handshake(message_type, seq, body, start, stop), epoch)
            for start, stop in itertools.pairwise(cuts)
        )

    # --- the client's messages -------------------------------------------------------------------------------------

    def hello(self, *, version: int = 0xFEFD, pieces: tuple[int, ...] = ()) -> bytes:
        """ClientHello with the cookie that has come so far. The transcript begins with it."""
        self.transcript.clear()
        record = self.message(1, self.hello_body(), pieces=pieces)
        if version != 0xFEFD:
            record = record[:1] + version.to_bytes(2, "big") + record[3:]
        return record

    def hello_body(self) -> bytes:
        extensions = self.extensions
        if self.cid is not None:
            extensions = (extensions or {}) | {54: bytes((len(self.cid),)) + self.cid}
        if self.path_check:
            extensions = (extensions or {}) | {61: b""}
        return ClientHello(
            self.random, self.suites, extensions, self.session_id, self.cookie, self.compression, self.version
        ).encode()

    def certificate(self, chain: tuple[bytes, ...] | None = None) -> bytes:
        if chain is None:
            assert self.device is not None
            chain = self.device.chain
        return self.message(11, Certificate(chain).encode())

    def client_key_exchange(self, public: bytes | None = None) -> bytes:
        """Also derives the keys: everything that they depend on is then known."""
        if self.is_psk:
            record = self.message(16, len(self.identity).to_bytes(2, "big") + self.identity)
            self._derive(plain_premaster(self.psk))
            return record
        ours, shared = self._agree()
        point = ours if public is None else public
        exchange = len(point).to_bytes(1, "big") + point
        premaster = shared
        if self.suite in ECDHE_PSK_SUITES:  # RFC 5489 section 2: the identity, then the point
            exchange = len(self.identity).to_bytes(2, "big") + self.identity + exchange
            premaster = ecdhe_premaster(self.psk, shared)
        record = self.message(16, exchange)
        self._derive(premaster)
        return record

    def certificate_verify(
        self, *, key: Key | None = None, scheme: int | None = None, content: bytes | None = None
    ) -> bytes:
        if key is None:
            assert self.device is not None
            key = self.device.key
        if scheme is None:
            scheme = 0x0807 if isinstance(key, ed25519.Ed25519PrivateKey) else 0x0403
        signed = b"".join(self.transcript) if content is None else content
        return self.message(15, DigitallySigned(scheme, sign(key, scheme, signed)).encode())

    def change_cipher_spec(self) -> bytes:
        return self.record(CCS, b"\x01")

    def finished(self, *, epoch: int = 1, verify_data: bytes | None = None) -> bytes:
        if verify_data is None:
            verify_data = self.prf(b"client finished", self.transcript_hash())
        return self.message(20, verify_data, epoch=epoch)

    def alert(self, level: int, description: int, epoch: int = 0) -> bytes:
        return self.record(ALERT, bytes((level, description)), epoch)

    def data(self, content: bytes, sequence: int | None = None) -> bytes:
        return self.record(DATA, content, 1, sequence)

    def answer_flight(self) -> list[bytes]:
        """Everything from the server's Done to our Finished, as it should be, one record an item."""
        if self.with_key:
            records = [self.client_key_exchange()]
        else:
            records = [self.certificate(), self.client_key_exchange(), self.certificate_verify()]
        return [*records, self.change_cipher_spec(), self.finished()]

    # --- the server's side -----------------------------------------------------------------------------------------

    def read(self, datagrams: list[bytes]) -> list[Received]:
        """Takes the server's datagrams, keeps what they bring, and gives their records."""
        news: list[Received] = []
        for datagram in datagrams:
            for content_type, version, number, fragment in split(datagram, cid_length=len(self.cid or b"")):
                epoch, sequence = number >> 48, number & ((1 << 48) - 1)
                used = cid = b""
                if content_type == TLS12_CID:
                    assert self.read_keys is not None
                    cid = self.cid or b""
                    used = self.read_keys.nonce(number.to_bytes(8, "big"), fragment)
                    inner = self.read_keys.open_inner(number.to_bytes(8, "big"), cid, fragment).rstrip(b"\0")
                    content_type, fragment = inner[-1], inner[:-1]
                elif epoch:
                    assert self.read_keys is not None
                    used = self.read_keys.nonce(number.to_bytes(8, "big"), fragment)
                    fragment = self.read_keys.open(content_type, number.to_bytes(8, "big"), fragment)
                record = Received(content_type, version, epoch, sequence, fragment, used, cid)
                news.append(record)
                if content_type == HANDSHAKE:
                    self._collect(fragment)
        self.received += news
        return news

    def resume(self) -> None:
        """RFC 5246 section 7.3: the new randoms with the old master secret."""
        assert self.server_hello is not None
        self.master = self.resuming
        self.write_keys, self.read_keys = traffic_keys(self.suite, self.master, self.random, self.server_hello.random)

    def transcript_hash(self) -> bytes:
        return hashlib.new(suite_hash(self.suite), b"".join(self.transcript)).digest()

    def prf(self, label: bytes, seed: bytes, length: int = 12) -> bytes:
        """Out of the master secret."""
        return prf(self.master, label, seed, length, suite_hash(self.suite))

    @property
    def suite(self) -> int:
        assert self.server_hello is not None
        return self.server_hello.cipher_suite

    @property
    def is_psk(self) -> bool:
        """Plain PSK, with no ephemeral keys."""
        return self.suite in PSK_SUITES

    @property
    def with_key(self) -> bool:
        """The client proves itself with its pre-shared key."""
        return self.suite in PSK_SUITES | ECDHE_PSK_SUITES

    def _collect(self, content: bytes) -> None:
        position = 0
        while position < len(content):
            message_type = content[position]
            header = content[position + 1 : position + 12]
            length, seq = int.from_bytes(header[0:3], "big"), int.from_bytes(header[3:5], "big")
            offset, size = int.from_bytes(header[5:8], "big"), int.from_bytes(header[8:11], "big")
            data = content[position + 12 : position + 12 + size]
            position += 12 + size
            if seq < self._expected_seq:
                continue
            _, body, have = self._fragments.setdefault(seq, (message_type, bytearray(length), set()))
            body[offset : offset + size] = data
            have.update(range(offset, offset + size))
        while self._expected_seq in self._fragments:
            message_type, body, have = self._fragments[self._expected_seq]
            if len(have) != len(body):
                return
            self._take(message_type, self._expected_seq, bytes(body))
            self._expected_seq += 1

    def _take(self, message_type: int, seq: int, body: bytes) -> None:
        self.messages.append((message_type, seq, body))
        if message_type == 3:
            self.cookie = HelloVerifyRequest.decode(body).cookie
            return
        if message_type == 20:
            expected = self.prf(b"server finished", self.transcript_hash())
            self.server_finished_verified = body == expected
        self.transcript.append(handshake(message_type, seq, body))
        if message_type == 2:
            self.server_hello = ServerHello.decode(body)
            self.server_cid = (self.server_hello.extensions or {}).get(54, b"\0")[1:]
            if self.resuming:
                self.resume()
        elif message_type == 4:
            self.ticket_lifetime, self.ticket = int.from_bytes(body[:4], "big"), body[6:]
        elif message_type == 11:
            self.server_chain = Certificate.decode(body).chain
        elif message_type == 12 and self.suite in ECDHE_PSK_SUITES:
            self._take_ecdhe_psk(body)
        elif message_type == 12 and not self.is_psk:
            self.server_key_exchange = EcdheServerKeyExchange.decode(body)
            self.server_share = self.server_key_exchange.parameters

    def _take_ecdhe_psk(self, body: bytes) -> None:
        """RFC 5489 section 2: psk_identity_hint<0..2^16-1>, then ServerECDHParams with a named curve."""
        hint_length = int.from_bytes(body[:2], "big")
        self.server_hint, rest = body[2 : 2 + hint_length], body[2 + hint_length :]
        assert rest[0] == 3
        assert rest[3] == len(rest) - 4
        self.server_share = EcdheParameters(int.from_bytes(rest[1:3], "big"), rest[4:])

    def _agree(self) -> tuple[bytes, bytes]:
        """Our public value and the shared secret (RFC 8422 sections 5.7, 5.10)."""
        assert self.server_share is not None
        theirs = self.server_share
        if theirs.group == 29:
            private = x25519.X25519PrivateKey.generate()
            shared = private.exchange(x25519.X25519PublicKey.from_public_bytes(theirs.public))
            return private.public_key().public_bytes_raw(), shared
        key = ec.generate_private_key(CURVES[theirs.group]())
        shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(key.curve, theirs.public))
        return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint), shared

    def _derive(self, premaster: bytes) -> None:
        """RFC 5246 sections 8.1 and 6.3, RFC 7627 section 4. No MAC keys."""
        assert self.server_hello is not None
        algorithm = suite_hash(self.suite)
        if 23 in (self.server_hello.extensions or {}):
            self.master = prf(premaster, b"extended master secret", self.transcript_hash(), 48, algorithm)
        else:
            self.master = prf(premaster, b"master secret", self.random + self.server_hello.random, 48, algorithm)
        self.write_keys, self.read_keys = traffic_keys(self.suite, self.master, self.random, self.server_hello.random)


def traffic_keys(
    suite: int, master: bytes, client_random: bytes, server_random: bytes
) -> tuple[DirectionKeys, DirectionKeys]:
    """The client's and the server's (RFC 5246 section 6.3)."""
    key, iv = key_length(suite), iv_length(suite)
    block = io.BytesIO(prf(master, b"key expansion", server_random + client_random, 2 * (key + iv), suite_hash(suite)))
    keys = block.read(key), block.read(key)
    ivs = block.read(iv), block.read(iv)
    return DirectionKeys(suite, keys[0], ivs[0]), DirectionKeys(suite, keys[1], ivs[1])


def default_extensions() -> dict[int, bytes]:
    """extended_master_secret, renegotiation_info, P-256, uncompressed points, ecdsa_secp256r1_sha256."""
    return {
        23: b"",
        0xFF01: b"\x00",
        10: ext.encode_u16_list((23,)),
        11: b"\x01\x00",
        13: ext.encode_u16_list((0x0403,)),
    }


def without(*types: int) -> dict[int, bytes]:
    """The default extensions but for these."""
    return {number: body for number, body in default_extensions().items() if number not in types}


def handshake(message_type: int, seq: int, body: bytes, start: int = 0, stop: int | None = None) -> bytes:
    """A handshake fragment (RFC 6347 section 4.2.2); without `start` and `stop` the whole message."""
    stop = len(body) if stop is None else stop
    header = bytes((message_type,)) + len(body).to_bytes(3, "big") + seq.to_bytes(2, "big")
    return header + start.to_bytes(3, "big") + (stop - start).to_bytes(3, "big") + body[start:stop]


def raw_record(content_type: int, number: int, fragment: bytes, version: int = 0xFEFD, cid: bytes = b"") -> bytes:
    """DTLSPlaintext (RFC 6347 section 4.1); `number` is epoch and sequence number, `cid` that of RFC 9146 section 4."""
    head = bytes((content_type,)) + version.to_bytes(2, "big") + number.to_bytes(8, "big") + cid
    return head + len(fragment).to_bytes(2, "big") + fragment


def cid_aad(seq_num: bytes, cid: bytes, length: int) -> bytes:
    """RFC 9146 section 5.3: seq_num_placeholder, tls12_cid, cid_length, tls12_cid, version, epoch and sequence_number,
    cid, length_of_DTLSInnerPlaintext."""
    return (
        b"\xff\xff\xff\xff\xff\xff\xff\xff"
        + b"\x19"
        + len(cid).to_bytes(1, "big")
        + b"\x19"
        + b"\xfe\xfd"
        + seq_num
        + cid
        + length.to_bytes(2, "big")
    )


def split(datagram: bytes, *, cid_length: int = 0) -> list[tuple[int, int, int, bytes]]:
    """The records of a well-formed datagram: type, version, number, fragment. Of a record with a connection id, which
    has `cid_length` bytes, the id is left out."""
    records = []
    position = 0
    while position < len(datagram):
        head = datagram[position : position + 13]
        if head[0] == TLS12_CID:
            position += cid_length
        length = int.from_bytes(datagram[position + 11 : position + 13], "big")
        fragment = datagram[position + 13 : position + 13 + length]
        assert len(fragment) == length, "the server sent a malformed datagram"
        records.append((head[0], int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:11], "big"), fragment))
        position += 13 + length
    return records


def certificate_key(der: bytes) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)
    return key
