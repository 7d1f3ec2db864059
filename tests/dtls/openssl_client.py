"""OpenSSL as a DTLS client in this process, over memory BIOs: a foreign stack, without a socket."""

from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from tests.dtls.rawclient import Device, raw_record, split
from tests.dtls.support import device as p256_device

NAMES = {
    0xC0A8: "PSK-AES128-CCM8",
    0xC0A4: "PSK-AES128-CCM",
    0x00A8: "PSK-AES128-GCM-SHA256",
    0xC0A9: "PSK-AES256-CCM8",
    0xC0A5: "PSK-AES256-CCM",
    0x00A9: "PSK-AES256-GCM-SHA384",
    0xCCAB: "PSK-CHACHA20-POLY1305",
    0xCCAC: "ECDHE-PSK-CHACHA20-POLY1305",
    0xC0AE: "ECDHE-ECDSA-AES128-CCM8",
    0xC0AC: "ECDHE-ECDSA-AES128-CCM",
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC0AF: "ECDHE-ECDSA-AES256-CCM8",
    0xC0AD: "ECDHE-ECDSA-AES256-CCM",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
}


class OpensslClient:
    """One connection.

    Attributes:
        connection: pyOpenSSL's object.
        done: Whether the handshake has completed.
    """

    def __init__(
        self,
        suites: list[int],
        *,
        identity: bytes = b"dev1",
        psk: bytes | None = None,
        certificate: bool = True,
        device: Device | None = None,
        mtu: int = 1400,
        server_name: bytes | None = None,
    ) -> None:
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        # CCM_8 has 64 bits of tag, which OpenSSL takes for level 0.
        context.set_cipher_list(":".join([*(NAMES[suite] for suite in suites), "@SECLEVEL=0"]).encode())
        context.set_options(SSL.OP_NO_QUERY_MTU)
        if certificate:
            own = device or p256_device()
            context.use_certificate(x509.load_der_x509_certificate(own.chain[0]))
            context.use_privatekey(own.key)
        self._callback = None
        if psk is not None:
            key = psk

            # psk_client_callback(3): fills in a NUL-terminated identity and the key, returns the key's length.
            def answer(_ssl: object, _hint: object, name: object, _room: int, out: object, _length: int) -> int:
                ffi.memmove(name, identity + b"\0", len(identity) + 1)
                ffi.memmove(out, key, len(key))
                return len(key)

            signature = "unsigned int(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)"
            self._callback = ffi.callback(signature, answer)  # OpenSSL holds no reference
            lib.SSL_CTX_set_psk_client_callback(context._context, self._callback)
        self.connection = SSL.Connection(context, None)
        self.connection.set_connect_state()
        self.connection.set_ciphertext_mtu(mtu)
        if server_name is not None:
            self.connection.set_tlsext_host_name(server_name)
        self.done = False

    def step(self, datagrams: list[bytes]) -> list[bytes]:
        """Takes the server's datagrams, goes on with the handshake, and gives what it wants sent, record by record.

        The memory BIO forgets where datagrams end, so that each record is made one of its own.
        """
        for datagram in datagrams:
            self.connection.bio_write(datagram)
        if not self.done:
            try:
                self.connection.do_handshake()
                self.done = True
            except SSL.WantReadError:
                pass
        return self.output()

    def output(self) -> list[bytes]:
        try:
            data = self.connection.bio_read(1 << 16)
        except SSL.WantReadError:
            return []
        return [raw_record(content_type, number, body, version) for content_type, version, number, body in split(data)]

    def receive(self, datagrams: list[bytes]) -> bytes:
        """Application data out of the server's datagrams."""
        for datagram in datagrams:
            self.connection.bio_write(datagram)
        return self.connection.recv(1 << 14)
