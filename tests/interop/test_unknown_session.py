"""Who believes the alert that `unknown_session = "alert"` sends: it stands in epoch 0, where nothing protects it."""

import pytest
from aiocoap import Code  # type: ignore[import-untyped]

from tests.interop.devices import Psk
from tests.interop.driven_peers import DRIVEN_PEERS, PYTHON_MBEDTLS, DrivenPeer
from tests.interop.gateway_process import Gateway
from tests.interop.lossy import AlertingPath

pytestmark = pytest.mark.interop


# python-mbedtls reads once for a record and takes one that the library drops for the end of the answer.
PEERS = [peer for peer in DRIVEN_PEERS if peer is not PYTHON_MBEDTLS]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name.replace(" ", ""))
def test_no_library_ends_a_session_for_an_alert_of_epoch_0(gateway: Gateway, peer: DrivenPeer) -> None:
    suite = next(suite for suite in peer.shared() if "_PSK_" in suite)
    with AlertingPath(gateway.port) as path, peer.start(path.port, Psk(), suite) as client:
        client.connect()
        for _ in range(3):
            assert client.request(Code.GET, "/time").code is Code.CONTENT
        assert path.alerts == 3
        assert client.finish() == 0
