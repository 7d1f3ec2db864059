"""A gateway that talks to itself: with every kind of certificate, and what it says when it cannot."""

from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.doctor import Status
from gateway.doctor.handshake import _NAME, _server, _try, handshakes
from gateway.dtls import ServerConfig
from gateway.server.plan import Plan, Secrets
from gateway.simulator import DeviceIdentity
from tests.interop.gateway_process import build_site


def engine(folder: Path, *, certificate: str | None = "server", **overrides: object) -> ServerConfig:
    build_site(folder)
    values: dict[str, object] = {name.replace("__", "."): value for name, value in overrides.items()}
    if certificate is not None:
        values["dtls.certificate"] = str(folder / f"pki/{certificate}.pem")
        values["dtls.private_key"] = str(folder / f"pki/{certificate}.key")
    return Plan.read(load_settings(None, values, environ={}), Secrets()).engine


@pytest.mark.asyncio
@pytest.mark.parametrize("certificate", ["server", "rsa"])
async def test_both_kinds_of_device(tmp_path: Path, certificate: str) -> None:
    found = await handshakes(engine(tmp_path, certificate=certificate, dtls__require_extended_master_secret=True))
    assert [(each.check, each.status) for each in found] == [
        ("handshake by key", Status.OK),
        ("handshake by certificate", Status.OK),
    ]
    assert "_PSK_" in found[0].detail
    assert ("_ECDHE_RSA_" if certificate == "rsa" else "_ECDHE_ECDSA_") in found[1].detail


@pytest.mark.asyncio
async def test_what_the_configuration_does_not_allow_is_not_tried(tmp_path: Path) -> None:
    found = await handshakes(engine(tmp_path, certificate=None))
    assert [each.detail.startswith("done") for each in found] == [True, False]
    only = engine(tmp_path / "other", dtls__cipher_suites=["TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"])
    found = await handshakes(only)
    assert [each.detail.startswith("done") for each in found] == [False, True]
    assert {each.status for each in found} == {Status.OK}


@pytest.mark.asyncio
async def test_a_handshake_that_fails_is_a_problem_with_the_servers_reason(tmp_path: Path) -> None:
    identity = DeviceIdentity(_NAME, psk_identity=_NAME.encode(), psk=bytes(16))
    async with _server(engine(tmp_path), b"another key, of 16 bytes") as (port, failures):
        found = await _try("handshake by key", identity, port, failures)
    assert found.status is Status.PROBLEM
    assert found.detail.startswith("wrong_key: ")


@pytest.mark.asyncio
async def test_a_gateway_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.doctor.handshake.HANDSHAKE_S", 0.2)
    identity = DeviceIdentity(_NAME, psk_identity=_NAME.encode(), psk=bytes(16))
    found = await _try("handshake by key", identity, 1, [])
    assert found.status is Status.PROBLEM
    assert found.detail
