"""One life of a gateway with every kind of secret, and everything that it ever said searched for them.

Logs (at the level debug), metrics, the failures ring, every answer of the management API, the audit trail, error texts
and the `repr` of what is in memory. The registry's file is searched too: its keys are sealed.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.admin import add_token
from gateway.identity import IdentityRefused, IdentityService
from gateway.management import Remote
from gateway.management.table import OPERATIONS
from gateway.registry import CachedReads, RegistryError, Secrets, open_registry, run
from gateway.simulator import DeviceError, DeviceIdentity, SimulatedDevice
from tests.server.support import PSK, PSK_IDENTITY, Gateway, pki, running

pytestmark = pytest.mark.asyncio

MASTER = bytes.fromhex("6d41c3a09be25f7718d4a6637b02ce9551f8e0947a3c2bd66e19f5830c47ad21")
DERIVATION = bytes.fromhex("a1b64f0d92c7e83355cc01e97f2a6b8840d5fe13926b7ac80f31e4d76b9582c0")
TICKETS = bytes.fromhex("0f7e62d5c48b39a1d2f0e1b3a4c596870a1b2c3d4e5f60718293a4b5c6d7e8f9")
ROTATED = bytes.fromhex("c0ffee0123456789abcdef9876543210")
IMPORTED = bytes.fromhex("5ec2e7c0de5ec2e7c0de5ec2e7c0de5e")
WRONG = bytes.fromhex("badbadbadbadbadbadbadbadbadbadba")


def forms(secret: bytes) -> Iterator[str]:
    """How a key could show up in a text."""
    yield from (secret.hex(), secret.hex().upper(), secret.hex(" "), secret.hex(":"), repr(secret)[2:-1])
    yield base64.b64encode(secret).decode().rstrip("=")
    yield base64.urlsafe_b64encode(secret).decode().rstrip("=")
    yield str(int.from_bytes(secret))


def found_in(text: str, secrets: dict[str, bytes]) -> list[str]:
    return [name for name, secret in secrets.items() if any(form in text for form in forms(secret))]


def private(key: object) -> bytes:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_numbers().private_value.to_bytes(32)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


async def test_the_search_finds_what_it_looks_for() -> None:
    for form in forms(PSK):
        assert found_in(f"... {form} ...", {"psk": PSK}) == ["psk"]


async def test_nothing_that_was_ever_said_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = add_token(tmp_path / "tokens", "ops")
    settings: dict[str, Any] = {
        "registry__master_key": f"file:{write(tmp_path / 'master', MASTER.hex())}",
        "registry__derivation_key": f"file:{write(tmp_path / 'derivation', DERIVATION.hex())}",
        "dtls__ticket_keys": write(tmp_path / "tickets", TICKETS.hex() + "\n"),
        "admin__token_file": str(tmp_path / "tokens"),
        "log__level": "debug",
    }
    secrets = {
        "psk": PSK,
        "rotated": ROTATED,
        "imported": IMPORTED,
        "wrong": WRONG,
        "master": MASTER,
        "derivation": DERIVATION,
        "tickets": TICKETS,
        "server": private(pki().server.private_key),
        "token": token.encode(),
    }
    said: list[str] = []
    async with running(tmp_path, **settings) as gateway:
        keys = Secrets(settings["registry__master_key"], settings["registry__derivation_key"])
        await live(gateway, secrets)
        said += [
            repr(gateway.lines),
            *[(await gateway.get(path))[1] for path in ("/metrics", "/debug/failures?chains=1")],
        ]
        said += ask_everything(gateway, token)
        worker = gateway.worker
        memory = (
            worker,
            worker.registry,
            worker._reads,
            worker._identity,
            worker._endpoint,
            worker._plan,
            worker._settings,
        )
        said += [repr(each) for each in (keys, *memory)]
        said += [repr(vars(each)) for each in (worker._reads, worker._settings)]
        sessions = worker._endpoint.all_associations()
        said += [repr(each) + repr(each.context) for each in sessions]
        said += refusals(gateway, keys)
    for text in said:
        assert found_in(text, secrets) == []
    assert len(said) > 40
    at_rest(tmp_path, secrets)


def at_rest(folder: Path, secrets: dict[str, bytes]) -> None:
    """What the gateway wrote itself is sealed. The first device's key is from before there was a master key."""
    files = b"".join(path.read_bytes() for path in folder.glob("registry.db*"))
    assert [name for name in ("rotated", "imported", "derived") if secrets[name] in files] == []


async def live(gateway: Gateway, secrets: dict[str, bytes]) -> None:
    """Devices come, fail and stay; keys are changed meanwhile."""
    registry = gateway.worker.registry
    made = registry.rotate_psk("dev1", ROTATED, overlap_s=3600)
    registry.add_psk_device("imported", b"imported", IMPORTED)
    secrets["derived"] = registry.add_psk("imported", b"derived", None).key
    good = {made.identity: ROTATED, b"imported": IMPORTED, PSK_IDENTITY: PSK, b"derived": secrets["derived"]}
    for identity, key in good.items():
        async with device(gateway, identity, key) as one:
            await one.get("/device")
    for identity in (*good, b"nobody"):
        with pytest.raises(DeviceError):
            await device(gateway, identity, WRONG).connect()
    async with gateway.certificate_device("certified") as one:
        await one.get("/device")


def device(gateway: Gateway, identity: bytes, key: bytes) -> SimulatedDevice:
    return SimulatedDevice(DeviceIdentity("d", psk_identity=identity, psk=key), "127.0.0.1", gateway.port)


def ask_everything(gateway: Gateway, token: str) -> list[str]:
    """Every answer that can be read, and a refusal of each operation that says something wrong."""
    answers = []
    admin = gateway.bound.admin
    with Remote(f"http://{admin.host}:{admin.port}", token) as remote:
        answers.append(repr(remote))
        for operation in OPERATIONS:
            for given in ({}, {"tenant": "default"}, {"tenant": "default", "device": "dev1"}, {"psk_hex": PSK.hex()}):
                try:
                    answers.append(json.dumps(remote.do(operation, **given).model_dump(mode="json")))
                except RegistryError as error:
                    answers.append(f"{operation.name} {error}")
    return answers


def refusals(gateway: Gateway, keys: Secrets) -> list[str]:
    """Error texts of the rooms below."""
    texts = []
    with open_registry(gateway.url, secrets=keys) as registry:
        service = IdentityService(CachedReads(registry))
        texts.append(repr(run(service.psk(b"imported"))))
        texts.append(repr(registry.find_psk("default", b"imported")))
        for work in (
            lambda: registry.add_psk_device("imported", b"x", IMPORTED),
            lambda: registry.add_psk("imported", b"imported", IMPORTED),
            lambda: registry.add_psk("imported", b"short", PSK[:8]),
            lambda: run(service.psk(b"nobody")),
        ):
            try:
                work()
            except (RegistryError, IdentityRefused) as error:
                texts.append(f"{error!r} {error}")
    assert len(texts) == 6
    return texts
