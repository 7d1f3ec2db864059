"""Whoever is no longer let in is out within two seconds, in every process; whoever is let in notices nothing."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.config import load_settings
from gateway.identity import import_crl
from gateway.identity.tenancy import check_tenant
from gateway.model import DeviceStatus
from gateway.pki import CertifiedKey, create_root, fingerprint, issue_device
from gateway.registry import CredentialStatus, Registry, TenantLimits, open_registry
from gateway.server import Worker
from gateway.simulator import DeviceError, SimulatedDevice, certified
from tests.dtls.rawclient import RawClient
from tests.server.support import PATIENCE_S, PSK, PSK_IDENTITY, echo_app, pki, prepare, running, until, wire_certificate

pytestmark = pytest.mark.asyncio

WITHIN_S = PATIENCE_S
"""The promise is two seconds, of which the interval of looking is a quarter; how long it takes is measured by the story
of tests/interop/test_zero_touch.py, and asserted nowhere: a busy machine proves nothing."""
ACCESS_DENIED = 49
FATAL = 2


def crl(issuer: CertifiedKey, *serials: int, number: int = 1) -> bytes:
    """A list as any CA would make it."""
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - timedelta(minutes=1))
        .next_update(now + timedelta(days=7))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.private_key, hashes.SHA256()).public_bytes(Encoding.DER)


def disable(registry: Registry, leaf: x509.Certificate) -> None:
    registry.set_status("victim", DeviceStatus.DISABLED)


def delete(registry: Registry, leaf: x509.Certificate) -> None:
    registry.delete_device("victim")


def revoke_credential(registry: Registry, leaf: x509.Certificate) -> None:
    [credential] = registry.credentials("victim")
    registry.set_credential_status(credential.credential_id, CredentialStatus.REVOKED)


def disable_tenant(registry: Registry, leaf: x509.Certificate) -> None:
    registry.set_tenant("default", active=False)


def ban_leaf(registry: Registry, leaf: x509.Certificate) -> None:
    registry.ban_certificate(fingerprint(leaf), "stolen")


def ban_intermediate(registry: Registry, leaf: x509.Certificate) -> None:
    registry.ban_certificate(fingerprint(pki().factory.certificate))


def ban_anchor(registry: Registry, leaf: x509.Certificate) -> None:
    registry.ban_certificate(fingerprint(pki().root.certificate))


def untrust(registry: Registry, leaf: x509.Certificate) -> None:
    registry.delete_trust_anchor(registry.trust_anchors()[0].id)


def list_leaf(registry: Registry, leaf: x509.Certificate) -> None:
    registry.add_intermediate(pki().factory.presented_der[0])
    import_crl(registry, crl(pki().factory, leaf.serial_number), datetime.now(UTC))


def list_intermediate(registry: Registry, leaf: x509.Certificate) -> None:
    import_crl(registry, crl(pki().root, pki().factory.certificate.serial_number), datetime.now(UTC))


Act = Callable[[Registry, x509.Certificate], None]
ONE = {
    "disabled": (disable, "device_disabled"),
    "deleted": (delete, "credential_revoked"),
    "credential revoked": (revoke_credential, "credential_revoked"),
    "leaf banned": (ban_leaf, "distrusted"),
    "leaf on a list": (list_leaf, "revoked"),
}
ALL = {
    "tenant disabled": (disable_tenant, "tenant_disabled"),
    "intermediate banned": (ban_intermediate, "distrusted"),
    "anchor banned": (ban_anchor, "distrusted"),
    "anchor untrusted": (untrust, "unknown_root"),
    "intermediate on a list": (list_intermediate, "revoked"),
}


@pytest.mark.parametrize("what", ONE | ALL)
async def test_a_session_ends_within_two_seconds_and_nobody_else_s(tmp_path: Path, what: str) -> None:
    act, reason = (ONE | ALL)[what]
    victim = wire_certificate("victim")
    async with running(tmp_path) as gateway, AsyncExitStack() as stack:
        wire = await stack.enter_async_context(gateway.wire(RawClient(suites=(0xC0AE,), device=victim)))
        neighbour = await stack.enter_async_context(gateway.certificate_device("neighbour"))
        psk = await stack.enter_async_context(gateway.psk_device())
        with gateway.registry() as registry:
            act(registry, x509.load_der_x509_certificate(victim.chain[0]))
        async with asyncio.timeout(WITHIN_S):
            assert await wire.alert() == (FATAL, ACCESS_DENIED)
        lines = gateway.events("identity.session_revoked")
        assert [line["reason"] for line in lines if line["device"] == "victim"] == [reason]
        assert lines[0]["hint"]
        if what in ONE:
            assert {line["device"] for line in lines} == {"victim"}
            assert (await neighbour.get("/device")).payload == b"default/neighbour"
        if what != "tenant disabled":
            assert (await psk.get("/device")).payload == b"default/dev1"
        closed = await gateway.samples("gateway_dtls_sessions_closed_total")
        assert closed[("revoked",)] == len(lines)


@pytest.mark.parametrize("what", ONE | ALL)
async def test_neither_a_ticket_nor_a_full_handshake_brings_it_back(tmp_path: Path, what: str) -> None:
    act, reason = (ONE | ALL)[what]
    made = issue_device(pki().factory, "victim")
    async with running(tmp_path) as gateway:
        device = SimulatedDevice(certified("victim", made), "127.0.0.1", gateway.port)
        async with device:
            await device.get("/device")
        async with device:
            await device.get("/device")
        assert [line["mode"] for line in gateway.events("dtls.handshake_completed")] == ["full", "resumed"]
        with gateway.registry() as registry:
            act(registry, made.certificate)
        await until(partial(seen, gateway.worker))
        if what == "deleted":
            async with device:  # its anchor lets devices come by themselves: as another one
                await device.get("/device")
            assert gateway.events("dtls.handshake_completed")[-1]["mode"] == "full"
            return
        with pytest.raises(DeviceError):
            await device.connect()
        [line] = gateway.events("dtls.handshake_failed")
        assert line["reason"] == {"revoked": "certificate_revoked", "distrusted": "certificate_banned"}.get(
            reason, reason
        )


def seen(worker: Worker) -> bool:
    """Whether the worker has read all that was written."""
    return worker._reads.fetch().changes.seq == worker._reads._seq and not worker._identity._outdated


async def test_a_revoked_key_ends_its_session_and_not_the_other_one_of_its_device(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, AsyncExitStack() as stack:
        with gateway.registry() as registry:
            registry.add_psk("dev1", b"second", PSK)
            first = next(c for c in registry.credentials("dev1") if c.psk_identity == PSK_IDENTITY)
        wire = await stack.enter_async_context(gateway.wire())
        other = await stack.enter_async_context(gateway.psk_device(PSK, b"second"))
        with gateway.registry() as registry:
            registry.set_credential_status(first.credential_id, CredentialStatus.REVOKED)
        async with asyncio.timeout(WITHIN_S):
            assert await wire.alert() == (FATAL, ACCESS_DENIED)
        assert (await other.get("/device")).payload == b"default/dev1"


async def test_every_process_ends_its_sessions(tmp_path: Path) -> None:
    """Two workers on one registry, and a change by a third."""
    values = prepare(tmp_path)
    made = certified("victim", issue_device(pki().factory, "victim"))
    async with AsyncExitStack() as stack:
        bounds = [
            await stack.enter_async_context(Worker(load_settings(None, values, environ={}), app=echo_app()))
            for _ in range(2)
        ]
        devices = [
            await stack.enter_async_context(SimulatedDevice(made, "127.0.0.1", bound.udp.port)) for bound in bounds
        ]
        for device in devices:
            assert (await device.get("/device")).payload == b"default/victim"
        with open_registry(str(values["registry.url"])) as registry:
            registry.set_status("victim", DeviceStatus.DISABLED)
        async with asyncio.timeout(WITHIN_S):
            await until(lambda: all(ended(device) for device in devices))


def ended(device: SimulatedDevice) -> bool:
    return device.connection is None or device.connection.association is None or device.connection.association.closed


async def test_what_changes_about_a_device_and_its_trust_leaves_its_session_alone(tmp_path: Path) -> None:
    """Tags, another anchor, a list without it, a ban of somebody else, and of an old certificate of its own."""
    async with running(tmp_path) as gateway, gateway.certificate_device("steady") as device:
        assert (await device.get("/device")).payload == b"default/steady"
        with gateway.registry() as registry:
            registry.set_details("steady", tags=["cold"], attributes=[("floor", "3")])
            registry.add_trust_anchor(create_root("Another").presented_der[0], "another")
            import_crl(registry, crl(pki().root, 12345), datetime.now(UTC))
            registry.ban_certificate(fingerprint(issue_device(pki().factory, "steady").certificate))
            registry.add_psk("steady", b"beside", PSK)
        await until(partial(seen, gateway.worker))
        await asyncio.sleep(0.6)
        assert (await device.get("/device")).payload == b"default/steady"
        assert gateway.events("identity.session_revoked") == []
        [session] = gateway.watch._of_devices.of("default", "steady")
        assert session.principal.device.tags == ("cold",)


async def test_what_time_alone_ends_ends_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.watch.RECHECK_INTERVAL_S", 0.0)
    async with running(tmp_path) as gateway, gateway.certificate_device("steady") as steady:
        async with gateway.wire() as wire:
            with gateway.registry() as registry:
                registry.set_tenant("default", limits=TenantLimits(psk_until=time.time() + 3600))
            identity = gateway.watch._identity
            await until(lambda: bool(check_tenant(identity._reads, "default").limits.psk_until))
            await gateway.watch.look()
            assert gateway.events("identity.session_revoked") == []
            identity._clock = lambda: datetime.now(UTC) + timedelta(hours=2)
            async with asyncio.timeout(WITHIN_S):
                assert await wire.alert() == (FATAL, ACCESS_DENIED)
            assert [line["reason"] for line in gateway.events("identity.session_revoked")] == ["psk_ended"]
        assert (await steady.get("/device")).payload == b"default/steady"


async def test_who_was_seen_is_noted(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.psk_device() as device:
        await device.get("/device")
        with gateway.registry() as registry:
            assert registry.device_record("dev1").last_seen_at is None
        await gateway.watch.note_all()
        with gateway.registry() as registry:
            assert registry.device_record("dev1").last_seen_at
            assert registry.credentials("dev1")[0].last_used_at


async def test_a_handshake_that_was_let_in_before_the_change_ends_after_it(tmp_path: Path) -> None:
    """Whoever knows that a ban is coming could hold the last message of a handshake back until it was made."""
    victim = wire_certificate("victim")
    async with running(tmp_path) as gateway:
        wire = gateway.wire(RawClient(suites=(0xC0AE,), device=victim))
        try:
            await wire.reach_server_done()
            *first, last = wire.client.answer_flight()
            for datagram in first:
                wire.send(datagram)
            await gateway.event("registry.device_created")
            with gateway.registry() as registry:
                ban_leaf(registry, x509.load_der_x509_certificate(victim.chain[0]))
            await until(partial(seen, gateway.worker))
            await gateway.watch.look()
            assert gateway.events("identity.session_revoked") == []
            wire.send(last)
            assert await wire.alert() == (FATAL, ACCESS_DENIED)
        finally:
            wire.udp.close()
