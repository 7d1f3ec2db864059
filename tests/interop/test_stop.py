"""How the gateway ends: its sessions are told, and its exit status is 0."""

from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from tests.interop.devices import Psk
from tests.interop.gateway_process import Gateway, build_site
from tests.interop.gnutls import gnutls_cli
from tests.interop.openssl import s_client
from tests.interop.piped import Piped

pytestmark = pytest.mark.interop

SUITE = "TLS_PSK_WITH_AES_128_CCM_8"


def test_sigterm_says_goodbye_to_sessions(tmp_path: Path) -> None:
    log = tmp_path / "gnutls.log"
    with (
        Gateway(build_site(tmp_path)) as gateway,
        Piped(s_client(gateway.port, Psk(), SUITE, "-state")) as openssl,
        Piped(gnutls_cli(gateway.port, Psk(), SUITE, log)) as gnutls,
    ):
        for tool in (openssl, gnutls):
            assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert gateway.stop() == 0
        # Both end of themselves, although their input is still open: they were told.
        assert openssl.wait() == 0
        assert gnutls.wait() == 0
        assert "SSL3 alert read:warning:close notify" in openssl.diagnosis()
    assert "- Peer has closed the GnuTLS connection" in log.read_text()
    events = [line["event"] for line in gateway.log.lines()][-4:]
    assert events == ["server.stopping", "dtls.session_closed", "dtls.session_closed", "server.stopped"]
    assert [line["reason"] for line in gateway.log.lines("dtls.session_closed")] == ["drain", "drain"]
