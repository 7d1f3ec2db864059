"""The kinds of handshake that there are: clients that make them, and which one it was when one has completed.

A kind is what the client proves itself with, or how it resumes, and whether records have a connection id.
"""

from typing import Any

from gateway.dtls import HandshakeCompleted
from tests.dtls.rawclient import ECDHE_PSK_SUITES, PSK_SUITES, RawClient, default_extensions
from tests.dtls.rawkeys import CLIENT_TYPE, RAW, SERVER_TYPE, RpkClient, spki
from tests.dtls.resuming import TICKET
from tests.dtls.support import device

FULL = ("psk", "ecdhe_psk", "certificate", "raw_public_key")
RESUMED = ("ticket", "session_id")
WITH_ID = "+cid"
KINDS = tuple(method + cid for method in FULL + RESUMED for cid in ("", WITH_ID))

SUITES = {"psk": 0xC0A8, "ecdhe_psk": 0xD003, "certificate": 0xC0AE, "raw_public_key": 0xC0AE}


def client_of(method: str, *, suite: int | None = None, tickets: bool = False, **fields: Any) -> RawClient:
    """A newcomer that makes a full handshake: one of FULL."""
    extensions: dict[int, bytes] = {**default_extensions(), **fields.pop("extensions", {})}
    if tickets:
        extensions[TICKET] = b""
    given = {"suites": (suite or SUITES[method],), "device": device(), "extensions": extensions, **fields}
    if method != "raw_public_key":
        return RawClient(**given)
    for number in (CLIENT_TYPE, SERVER_TYPE):
        extensions.setdefault(number, bytes((1, RAW)))
    return RpkClient(**given)


def kind_of(client: RawClient, event: HandshakeCompleted) -> str:
    """Which of KINDS a handshake was, by what its client did; the server's facts must say the same."""
    facts = event.facts
    method = _method(client, event)
    assert facts.resumed is (method in RESUMED)
    assert facts.connection_id is bool(client.server_cid)
    return method + (WITH_ID if client.server_cid else "")


def _method(client: RawClient, event: HandshakeCompleted) -> str:
    facts = event.facts
    if client.resuming and client.master == client.resuming:
        return "ticket" if (client.extensions or {}).get(TICKET) else "session_id"
    if client.with_key:
        assert facts.psk_identity == client.identity
        assert (facts.chain, facts.public_key) == ((), b"")
        assert client.suite in PSK_SUITES | ECDHE_PSK_SUITES
        return "ecdhe_psk" if client.suite in ECDHE_PSK_SUITES else "psk"
    assert facts.psk_identity is None
    assert client.device is not None
    if isinstance(client, RpkClient) and client.answers.get(CLIENT_TYPE) == bytes((RAW,)):
        assert (facts.chain, facts.public_key) == ((), spki(client.device.key))
        return "raw_public_key"
    assert (facts.chain, facts.public_key) == (client.device.chain, b"")
    return "certificate"
