"""PostgreSQL stops and comes back: what is refused meanwhile, what goes on, and that nothing has to be restarted."""

import asyncio
from pathlib import Path

import pytest

from gateway.registry import CachedReads, Registry, Unavailable, open_registry, run
from gateway.registry import postgres_database as database_module
from gateway.simulator import DeviceError
from tests.registry.postgres import PostgresServer
from tests.server.support import PATIENCE_S, PSK, PSK_IDENTITY, running, until

KEY = bytes(range(16))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that came back is asked at once, so that the test waits for nothing."""
    monkeypatch.setattr(database_module, "DATABASE_REST_S", 0.0)


def test_everything_works_again_once_postgresql_is_back(
    postgres: PostgresServer, postgres_url: str, impatient: None
) -> None:
    with open_registry(postgres_url) as registry:
        added = registry.add_psk_device("dev", b"id", KEY)
        cached = CachedReads(registry)
        assert run(cached.find_psk("default", b"id")) == added
        postgres.stop()
        for _ in range(2):
            for call in (
                lambda: registry.find_psk("default", b"id"),
                lambda: registry.add_device("dev2"),
                registry.trust_anchors,
                cached.fetch,
            ):
                with pytest.raises(Unavailable) as caught:
                    call()
                assert postgres.password not in str(caught.value)
        assert run(cached.find_psk("default", b"id")) == added
        postgres.start()
        assert eventually(registry) == added
        registry.add_device("dev2")
        cached.apply(cached.fetch())
        assert registry.counts().devices == 2


def eventually(registry: Registry) -> object:
    """The first look-ups may find that a connection of the pool is dead."""
    for _ in range(5):
        try:
            return registry.find_psk("default", b"id")
        except Unavailable:
            continue
    return registry.find_psk("default", b"id")


def test_one_failure_spares_those_that_come_after_it(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "DATABASE_REST_S", 3600.0)
    with open_registry(postgres_url) as registry:
        postgres.stop()
        with pytest.raises(Unavailable):
            registry.counts()
        with pytest.raises(Unavailable, match="cannot be reached now"):  # nobody was asked
            registry.counts()
        postgres.start()
        with pytest.raises(Unavailable, match="cannot be reached now"):
            registry.counts()


def test_a_postgresql_that_is_not_there_is_said_without_the_password(postgres: PostgresServer) -> None:
    url = postgres.url("nowhere")
    with pytest.raises(Unavailable, match="nowhere") as caught:
        open_registry(url)
    assert postgres.password not in str(caught.value)
    postgres.stop()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1/nowhere") as caught:
        open_registry(url)
    assert postgres.password not in str(caught.value)


@pytest.mark.asyncio
async def test_a_gateway_outlives_its_postgresql(postgres: PostgresServer, postgres_url: str, tmp_path: Path) -> None:
    with open_registry(postgres_url) as registry:
        registry.add_psk_device("dev1", PSK_IDENTITY, PSK)
        registry.add_psk_device("dev2", b"second", PSK)
    async with running(tmp_path, registry__url=postgres_url) as gateway:

        async def is_ready() -> bool:
            status, body = await gateway.get("/readyz")
            assert postgres.password not in body
            return status == 200

        async def ready(wanted: bool) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    if await is_ready() is wanted:
                        return
                    await asyncio.sleep(0.1)

        await ready(True)
        async with gateway.psk_device() as device:
            assert (await device.get("/device")).payload == b"default/dev1"
            await asyncio.to_thread(postgres.stop)
            await ready(False)
            # The session, and the credential in memory.
            assert (await device.get("/device")).payload == b"default/dev1"
            async with gateway.psk_device() as again:
                assert (await again.get("/device")).payload == b"default/dev1"
            # Who is not in memory cannot be told from a stranger on the wire, but is in the log.
            with pytest.raises(DeviceError, match="decrypt_error"):
                await gateway.psk_device(identity=b"second").connect()
            [line] = gateway.events("dtls.handshake_failed")
            assert line["reason"] == "registry_unavailable"
            await asyncio.to_thread(postgres.start)
            await ready(True)
            assert (await device.get("/device")).payload == b"default/dev1"
        async with gateway.psk_device(identity=b"second") as second:
            assert (await second.get("/device")).payload == b"default/dev2"
            # What changes from now on is followed again.
            with open_registry(postgres_url) as registry:
                registry.delete_device("dev2")
            await until(lambda: bool(gateway.events("identity.session_revoked")))
        for line in gateway.lines:
            assert postgres.password not in repr(line)
        with pytest.raises(DeviceError, match="decrypt_error"):
            await gateway.psk_device(identity=b"second").connect()
