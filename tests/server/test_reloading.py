"""A configuration that changes under a running gateway: what is taken up, what waits, what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import RELOADABLE, Settings, Source, load_settings
from gateway.config.schema import section_models
from gateway.dtls.numbers import CipherSuite
from gateway.handlers import App
from gateway.pki import ServerCertificate, issue_server, write_certified_key
from gateway.registry import AnchorPolicy, Unavailable
from gateway.server import Worker
from tests.dtls.rawclient import RawClient
from tests.server.support import Gateway, echo_app, pki, prepare, until, wire_certificate

SUITE = "TLS_PSK_WITH_AES_128_CCM_8"


class Changing(Gateway):
    """A gateway whose configuration is `values`, which a test changes."""

    values: dict[str, object]

    async def reload(self) -> None:
        """Asks for it, and waits until it is done, one way or the other."""
        done = len(self.events("config.reloaded")) + len(self.events("config.reload_failed"))
        self.worker.reload()
        await until(lambda: len(self.events("config.reloaded")) + len(self.events("config.reload_failed")) > done)

    async def gauge(self, name: str) -> float:
        family = (await self.scrape())[name]
        return float(family.samples[0].value)


@asynccontextmanager
async def changing(
    folder: Path, app: App | None = None, *, watched: bool = False, **overrides: object
) -> AsyncIterator[Changing]:
    values = prepare(folder) | {name.replace("__", "."): value for name, value in overrides.items()}

    def load() -> Settings:
        return load_settings(None, values, environ={}, check_files=False)

    with capture_logs() as lines:
        worker = Worker(load(), app=app or echo_app(), source=Source(load, watched=watched))
        async with worker as bound:
            gateway = Changing(worker, bound, str(values["registry.url"]), lines)
            gateway.values = values
            yield gateway


def parts(gateway: Gateway) -> Any:
    assert gateway.worker._reloads is not None
    return gateway.worker._reloads._parts


def engine(gateway: Gateway) -> Any:
    return parts(gateway).endpoint.config


# What each key that can change is seen by: another value for it, and where it has arrived.
SEEN: dict[str, tuple[object, Callable[[Any], object], object]] = {
    "server.worker_timeout": ("9s", lambda g: g.worker._reloads.plan.settings.server.worker_timeout, 9.0),
    "server.shutdown_grace": ("7s", lambda g: g.worker._reloads.plan.settings.server.shutdown_grace, 7.0),
    "server.watch_files": (False, lambda g: g.worker._reloads.plan.settings.server.watch_files, False),
    "dtls.cipher_suites": ([SUITE], lambda g: engine(g).parameters.suites, (CipherSuite[SUITE],)),
    "dtls.mtu": (1400, lambda g: engine(g).datagram_limit, 1352),
    "dtls.retransmit_initial": ("9s", lambda g: engine(g).retransmit_initial_s, 9.0),
    "dtls.handshake_timeout": ("9s", lambda g: engine(g).handshake_timeout_s, 9.0),
    "dtls.idle_timeout": ("9m", lambda g: parts(g).endpoint._established.idle_timeout_s, 540.0),
    "dtls.ticket_lifetime": ("9m", lambda g: parts(g).endpoint.sessions._config.lifetime_s, 540.0),
    "dtls.resume_without_cookie": (True, lambda g: engine(g).resume_without_cookie, True),
    "dtls.raw_public_keys": (False, lambda g: engine(g).parameters.raw_public_keys, False),
    "dtls.unknown_session": ("alert", lambda g: engine(g).alert_unknown_sessions, True),
    "dtls.max_sessions_per_device": (9, lambda g: parts(g).of_devices.limit, 9),
    "dtls.max_auth_failures": (9000, lambda g: parts(g).endpoint._forgeries.short_tag, 9000),
    "dtls.psk_hint": ("hint", lambda g: engine(g).parameters.psk_hint, b"hint"),
    "dtls.require_extended_master_secret": (
        True,
        lambda g: engine(g).parameters.require_extended_master_secret,
        True,
    ),
    "handlers.time_limit": ("9s", lambda g: {parts(g).dispatcher._time_limit_s, parts(g).routes.time_limit_s}, {9.0}),
    "handlers.max_concurrent": (9, lambda g: parts(g).dispatcher._max_concurrent, 9),
    "handlers.max_concurrent_per_device": (9, lambda g: parts(g).dispatcher._for_device.limit, 9),
    "coap.max_payload": (900, lambda g: parts(g).layer.max_payload, 900),
    "coap.device_requests_per_minute": (60, lambda g: parts(g).dispatcher.rates._devices._per_second, 1.0),
    "coap.tenant_requests_per_minute": (60, lambda g: parts(g).dispatcher.rates._tenants._per_second, 1.0),
    "coap.problem_details": (True, lambda g: parts(g).app.problem_details, True),
    "coap.max_observations": (9, lambda g: parts(g).layer.observations.max_total, 9),
    "coap.max_observations_per_device": (9, lambda g: parts(g).layer.observations.max_per_owner, 9),
}
SEEN_ELSEWHERE = {
    "dtls.certificate",  # the tests below
    "dtls.private_key",
    "dtls.certificates",
    "dtls.ticket_keys",
    "coap.device_burst",  # with its rate
    "coap.tenant_burst",
    "log.level",  # tests/interop/test_reload.py: structlog's test log takes every level
}


def test_every_key_that_can_change_is_in_the_schema_and_is_tested() -> None:
    known = {f"{section}.{key}" for section, model in section_models().items() for key in model.model_fields}
    assert known > RELOADABLE
    assert SEEN.keys() | SEEN_ELSEWHERE == RELOADABLE


@pytest.mark.asyncio
async def test_every_key_that_can_change_is_taken_up(tmp_path: Path) -> None:
    async with changing(tmp_path) as gateway:
        before = {name: seen(gateway) for name, (_, seen, _) in SEEN.items() if "per_minute" not in name}
        for name, value in before.items():
            assert value != SEEN[name][2], name
        gateway.values.update({name: value for name, (value, _, _) in SEEN.items()})
        await gateway.reload()
        for name, (_, seen, expected) in SEEN.items():
            assert seen(gateway) == expected, name
        [line] = gateway.events("config.reloaded")
        assert set(line["changed"]) == SEEN.keys()
        assert gateway.events("config.restart_required") == []


@pytest.mark.asyncio
async def test_what_takes_a_restart_is_named_and_the_rest_is_taken_up(tmp_path: Path) -> None:
    async with changing(tmp_path) as gateway:
        gateway.values |= {"server.bind": "127.0.0.1:1", "dtls.connection_id": False, "dtls.mtu": 1400}
        gateway.values |= {"coap.ack_timeout": "9s", "dtls.resumption": False}
        for count in (1, 2):  # it is said as long as it is so
            await gateway.reload()
            line = await gateway.event("config.restart_required", count)
            assert line["keys"] == ["server.bind", "dtls.resumption", "dtls.connection_id", "coap.ack_timeout"]
        assert [line["changed"] for line in gateway.events("config.reloaded")] == [["dtls.mtu"], []]
        assert engine(gateway).datagram_limit == 1352
        assert engine(gateway).connection_ids
        async with gateway.psk_device() as device:
            assert (await device.get("device")).payload == b"default/dev1"


@pytest.mark.asyncio
async def test_one_bad_value_keeps_everything_as_it_was(tmp_path: Path) -> None:
    async with changing(tmp_path) as gateway:
        started = await gateway.gauge("gateway_config_last_reload_success_timestamp_seconds")
        assert await gateway.gauge("gateway_config_last_reload_successful") == 1
        gateway.values |= {"dtls.mtu": 1400, "dtls.cipher_suites": ["TLS_NULL"]}
        await gateway.reload()
        [line] = gateway.events("config.reload_failed")
        assert "TLS_NULL" in line["error"]
        assert engine(gateway).datagram_limit == 1232
        assert await gateway.gauge("gateway_config_last_reload_successful") == 0
        assert await gateway.gauge("gateway_config_last_reload_success_timestamp_seconds") == started
        gateway.values["dtls.cipher_suites"] = []
        await gateway.reload()
        assert engine(gateway).datagram_limit == 1352
        assert await gateway.gauge("gateway_config_last_reload_successful") == 1
        assert await gateway.gauge("gateway_config_last_reload_success_timestamp_seconds") > started


@pytest.mark.asyncio
async def test_a_fault_of_ours_is_not_the_last_reload(tmp_path: Path) -> None:
    async with changing(tmp_path) as gateway:
        gateway.values["dtls.no_such"] = 1  # a KeyError, which no configuration file can cause
        await gateway.reload()
        del gateway.values["dtls.no_such"]
        await gateway.reload()
        [line] = gateway.events("config.reload_failed")
        assert line["error"] == "KeyError"
        assert len(gateway.events("config.reloaded")) == 1


@pytest.mark.asyncio
async def test_a_registry_that_cannot_be_read_is_named_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(_: object) -> None:
        raise Unavailable("the disk is gone")

    async with changing(tmp_path) as gateway:
        monkeypatch.setattr(type(gateway.worker._identity), "reload", unavailable)
        gateway.values["dtls.mtu"] = 1400
        await gateway.reload()
        [line] = gateway.events("config.reloaded")
        assert line["registry"] == "the disk is gone"
        assert engine(gateway).datagram_limit == 1352


@pytest.mark.asyncio
async def test_buckets_stay_as_they_are_while_their_rate_does(tmp_path: Path) -> None:
    async with changing(tmp_path, coap__device_requests_per_minute=60) as gateway:
        rates = parts(gateway).dispatcher.rates
        gateway.values["dtls.mtu"] = 1400
        await gateway.reload()
        assert parts(gateway).dispatcher.rates is rates
        gateway.values["coap.device_burst"] = 5
        await gateway.reload()
        assert parts(gateway).dispatcher.rates._devices._burst == 5.0


def replace_certificate(folder: Path, *, key: bool = True, certificate: bool = True) -> ServerCertificate:
    """Makes the server another certificate, and puts it where the old one is, as far as is asked."""
    made = issue_server(pki().factory, ["localhost", "127.0.0.1"])
    new = folder / "new"
    new.mkdir()
    write_certified_key(made, new / "server.pem", new / "server.key")
    for name in ["server.key"] * key + ["server.pem"] * certificate:
        (new / name).replace(folder / name)
    return ServerCertificate(tuple(made.presented), made.private_key)


async def presented(gateway: Gateway) -> bytes:
    """The leaf that a new handshake gets to see."""
    client = RawClient(suites=(0xC0AE,), device=wire_certificate("looker"))
    async with gateway.wire(client):
        return client.server_chain[0]


@pytest.mark.asyncio
async def test_a_replaced_certificate_is_presented_and_its_end_measured(tmp_path: Path) -> None:
    async with changing(tmp_path) as gateway:
        made = replace_certificate(tmp_path)
        before = await presented(gateway)
        assert before != made.chain_der[0]
        await gateway.reload()
        assert await presented(gateway) == made.chain_der[0]
        [line] = gateway.events("config.reloaded")
        assert (line["changed"], sorted(Path(file).name for file in line["files"])) == (
            [],
            ["server.key", "server.pem"],
        )
        family = (await gateway.scrape())["gateway_certificate_expiry_timestamp_seconds"]
        ends = {s.labels["name"]: s.value for s in family.samples if s.labels["kind"] == "server"}
        assert ends == {"server": made.chain[0].not_valid_after_utc.timestamp()}


@pytest.mark.asyncio
async def test_the_trusted_cas_are_read_again(tmp_path: Path) -> None:
    async with changing(tmp_path) as gateway:
        with gateway.registry() as registry:
            [anchor] = registry.trust_anchors()
            registry.set_trust_anchor(anchor.id, policy=AnchorPolicy())
        [known] = gateway.worker._identity.trust_anchors
        assert known.auto_provision
        await gateway.reload()
        [known] = gateway.worker._identity.trust_anchors
        assert not known.auto_provision


@pytest.mark.asyncio
async def test_a_storm_of_requests_is_a_few_reloads_and_leaves_no_task(tmp_path: Path) -> None:
    async with changing(tmp_path) as gateway:
        before = len(asyncio.all_tasks())
        for _ in range(200):
            gateway.worker.reload()
        await gateway.event("config.reloaded")
        await gateway.reload()
        assert len(gateway.events("config.reloaded")) <= 3
        assert len(asyncio.all_tasks()) == before


@pytest.mark.asyncio
async def test_a_reload_that_is_asked_for_too_early_is_done_later(tmp_path: Path) -> None:
    settings = load_settings(None, prepare(tmp_path), environ={})
    with capture_logs() as lines:
        worker = Worker(settings, app=echo_app())
        worker.reload()
        async with worker:
            await until(lambda: any(line["event"] == "config.reloaded" for line in lines))
        assert worker._reloads is None


# --- files that change ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_files_are_watched_and_stopping_leaves_no_task(tmp_path: Path) -> None:
    before = len(asyncio.all_tasks())
    async with changing(tmp_path, watched=True) as gateway:
        made = replace_certificate(tmp_path)
        await gateway.event("config.reloaded")
        assert await presented(gateway) == made.chain_der[0]
    assert len(asyncio.all_tasks()) == before


@pytest.mark.asyncio
async def test_a_file_that_changes_during_the_start_is_no_exception(tmp_path: Path) -> None:
    values = prepare(tmp_path)

    def load() -> Settings:
        return load_settings(None, values, environ={})

    with capture_logs() as lines:
        worker = Worker(load(), app=echo_app(), source=Source(load))
        made = replace_certificate(tmp_path)
        async with worker as bound:
            gateway = Gateway(worker, bound, str(values["registry.url"]), lines)
            await gateway.event("config.reloaded")
            assert await presented(gateway) == made.chain_der[0]


@pytest.mark.asyncio
async def test_a_key_without_its_certificate_keeps_the_old_pair_until_both_are_there(tmp_path: Path) -> None:
    async with changing(tmp_path, watched=True) as gateway:
        before = await presented(gateway)
        made = replace_certificate(tmp_path, certificate=False)
        line = await gateway.event("config.reload_failed")
        assert "does not belong to" in line["error"]
        assert await presented(gateway) == before
        (tmp_path / "new/server.pem").replace(tmp_path / "server.pem")
        await gateway.event("config.reloaded")
        assert await presented(gateway) == made.chain_der[0]


@pytest.mark.asyncio
async def test_a_file_that_is_missing_is_waited_for(tmp_path: Path) -> None:
    async with changing(tmp_path, watched=True) as gateway:
        late = tmp_path / "late.keys"
        gateway.values["dtls.ticket_keys"] = str(late)
        await gateway.reload()
        [line] = gateway.events("config.reload_failed")
        assert str(late) in line["error"]
        late.touch(0o600)
        late.write_text("ab" * 32 + "\n")
        await gateway.event("config.reloaded")
        assert "ab" * 32 not in str(gateway.lines)


def watches(gateway: Gateway) -> bool:
    assert gateway.worker._reloads is not None
    return gateway.worker._reloads._watch._task is not None


@pytest.mark.asyncio
async def test_watching_can_be_switched_off_and_on(tmp_path: Path) -> None:
    async with changing(tmp_path, watched=True, server__watch_files=False) as gateway:
        assert not watches(gateway)
        gateway.values["server.watch_files"] = True
        await gateway.reload()
        assert watches(gateway)
        replace_certificate(tmp_path)
        await gateway.event("config.reloaded", 2)
        gateway.values["server.watch_files"] = False
        await gateway.reload()
        assert not watches(gateway)
