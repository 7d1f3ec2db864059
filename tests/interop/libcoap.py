"""`coap-client` of libcoap, which is built once on OpenSSL and once on GnuTLS."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.interop.devices import Certified, Psk
from tests.interop.peers import program

FLAVOURS = ("openssl", "gnutls")

_WAIT_S = 120
"""Seconds that it waits for the answer: it repeats handshake flights after 1, 2, 4, 8, 16 s, and then the request."""

_VERBOSE = "7"
_RESPONSE = re.compile(r"^v:1 t:(?:ACK|CON|NON) c:([2-5]\.\d\d) ", re.MULTILINE)
_DROPPED = re.compile(r" Packet \d+ dropped$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run of `coap-client` came to.

    Attributes:
        code: The response's code, "2.05"; None without a response.
        payload: The response's payload.
        dropped: Datagrams that the client lost on purpose.
        transcript: All that it wrote.
    """

    code: str | None
    payload: bytes
    dropped: int
    transcript: str


def coap_client(
    flavour: str,
    port: int,
    device: Psk | Certified,
    method: str,
    path: str,
    payload: str | None = None,
    *,
    options: tuple[str, ...] = (),
    source: str = "127.0.0.1",
    folder: Path,
) -> Answer:
    """One run: a handshake, one request, close_notify.

    Args:
        flavour: One of `FLAVOURS`.
        port: The gateway's.
        device: Who it is.
        method: "get", "post", "put".
        path: Begins with a slash.
        payload: Text, ASCII.
        options: More words for the command line.
        source: Its own address. It shares ports with others of its kind (SO_REUSEADDR): clients that run side by side
            need an address each.
        folder: An empty one for what it writes.
    """
    body = folder / "payload"
    words = ["-a", source, *options, "-m", method, "-o", str(body)]
    if payload is not None:
        words += ["-e", payload]
    done = subprocess.run(
        coap_client_command(flavour, port, device, *words, path=path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_WAIT_S + 30,
        check=False,
    )
    transcript = done.stdout.decode(errors="replace")
    codes = _RESPONSE.findall(transcript)
    return Answer(
        codes[-1] if codes else None,
        body.read_bytes() if body.exists() else b"",
        len(_DROPPED.findall(transcript)),
        transcript,
    )


def coap_client_command(flavour: str, port: int, device: Psk | Certified, *words: str, path: str) -> list[str]:
    """The command line, with these words in it."""
    host = "localhost" if isinstance(device, Certified) else "127.0.0.1"
    command = [program(f"coap-client-{flavour}"), "-v", _VERBOSE, "-B", str(_WAIT_S), *_credential(flavour, device)]
    return [*command, *words, f"coaps://{host}:{port}{path}"]


def _credential(flavour: str, device: Psk | Certified) -> list[str]:
    if isinstance(device, Psk):
        return ["-u", device.identity, "-k", device.key.decode()]
    own = ["-c", str(device.chain), "-j", str(device.key)]
    # On OpenSSL it takes one certificate out of a chain file, and the intermediate out of what it trusts (-R, not -C).
    return [*own, "-R", str(device.authorities)] if flavour == "openssl" else [*own, "-C", str(device.root)]
