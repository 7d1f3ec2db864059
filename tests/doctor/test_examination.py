"""The registry, the ports, the environment, and all of it together."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Address, Settings, load_settings
from gateway.config.settings import AdminSettings, ServerSettings
from gateway.doctor import Finding, Status, examine
from gateway.doctor.examination import environment
from gateway.doctor.ports import ports
from gateway.doctor.store import registry
from gateway.registry import Secrets, create_master_key, open_registry
from tests.pki.factory import DAY, NOW, ca
from tests.server.support import prepare, running

AT = NOW.timestamp()


def by_check(found: list[Finding]) -> dict[str, Status]:
    """The worst of each check."""
    order = list(Status)
    worst: dict[str, Status] = {}
    for each in found:
        worst[each.check] = max(each.status, worst.get(each.check, Status.OK), key=order.index)
    return worst


# --- registry ------------------------------------------------------------------------------------------------------


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    [found] = registry(f"sqlite:///{tmp_path}/registry.db", AT)
    assert found.status is Status.PROBLEM
    assert "gateway init" in found.detail
    assert not (tmp_path / "registry.db").exists()


def test_a_registry_for_everybody(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    open_registry(url, create=True).close()
    opened, empty = registry(url, AT)
    assert (opened.status, empty.status) == (Status.OK, Status.WARNING)
    assert "nobody can connect" in empty.detail
    (tmp_path / "registry.db").chmod(0o644)
    [found] = registry(url, AT)
    assert found.status is Status.PROBLEM
    assert "chmod 600" in found.detail


def test_how_device_keys_rest(tmp_path: Path) -> None:
    url, key = f"sqlite:///{tmp_path}/registry.db", f"file:{tmp_path}/master.key"
    with open_registry(url, create=True) as opened:
        opened.add_psk_device("dev", b"dev", bytes(16))
    create_master_key(tmp_path / "master.key")
    assert "device keys" not in by_check(registry(url, AT))
    assert by_check(registry(url, AT, key))["device keys"] is Status.WARNING
    with open_registry(url, secrets=Secrets(key)) as opened:
        opened.rotate_keys()
    assert by_check(registry(url, AT, key))["device keys"] is Status.OK
    for missing in (None, f"{key}.not-there"):
        [found] = [each for each in registry(url, AT, missing) if each.check == "device keys"]
        assert found.status is Status.PROBLEM


def test_trusted_cas(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    cas = {
        "good": ca("Good"),
        "ending": ca("Ending", begin=NOW - 400 * DAY, end=NOW + 20 * DAY),
        "ended": ca("Ended", begin=NOW - 20 * DAY, end=NOW - DAY),
    }
    with open_registry(url, create=True) as opened:
        ids = {name: opened.add_trust_anchor(made.der, name).id for name, made in cas.items()}
        ids["broken"] = opened.add_trust_anchor(b"no certificate", "broken").id
    found = registry(url, AT)
    assert found[0].detail.startswith("0 devices, 4 trusted CAs")
    statuses = {name: [f for f in found if id[:16] in f.detail] for name, id in ids.items()}
    assert {name: [f.status for f in each] for name, each in statuses.items()} == {
        "good": [Status.OK],
        "ending": [Status.WARNING],
        "ended": [Status.PROBLEM],
        "broken": [Status.PROBLEM],
    }
    assert f"gateway ca untrust {ids['ended']}" in str(statuses["ended"][0].remedy)


# --- ports ---------------------------------------------------------------------------------------------------------


def bound_to(udp: int, admin: int) -> Settings:
    return Settings(
        server=ServerSettings(bind=Address("127.0.0.1", udp)), admin=AdminSettings(bind=Address("127.0.0.1", admin))
    )


def test_free_ports() -> None:
    assert [each.status for each in ports(bound_to(0, 0))] == [Status.OK, Status.OK]


def test_ports_that_somebody_else_has() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        tcp.settimeout(0)  # it takes the connection, and never says a word
        found = ports(bound_to(udp.getsockname()[1], tcp.getsockname()[1]))
    assert [each.status for each in found] == [Status.PROBLEM, Status.PROBLEM]
    assert "in use" in found[0].detail
    assert "in use" in found[1].detail


def test_an_address_of_another_machine() -> None:
    settings = Settings(server=ServerSettings(bind=Address("192.0.2.1", 0)))
    assert ports(settings)[0].status is Status.PROBLEM


@pytest.mark.asyncio
async def test_a_gateway_that_runs_has_its_ports(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        settings = bound_to(gateway.bound.udp.port, gateway.bound.admin.port)
        found = await asyncio.to_thread(ports, settings)
    assert [each.status for each in found] == [Status.OK, Status.OK]
    assert "a gateway runs" in found[0].detail


# --- the environment, and everything -------------------------------------------------------------------------------


def test_variables() -> None:
    found = environment(
        {
            "GATEWAY_DTSL__MTU": "1",
            "GATEWAY_DTLS__MTU": "not a number",
            "GATWAY_DTLS__MTU": "1",
            "gateway_log__level": "debug",
            "GATEWAY_LOG__LEVEL": "debug",
            "GATEWAY_SERVICE_HOST": "10.0.0.1",
            "HOME": "/root",
            "DTLS_MTU": "1",
        }
    )
    assert [(each.status, each.detail.split()[0].rstrip(":")) for each in found] == [
        (Status.PROBLEM, "GATEWAY_DTLS__MTU"),
        (Status.PROBLEM, "GATEWAY_DTSL__MTU"),
        (Status.WARNING, "GATWAY_DTLS__MTU"),
        (Status.WARNING, "gateway_log__level"),
    ]
    assert "not a number" not in str(found)
    assert environment({"HOME": "/root"})[0].status is Status.OK


def examined(tmp_path: Path, **overrides: object) -> dict[str, Status]:
    values: dict[str, Any] = prepare(tmp_path) | {name.replace("__", "."): value for name, value in overrides.items()}

    def load() -> Settings:
        return load_settings(None, values, environ={}, check_files=False)

    return by_check(examine(load, file=None, environ={}, now=time.time()))


def test_a_healthy_site(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert Status.PROBLEM not in found.values(), found
    assert found.keys() == {
        "environment",
        "configuration",
        "clock",
        "receive buffer",
        "open files",
        "address space",
        "server certificate",
        "server certificate names",
        "secret files",
        "registry",
        "trusted CA",
        "UDP port",
        "admin port",
        "handshake by key",
        "handshake by certificate",
    }


def test_without_a_configuration_the_machine_is_looked_at(tmp_path: Path) -> None:
    found = examined(tmp_path, dtls__mtu=1)
    assert found.pop("configuration") is Status.PROBLEM
    assert found.keys() == {"environment", "clock", "receive buffer", "open files", "address space"}


@pytest.mark.parametrize(
    "broken",
    [
        {"dtls__ticket_keys": "/no/such/file"},
        {"dtls__cipher_suites": ["TLS_NULL"]},
        {"handlers__enabled": ["nothing"]},
        {"handlers__app": "no_such_module:app"},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_what_a_start_would_refuse_is_a_problem(tmp_path: Path, broken: dict[str, object]) -> None:
    found = examined(tmp_path, **broken)
    assert found["configuration"] is Status.PROBLEM
    assert found["registry"] is Status.OK
    assert "handshake by key" not in found
