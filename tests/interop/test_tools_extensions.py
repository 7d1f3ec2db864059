"""What `openssl s_client` and `gnutls-cli` negotiate, beside what `test_resumption` has."""

from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from tests.interop.devices import Certified, Psk, new_device
from tests.interop.gateway_process import Gateway
from tests.interop.gnutls import gnutls_cli
from tests.interop.lossy import WatchedPath
from tests.interop.openssl import s_client
from tests.interop.piped import Piped

pytestmark = pytest.mark.interop

SUITE = {"psk": "TLS_PSK_WITH_AES_128_CCM_8", "certificate": "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"}
AUTHS = pytest.mark.parametrize("auth", SUITE)
EXPANSION = 8 + 8
"""What protection adds to a record of these suites."""


def device_for(gateway: Gateway, auth: str) -> Psk | Certified:
    return Psk() if auth == "psk" else new_device(gateway.site, "tools")


@pytest.mark.peer("GnuTLS", "session id")
@AUTHS
def test_gnutls_resumes_by_session_id(gateway: Gateway, auth: str, tmp_path: Path) -> None:
    device, seen, log = device_for(gateway, auth), len(gateway.log), tmp_path / "log"
    with Piped(gnutls_cli(gateway.port, device, SUITE[auth], log, "-r", keyword="%NO_TICKETS")) as tool:
        assert tool.request(Code.GET, "/time").code is Code.CONTENT
        assert tool.finish() == 0
    assert "*** This is a resumed session" in log.read_text()
    done = gateway.log.wait_for_all("dtls.handshake_completed", 2, after=seen)
    assert [line["mode"] for line in done] == ["full", "resumed"]


def check_sizes(path: WatchedPath, tool: Piped, length: int, *, plain_too: bool) -> None:
    payload = bytes(400)
    assert tool.request(Code.PUT, "/echo", payload).payload == payload
    assert tool.finish() == 0
    sealed = [size for _, epoch, size in path.records if epoch == 1]
    assert len(payload) < max(sealed) <= length + EXPANSION
    if plain_too:
        assert max(size for _, epoch, size in path.records if epoch == 0) <= length


@pytest.mark.peer("OpenSSL", "max_fragment_length")
@pytest.mark.parametrize("length", [512, 1024, 2048, 4096])
@AUTHS
def test_openssl_max_fragment_length(gateway: Gateway, auth: str, length: int) -> None:
    device = device_for(gateway, auth)
    with (
        WatchedPath(gateway.port) as path,
        Piped(s_client(path.port, device, SUITE[auth], "-maxfraglen", str(length))) as tool,
    ):
        check_sizes(path, tool, length, plain_too=True)


@pytest.mark.peer("GnuTLS", "record_size_limit")
@AUTHS
def test_gnutls_record_size_limit(gateway: Gateway, auth: str, tmp_path: Path) -> None:
    """With max_fragment_length beside it, which then does not count (RFC 8449 section 5)."""
    device, log = device_for(gateway, auth), tmp_path / "log"
    with (
        WatchedPath(gateway.port) as path,
        Piped(gnutls_cli(path.port, device, SUITE[auth], log, "--recordsize", "512", "--mtu", "600")) as tool,
    ):
        check_sizes(path, tool, 512, plain_too=False)
