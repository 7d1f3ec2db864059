"""OpenSSL as a DTLS server in this process, over memory BIOs; `openssl_client` the other way around."""

from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from tests.dtls.openssl_client import NAMES
from tests.dtls.rawclient import ECDHE_RSA_SUITES, raw_record, split
from tests.dtls.support import rsa_identity, server_identity


class OpensslServer:
    """One connection.

    Attributes:
        connection: pyOpenSSL's object.
        done: Whether the handshake has completed.
        identities: What clients have called themselves.
        cookies: The cookies that have been given out.
    """

    def __init__(
        self,
        suite: int,
        *,
        psk: bytes | None = None,
        hint: bytes | None = None,
        ask_certificate: bool = True,
        cookie: bool = False,
        mtu: int = 1400,
    ) -> None:
        context = SSL.Context(SSL.DTLS_SERVER_METHOD)
        context.set_cipher_list(f"{NAMES[suite]}:@SECLEVEL=0".encode())
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET)
        identity = rsa_identity() if suite in ECDHE_RSA_SUITES else server_identity()
        context.use_certificate(x509.load_der_x509_certificate(identity.chain[0]))
        context.use_privatekey(identity.key)
        if ask_certificate:
            # Whom to trust is not the point here: any chain will do, but there must be one.
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        self.identities: list[bytes] = []
        self.cookies: list[bytes] = []
        self._listening = cookie
        self._callback = None
        if cookie:
            context.set_cookie_generate_callback(self._make_cookie)
            context.set_cookie_verify_callback(lambda _connection, given: given in self.cookies)
        if psk is not None:
            self._answer_psk(context, psk, hint)
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()
        self.connection.set_ciphertext_mtu(mtu)
        self.done = False

    def step(self, datagrams: list[bytes]) -> list[bytes]:
        """Takes the client's datagrams, goes on with the handshake, and gives what it wants sent, record by record."""
        for datagram in datagrams:
            self.connection.bio_write(datagram)
        if not self.done:
            try:
                if self._listening:
                    self.connection.DTLSv1_listen()
                    self._listening = False
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
        """Application data out of the client's datagrams."""
        for datagram in datagrams:
            self.connection.bio_write(datagram)
        return self.connection.recv(1 << 14)

    def _make_cookie(self, _connection: SSL.Connection) -> bytes:
        self.cookies.append(b"cookie %d" % len(self.cookies))
        return self.cookies[-1]

    def _answer_psk(self, context: SSL.Context, key: bytes, hint: bytes | None) -> None:
        # psk_server_callback(3): gets the identity, fills in the key, returns its length.
        def answer(_ssl: object, identity: object, out: object, _length: int) -> int:
            self.identities.append(ffi.string(identity))
            ffi.memmove(out, key, len(key))
            return len(key)

        self._callback = ffi.callback("unsigned int(SSL *, const char *, unsigned char *, unsigned int)", answer)
        lib.SSL_CTX_set_psk_server_callback(context._context, self._callback)
        if hint is not None:
            lib.SSL_CTX_use_psk_identity_hint(context._context, hint)
