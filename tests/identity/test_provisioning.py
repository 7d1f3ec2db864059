"""Devices that nobody registered: how they come, how many, and who is asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.identity import IdentityRefused, IdentityService, Refusal
from gateway.identity import webhook as webhook_module
from gateway.model import DeviceStatus, Principal
from gateway.pki import CertifiedKey, create_root, fingerprint, issue_device
from gateway.registry import AnchorPolicy, CachedReads, InvalidValue, Provision, Registry, open_registry, run
from gateway.registry import provisioning as provisioning_module
from tests.slow_web import slow_web

ROOT = create_root("Factory Root")
ANCHOR = fingerprint(ROOT.certificate)
ACTIVE = AnchorPolicy(provision=Provision.ACTIVE)
DAY_S = 86_400


class Factory:
    """A registry that trusts a factory, and devices that come."""

    def __init__(self, registry: Registry, policy: AnchorPolicy) -> None:
        self.registry = registry
        registry.add_trust_anchor(ROOT.presented_der[0], "factory", policy=policy)
        self.service = IdentityService(CachedReads(registry))
        self.made: dict[str, CertifiedKey] = {}

    def comes(self, name: str) -> Principal:
        if name not in self.made:
            self.made[name] = issue_device(ROOT, name)
        return run(self.service.certificate(self.made[name].presented_der))

    def outcome(self, name: str) -> str:
        try:
            self.comes(name)
        except IdentityRefused as refused:
            return refused.reason.value
        return "in"

    def note(self, name: str) -> str:
        record = self.registry.device_record(name)
        assert record.device.status is DeviceStatus.QUARANTINED
        return record.note


@pytest.fixture
def registry() -> Iterator[Registry]:
    with open_registry("sqlite://") as made:
        yield made


@pytest.fixture
def factory(registry: Registry) -> Callable[..., Factory]:
    return lambda **policy: Factory(registry, AnchorPolicy(**({"provision": Provision.ACTIVE} | policy)))


def test_pending_until_approved(factory: Callable[..., Factory]) -> None:
    acme = factory(provision=Provision.PENDING)
    assert acme.outcome("m1") == "device_pending"
    assert acme.outcome("m1") == "device_pending"
    assert acme.registry.list_devices(status=DeviceStatus.PENDING)[0].device.id == "m1"
    acme.registry.set_status("m1", DeviceStatus.ACTIVE)
    assert acme.outcome("m1") == "in"


def test_off(factory: Callable[..., Factory]) -> None:
    acme = factory(provision=Provision.OFF)
    assert acme.outcome("m1") == "not_provisioned"
    assert acme.registry.list_devices() == []


def test_beyond_the_total_devices_are_quarantined_and_counted(factory: Callable[..., Factory]) -> None:
    acme = factory(max_devices=3)
    assert [acme.outcome(f"m{n}") for n in range(5)] == ["in"] * 3 + ["device_quarantined"] * 2
    assert [acme.outcome(f"m{n}") for n in range(5)] == ["in"] * 3 + ["device_quarantined"] * 2
    usage = acme.registry.anchor_usage(ANCHOR)
    assert (usage.admitted, usage.admitted_today, usage.quarantined) == (3, 3, 2)
    assert "its 3 devices" in acme.note("m3")
    # Deleting devices and trusting anew gives no new quota.
    acme.registry.delete_device("m0")
    acme.registry.delete_trust_anchor(ANCHOR)
    acme.registry.add_trust_anchor(
        ROOT.presented_der[0], "again", policy=AnchorPolicy(provision=Provision.ACTIVE, max_devices=3)
    )
    assert acme.outcome("m9") == "device_quarantined"


def test_so_many_a_day(factory: Callable[..., Factory], monkeypatch: pytest.MonkeyPatch) -> None:
    acme = factory(max_devices_per_day=2)
    now = [1_800_000_000.0]
    acme.registry._clock = lambda: now[0]
    assert [acme.outcome(f"m{n}") for n in range(3)] == ["in", "in", "device_quarantined"]
    now[0] += DAY_S
    assert [acme.outcome(f"n{n}") for n in range(3)] == ["in", "in", "device_quarantined"]
    assert "of today" in acme.note("n2")


def test_only_in_its_time(factory: Callable[..., Factory]) -> None:
    acme = factory(provision_from=1_800_000_000.0, provision_until=1_800_000_000.0 + DAY_S)
    now = [0.0]
    acme.registry._clock = lambda: now[0]
    for at, outcome in ((-1, "device_quarantined"), (0, "in"), (DAY_S, "in"), (DAY_S + 1, "device_quarantined")):
        now[0] = 1_800_000_000.0 + at
        assert acme.outcome(f"m{at}" if at >= 0 else "early") == outcome
    assert "yet" in acme.note("early")
    assert "no longer" in acme.note(f"m{DAY_S + 1}")


def test_only_names_of_its_pattern(factory: Callable[..., Factory]) -> None:
    acme = factory(name_pattern="acme-[0-9]{4}")
    assert acme.outcome("acme-0001") == "in"
    for name in ("acme-00012", "xacme-0001", "zeta-0001"):
        assert acme.outcome(name) == "device_quarantined"
    assert "pattern" in acme.note("zeta-0001")


def test_only_what_is_in_the_manifest(factory: Callable[..., Factory]) -> None:
    acme = factory(manifest=True)
    acme.made["by-serial"] = issue_device(ROOT, "by-serial")
    serial = f"{acme.made['by-serial'].certificate.serial_number:x}"
    assert acme.registry.set_manifest(ANCHOR, ["by-name", serial]) == 2
    assert acme.outcome("by-name") == "in"
    assert acme.outcome("by-serial") == "in"
    assert acme.outcome("stranger") == "device_quarantined"
    assert "manifest" in acme.note("stranger")


def test_quarantine_is_bounded(factory: Callable[..., Factory], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisioning_module, "MAX_QUARANTINED_PER_ANCHOR", 2)
    acme = factory(name_pattern="none")
    assert [acme.outcome(f"m{n}") for n in range(4)] == ["device_quarantined"] * 2 + ["registry_full"] * 2
    assert len(acme.registry.list_devices()) == 2


def test_an_operator_lets_a_quarantined_device_in(factory: Callable[..., Factory]) -> None:
    acme = factory(name_pattern="none")
    assert acme.outcome("m1") == "device_quarantined"
    acme.registry.set_status("m1", DeviceStatus.ACTIVE)
    assert acme.outcome("m1") == "in"


@pytest.mark.parametrize(
    "policy",
    [
        {"name_pattern": "("},
        {"webhook": "http://example.com/admit"},
        {"webhook": "ftp://127.0.0.1/"},
        {"crl_url": "https://ca.example.com/a.crl file:///etc/passwd"},
        {"provision_from": 2.0, "provision_until": 1.0},
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(registry: Registry, policy: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        registry.add_trust_anchor(ROOT.presented_der[0], "factory", policy=AnchorPolicy(**policy))


# The webhook.


@contextmanager
def answering(status: int | None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web server that says the same to everybody; None says nothing until it is stopped."""
    asked: list[dict[str, Any]] = []
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if status is None:
                stopped.wait(10)
                return
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/admit", asked
        finally:
            stopped.set()
            server.shutdown()
            thread.join()


def test_the_webhook_is_asked_once_a_device(factory: Callable[..., Factory]) -> None:
    with answering(204) as (url, asked):
        acme = factory(webhook=url)
        assert acme.outcome("m1") == "in"
        assert acme.outcome("m1") == "in"
    [said] = asked
    certificate = acme.made["m1"].certificate
    assert said["device"] == "m1"
    assert said["tenant"] == "default"
    assert said["trust_anchor"] == ANCHOR
    assert said["fingerprint"] == fingerprint(certificate)
    assert int(said["serial"], 16) == certificate.serial_number
    assert datetime.fromtimestamp(said["not_after"], UTC) == certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, Refusal.PROVISIONING_DENIED),
        (404, Refusal.PROVISIONING_DENIED),
        (302, Refusal.PROVISIONING_UNAVAILABLE),
        (500, Refusal.PROVISIONING_UNAVAILABLE),
        (None, Refusal.PROVISIONING_UNAVAILABLE),
    ],
)
def test_no_yes_is_a_no(
    factory: Callable[..., Factory], monkeypatch: pytest.MonkeyPatch, status: int | None, reason: Refusal
) -> None:
    monkeypatch.setattr(webhook_module, "WEBHOOK_TIMEOUT_S", 0.2)
    with answering(status) as (url, _):
        acme = factory(webhook=url)
        assert acme.outcome("m1") == reason.value
        assert acme.registry.list_devices() == []


def test_nobody_at_the_webhook(factory: Callable[..., Factory]) -> None:
    with answering(204) as (url, _):
        pass
    acme = factory(webhook=url)
    with pytest.raises(IdentityRefused, match="did not say") as refused:
        acme.comes("m1")
    assert refused.value.reason is Refusal.PROVISIONING_UNAVAILABLE
    assert acme.registry.list_devices() == []


def test_a_webhook_that_dribbles_has_no_more_time_than_a_silent_one(
    factory: Callable[..., Factory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer would be a no."""
    monkeypatch.setattr(webhook_module, "WEBHOOK_TIMEOUT_S", 0.2)
    with slow_web(b"HTTP/1.1 403 Forbidden\r\nX: ") as web:
        acme = factory(webhook=web.url())
        with pytest.raises(IdentityRefused, match=r"longer than 0\.2 seconds") as refused:
            acme.comes("m1")
        assert web.left.wait(10)
    assert refused.value.reason is Refusal.PROVISIONING_UNAVAILABLE


def test_a_webhook_that_speaks_no_http_admits_nobody(factory: Callable[..., Factory]) -> None:
    with slow_web(b"SSH-2.0-OpenSSH\r\n\r\n") as web:
        assert factory(webhook=web.url()).outcome("m1") == "provisioning_unavailable"


def test_a_webhook_that_redirects_is_told_of(factory: Callable[..., Factory]) -> None:
    with (
        answering(302) as (url, _),
        pytest.raises(IdentityRefused, match=r"redirects to 'http://127\.0\.0\.1:1/elsewhere'"),
    ):
        factory(webhook=url).comes("m1")
