"""What the gateway remembers of failed handshakes, and who can read it."""

import asyncio
import json
import shlex
import socket
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.cli import app
from gateway.config import load_settings
from gateway.dtls import FailureReason
from gateway.model import DeviceStatus
from gateway.pki import create_intermediate, create_root, fingerprint, issue_device
from gateway.server import Worker
from gateway.server.failures import Failures
from gateway.server.limits import MAX_FAILURE_CHAIN, MAX_FAILURE_TEXT, MAX_FAILURES_PER_REASON
from gateway.server.presented import Issuer, claimed_identity, issuer_of
from gateway.server.remedies import REMEDY_FOR, command_for
from gateway.telemetry import EventLimiter
from tests.cli.support import run
from tests.dtls.rawclient import RawClient
from tests.pki.factory import make, name
from tests.server.support import PSK_IDENTITY, Gateway, echo_app, pki, prepare, running, until, wire_certificate


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def facts(**others: Any) -> dict[str, Any]:
    return {
        "reason": FailureReason.WRONG_KEY,
        "hint": "compare",
        "server_name": None,
        "peer": "192.0.2.1:5",
        "device": "dev1",
        "tenant": "default",
        "identity": "id1",
        "alert": "decrypt_error",
        "auth": "psk",
        "suite": None,
        "suite_offer": (),
        "duration_ms": 1.0,
        "retransmissions": 0,
        **others,
    }


def test_what_repeats_is_one_entry() -> None:
    failures = Failures(Clock())
    for port in range(5):
        failures.add("192.0.2.1", **facts(peer=f"192.0.2.1:{port}"))
    [only] = failures.newest()
    assert (only.count, only.peer, only.last_at - only.first_at) == (5, "192.0.2.1:4", 4)
    shown = only.as_json()
    assert (shown["first_at"], shown["last_at"]) == ("2023-11-14T22:13:21.000Z", "2023-11-14T22:13:25.000Z")
    assert shown["remedy"] == REMEDY_FOR[FailureReason.WRONG_KEY]
    json.dumps(shown)


def test_each_identity_has_its_own_entry() -> None:
    failures = Failures(Clock())
    for n in (1, 2, 1):
        failures.add("192.0.2.1", **facts(device=None, identity=f"meter-{n}"))
    assert [(each.identity, each.count) for each in failures.newest()] == [("meter-1", 2), ("meter-2", 1)]


def test_flood_of_one_reason_leaves_the_others() -> None:
    failures = Failures(Clock())
    failures.add("192.0.2.1", **facts())
    for n in range(10_000):
        failures.add(f"10.0.{n >> 8}.{n & 255}", **facts(reason=FailureReason.TIMEOUT, hint=f"{n}"))
    assert len(failures) == MAX_FAILURES_PER_REASON + 1
    newest = failures.newest()
    assert newest[0].hint == "9999"
    assert newest[-1].reason is FailureReason.WRONG_KEY


@pytest.mark.parametrize(
    "hosts",
    [
        ("198.51.100.7",),
        tuple(f"198.51.100.{n}" for n in range(256)),
        tuple(f"::ffff:198.51.100.{n}" for n in range(256)),
        tuple(f"2001:db8:0:{n:x}::{n:x}" for n in range(256)),
    ],
)
def test_network_that_makes_up_identities_pushes_out_only_its_own(hosts: tuple[str, ...]) -> None:
    failures = Failures(Clock())
    honest = [f"meter-{n}" for n in range(MAX_FAILURES_PER_REASON - 1)]
    for n, identity in enumerate(honest):
        failures.add(f"192.0.{n}.1", **facts(identity=identity))
    for n in range(1000):
        failures.add(hosts[n % len(hosts)], **facts(identity=f"forged-{n}"))
    assert len(failures) == MAX_FAILURES_PER_REASON
    assert [each.identity for each in failures.newest()] == ["forged-999", *reversed(honest)]


def test_network_may_fill_what_nobody_else_needs() -> None:
    failures = Failures(Clock())
    for n in range(100):
        failures.add("192.0.2.1", **facts(identity=f"meter-{n}"))
    kept = [f"meter-{n}" for n in range(99, 99 - MAX_FAILURES_PER_REASON, -1)]
    assert [each.identity for each in failures.newest()] == kept
    failures.add("198.51.100.7", **facts(identity="other"))
    assert [each.identity for each in failures.newest()] == ["other", *kept[:-1]]


def test_words_of_strangers_are_cut() -> None:
    failures = Failures(Clock())
    failures.add("h", **facts(hint="x" * 10_000, server_name="y" * 10_000))
    assert (len(failures.newest()[0].hint), len(failures.newest()[0].server_name or "")) == (MAX_FAILURE_TEXT,) * 2


def test_no_remedy_costs_what_is_said_of_a_device() -> None:
    """Its tags, notes and attributes, which go with it when it is deleted."""
    assert not [reason for reason, remedy in REMEDY_FOR.items() if "device delete" in remedy]


def test_each_reason_has_a_remedy() -> None:
    assert set(REMEDY_FOR) == set(FailureReason)
    assert all(REMEDY_FOR.values())


COMMANDS = [
    (
        FailureReason.UNKNOWN_IDENTITY,
        None,
        None,
        "it's 7",
        "gateway device add ID --psk-identity 'it'\"'\"'s 7' --psk-file FILE",
    ),
    (FailureReason.UNKNOWN_IDENTITY, None, None, "dev7", "gateway device add dev7 --psk-identity dev7 --psk-file FILE"),
    (FailureReason.UNKNOWN_IDENTITY, None, None, "0xff00", None),
    (FailureReason.UNKNOWN_PUBLIC_KEY, None, None, None, "gateway device add ID --public-key FILE"),
    (FailureReason.NOT_PROVISIONED, None, None, "dev7", "gateway device add dev7"),
    (FailureReason.NOT_PROVISIONED, "dev7", "acme", "dev7", "gateway device add dev7 --certificate --tenant acme"),
    (FailureReason.DEVICE_DISABLED, "dev1", "default", "x", "gateway device enable dev1"),
    (FailureReason.UNKNOWN_ROOT, None, None, None, "gateway ca trust FILE"),
    (FailureReason.MISSING_INTERMEDIATE, None, None, None, "gateway ca trust FILE"),
    # Nothing to paste: it would delete a device, or let another factory speak for it.
    (FailureReason.WRONG_KEY, "dev1", "default", "dev1", None),
    (FailureReason.OTHER_ISSUER, "dev1", "default", "dev1", None),
]


@pytest.mark.parametrize(("reason", "device", "tenant", "identity", "command"), COMMANDS)
def test_commands_to_paste(
    reason: FailureReason, device: str | None, tenant: str | None, identity: str | None, command: str | None
) -> None:
    assert command_for(reason, device=device, tenant=tenant, identity=identity) == command
    if command is None:
        return
    # The command line exists: what is missing is only the file.
    words = [word.replace("FILE", "/no/such/file") for word in shlex.split(command)[1:]]
    group: Any = typer.main.get_command(app)
    parsed = group.get_command(typer.Context(group), words[0]).get_command(typer.Context(group), words[1])
    assert parsed.make_context(words[1], words[2:]).params


def test_a_refused_chain_is_kept_and_bounded() -> None:
    failures = Failures(Clock())
    chain = (b"\x30" * 4000, b"\x31" * 4000, b"\x32" * 4000)
    failures.add("h", **facts(reason=FailureReason.UNKNOWN_ROOT, chain=chain))
    failures.add("h", **facts(reason=FailureReason.TIMEOUT, chain=chain))
    failures.add("i", **facts(reason=FailureReason.BAD_CERTIFICATE, chain=(b"\x30" * (MAX_FAILURE_CHAIN + 1),)))
    [kept] = failures.refused_chains()
    assert kept.chain == chain[:2]
    assert "chain" not in repr(kept)
    plain, full = kept.as_json(), kept.as_json(chains=True)
    assert "chain" not in plain
    assert [b64decode(der) for der in full["chain"]] == list(chain[:2])
    # Not certificates at all, which is no fault of ours.
    assert (plain["issuer"], plain["issuer_key_id"]) == (None, None)


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        (b"dev 7", "dev 7"),
        ("d\u00e9".encode(), "d\u00e9"),
        (b"a\x1b[31m", "0x611b5b33316d"),
        (b"\xff", "0xff"),
        (b"", "0x"),
    ],
)
def test_identities_are_shown(identity: bytes, shown: str) -> None:
    assert claimed_identity(identity, ()) == shown


def test_long_identity_is_cut() -> None:
    assert claimed_identity(b"x" * 10_000, ()) == "x" * MAX_FAILURE_TEXT


def test_a_certificate_claims_the_name_in_it() -> None:
    leaf = issue_device(pki().factory, "dev7").certificate.public_bytes(Encoding.DER)
    assert claimed_identity(None, (leaf,)) == "dev7"
    assert claimed_identity(None, ()) is None
    # No name that a device could have: nothing of it reaches the log.
    assert claimed_identity(None, (make("a\x1b[31m").der,)) is None
    assert claimed_identity(None, (make(name()).der,)) is None
    # Too large to be read in the event loop, whatever is in it.
    assert claimed_identity(None, (leaf + bytes(MAX_FAILURE_CHAIN),)) is None


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_reading_a_chain_is_total(chain: list[bytes]) -> None:
    issuer_of(chain)
    claimed_identity(None, tuple(chain))


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_reading_a_damaged_chain_is_total(cut: int) -> None:
    leaf, *rest = pki().server.presented_der
    damaged = leaf[:cut] + bytes((leaf[cut] ^ 0x41,)) + leaf[cut + 1 :]
    issuer_of([damaged, *rest])
    issuer_of([*rest, damaged])
    claimed_identity(None, (damaged,))


def test_the_issuer_that_a_chain_leads_to() -> None:
    root = create_root("Acme Factory 2")
    line = create_intermediate(root, "Line 1")
    device = issue_device(line, "dev7").certificate.public_bytes(Encoding.DER)
    key_id = {each: subject_key_id(each.certificate) for each in (root, line)}
    above = [each.certificate.public_bytes(Encoding.DER) for each in (line, root)]
    for chain, issuer in (([device], line), ([device, above[0]], root), ([device, above[1], above[0]], root)):
        assert issuer_of(chain) == Issuer(f"'{issuer.certificate.subject.rfc4514_string()}'", key_id[issuer])
    # A certificate that says as little as it can.
    assert issuer_of([make("dev8").der]) == Issuer("'CN=dev8'", None)
    assert issuer_of([make("dev8", make("CA")).der]) == Issuer("'CN=CA'", None)
    # Another CA of the same name is not the one that is asked for.
    namesake = create_intermediate(root, "Line 1").certificate.public_bytes(Encoding.DER)
    assert issuer_of([device, namesake, above[1]]).key_id == key_id[line]


def subject_key_id(certificate: x509.Certificate) -> str:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


@pytest.mark.asyncio
async def test_failures_can_be_read_and_explained(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        stranger = gateway.wire(RawClient(identity=b"nob\x1b[31mody"))
        await stranger.reach_server_done()
        for datagram in stranger.client.answer_flight():
            stranger.send(datagram)
        await stranger.alert()
        stranger.udp.close()
        status, body = await gateway.get("/debug/failures")
        url = f"http://127.0.0.1:{gateway.bound.admin.port}"
        # One after the other: the runner takes the standard streams of the process.
        table = await asyncio.to_thread(run, "explain", "--server", url)
        filtered = await asyncio.to_thread(run, "explain", "dev7", "--server", url)
        as_json = await asyncio.to_thread(run, "explain", "127.0.0.1", "--server", url, "-o", "json")
    assert status == 200
    [failure] = json.loads(body)["failures"]
    assert (failure["reason"], failure["count"], failure["device"]) == ("unknown_identity", 1, None)
    assert "\x1b" not in body
    assert as_json.json == [failure]
    assert table.status == 0
    assert "unknown_identity" in table.stdout
    assert failure["identity"] == "0x" + b"nob\x1b[31mody".hex()
    assert f"\nhint      {failure['hint']}\nremedy    {failure['remedy']}\n" in table.stdout
    assert "\x1b" not in table.stdout
    assert "device    " not in table.stdout
    assert filtered.stdout == "no failed handshake is remembered of dev7\n"


@pytest.mark.asyncio
async def test_failures_are_told_under_our_own_names_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = socket.getaddrinfo
    ours = {"gateway.example.com": "127.0.0.1", "gateway.internal": "127.0.0.1"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: lookup(ours.get(host, host), *a, **k))
    async with running(tmp_path, admin__hosts=["gateway.example.com"]) as gateway:
        port = gateway.bound.admin.port
        told = await asyncio.to_thread(run, "explain", "--server", f"http://gateway.example.com:{port}")
        not_told = await asyncio.to_thread(run, "explain", "--server", f"http://gateway.internal:{port}")
    assert told.status == 0, told
    line = not_told.refused(1)
    assert "'gateway.internal'" in line
    assert "add it to [admin] hosts" in line


@pytest.mark.asyncio
async def test_refused_device_of_the_registry_is_found_by_its_name(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.add_device("dev")
            registry.set_status("dev", DeviceStatus.DISABLED)
        for _ in range(2):
            await refused_by_certificate(gateway, "dev")
        url = f"http://127.0.0.1:{gateway.bound.admin.port}"
        shown = await asyncio.to_thread(run, "explain", "dev", "--server", url)
        [first, second] = gateway.events("dtls.handshake_failed")
    assert first["claimed_device"] == second["claimed_device"] == "dev"
    assert "\ndevice    dev\n" in shown.stdout
    assert "\ncommand   gateway device enable dev\n" in shown.stdout
    assert ", 2 times since " in shown.stdout


@pytest.mark.asyncio
async def test_each_device_of_a_banned_factory_is_found_by_the_name_in_its_certificate(tmp_path: Path) -> None:
    names = [f"f1-{n:06}" for n in range(1, 4)]
    async with running(tmp_path) as gateway:
        with gateway.registry() as registry:
            registry.ban_certificate(fingerprint(pki().factory.certificate), "key copied")
        assert gateway.watch.read_again() is None
        for each in names:
            await refused_by_certificate(gateway, each)
        url = f"http://127.0.0.1:{gateway.bound.admin.port}"
        shown = {each: await asyncio.to_thread(run, "explain", "--device", each, "--server", url) for each in names}
        lines = gateway.events("dtls.handshake_failed")
    assert [(line["claimed_identity"], line["claimed_device"], line["reason"]) for line in lines] == [
        (each, None, "certificate_banned") for each in names
    ]
    for each in names:
        assert f"\nidentity  {each}\n" in shown[each].stdout
        assert shown[each].stdout.count("reason    ") == 1


@pytest.mark.asyncio
async def test_a_psk_identity_is_logged_as_a_claim(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for identity in (PSK_IDENTITY, b"nob\x1b[31mody"):
            stranger = gateway.wire(RawClient(identity=identity, psk=b"not the key of it"))
            await stranger.reach_server_done()
            for datagram in stranger.client.answer_flight():
                stranger.send(datagram)
            await stranger.alert()
            stranger.udp.close()
        lines = gateway.events("dtls.handshake_failed")
    assert [(line["claimed_identity"], line["claimed_device"]) for line in lines] == [
        (PSK_IDENTITY.decode(), "dev1"),
        ("0x" + b"nob\x1b[31mody".hex(), None),
    ]


async def refused_by_certificate(gateway: Gateway, device: str) -> None:
    client = RawClient(suites=(0xC0AE,), device=wire_certificate(device))
    refused = gateway.wire(client)
    await refused.reach_server_done()
    for datagram in client.answer_flight():
        refused.send(datagram)
    await refused.alert()
    refused.udp.close()


def test_gateway_that_does_not_run_cannot_be_asked() -> None:
    assert "is the gateway running" in run("explain", "--server", "http://127.0.0.1:1").refused(1)
    run("explain", "--server", "127.0.0.1:9464").refused(2)


@pytest.mark.asyncio
async def test_end_of_a_flood_is_logged(tmp_path: Path) -> None:
    now = 0.0
    limiter = EventLimiter(["dtls.handshake_failed"], burst=1, period_s=60.0, clock=lambda: now)
    for _ in range(4):
        limiter.admit("dtls.handshake_failed")
    now = 60.0
    worker = Worker(load_settings(None, prepare(tmp_path), environ={}), app=echo_app(), limiter=limiter)
    with capture_logs() as lines:
        async with worker:
            await until(lambda: any(line["event"] == "log.suppressed" for line in lines))
    [line] = [line for line in lines if line["event"] == "log.suppressed"]
    assert (line["limited_event"], line["suppressed"]) == ("dtls.handshake_failed", 3)
