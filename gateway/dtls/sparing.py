"""Clients that need not show their address first, because they resume a session (RFC 6347 section 4.2.1).

It saves a device a round trip, which on a cellular network is a second or more, and is off unless the configuration
says otherwise. Whoever has heard a hello with a ticket can repeat it from forged addresses. So who was spared gets no
more bytes than it sends, ends nobody's handshake, has few of the places, slows no network down by failing, and where it
may not resume, it is asked for a cookie after all: nobody gets a full handshake without one (CVE-2022-2576).
"""

from gateway.dtls.errors import DecodeError
from gateway.dtls.handshake.server_context import Spared
from gateway.dtls.limits import SPARED_SHARE
from gateway.dtls.messages.framing import decode_whole
from gateway.dtls.messages.hello import ClientHello, HelloStart
from gateway.dtls.record import Record
from gateway.dtls.resumption import ServerSessions
from gateway.dtls.server_config import ServerConfig


def spare(
    config: ServerConfig, sessions: ServerSessions | None, hello: HelloStart, record: Record, running: int
) -> Spared | None:
    """What a hello without a cookie resumes; None if it needs a cookie.

    Args:
        config: Says whether anybody is spared.
        sessions: Opens tickets.
        hello: The hello's beginning.
        record: That brought it. A fragmented hello is not spared.
        running: Handshakes in progress.
    """
    if not config.resume_without_cookie or sessions is None or not hello.is_early:
        return None
    if running >= config.max_handshakes // SPARED_SHARE:
        return None
    whole = decode_whole(record.fragment)
    if whole is None:
        return None
    try:
        decoded = ClientHello.decode(whole.body)
    except DecodeError:
        return None
    parameters = config.parameters
    offer = sessions.find_without_cookie(decoded, parameters.usable_suites, raw_public_keys=parameters.raw_public_keys)
    return Spared(decoded, offer) if offer is not None else None
