"""`gateway serve` as a process: how it starts, follows the registry, and stops."""

import json
import os
import shlex
import signal
import socket
import time
import urllib.request
from pathlib import Path

import aiocoap  # type: ignore[import-untyped]
import pytest

from gateway.pki import load_server_certificate
from gateway.registry.limits import CACHE_CHECK_S
from gateway.server.limits import CRL_FETCH_S
from tests.cli.support import STOP_S, Serving, ok, run
from tests.interop.devices import Psk
from tests.interop.openssl import s_client
from tests.interop.piped import Piped
from tests.slow_web import slow_web

KEY = b"sixteen letters!"
SUITE = "TLS_PSK_WITH_AES_128_GCM_SHA256"


def add_device(name: str = "dev1") -> Psk:
    ok("device", "add", name, "--psk-identity", f"{name}-id", "--psk-stdin", "--psk-text", stdin=KEY)
    return Psk(f"{name}-id", KEY)


def simulate(gateway: Serving, *words: str) -> int:
    return run("simulate", "--target", gateway.target, *words).status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_says_goodbye_to_the_devices_and_exits_with_0(site: Path, number: signal.Signals) -> None:
    device = add_device()
    with Serving(site) as gateway:
        with Piped(s_client(gateway.port, device, SUITE)) as client:
            client.request(aiocoap.GET, "/time")
            assert gateway.signal(number) == 0
            # openssl leaves with 0 at close_notify, though its input is still open; a dead port gives it 1.
            assert client.wait() == 0
        last = [line["event"] for line in gateway.log.lines()][-3:]
        assert last == ["server.stopping", "dtls.session_closed", "server.stopped"]
        assert {line["level"] for line in gateway.log.lines()} == {"info"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", gateway.port))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_does_not_wait_for_a_revocation_list_that_comes_slowly(site: Path, workers: str) -> None:
    with slow_web(b"HTTP/1.1 200 OK\r\nX: ") as web:
        ok("ca", "trust", "certs/root.pem", "--crl-url", web.url())
        with Serving(site, "--workers", workers) as gateway:
            assert web.asked.wait(STOP_S)
            gateway.process.send_signal(signal.SIGTERM)
            # Before the fetch ends by itself; a worker that is killed makes another status.
            assert gateway.process.wait(CRL_FETCH_S / 2) == 0
            assert not gateway.log.lines("crl.refresh_failed")


def test_the_start_line_says_what_is_there(site: Path) -> None:
    add_device()
    ok("ca", "trust", "certs/root.pem")
    with Serving(site) as gateway:
        [started] = gateway.log.lines("server.started")
        assert (started["devices"], started["trust_anchors"], started["certificate"]) == (1, 1, True)
        with urllib.request.urlopen(f"http://{gateway.admin}/readyz", timeout=10) as answer:
            assert answer.status == 200
        assert gateway.signal(signal.SIGTERM) == 0


def change(*command: str) -> None:
    """A command, and the time until a running gateway has surely seen what it changed."""
    ok(*command)
    time.sleep(CACHE_CHECK_S)


def test_the_registry_is_followed_within_a_second(site: Path) -> None:
    Path("key").write_bytes(KEY)
    psk = ["--psk-identity", "dev1-id", "--psk-file", "key", "--psk-text"]
    certificate = ["--ca", "certs/intermediate.pem", "--device-id", "meter-1"]
    with Serving(site) as gateway:
        assert simulate(gateway, *psk) == 1
        add_device()
        assert simulate(gateway, *psk) == 0
        change("device", "disable", "dev1")
        assert simulate(gateway, *psk) == 1
        change("device", "enable", "dev1")
        assert simulate(gateway, *psk) == 0
        change("device", "delete", "dev1", "--yes")
        assert simulate(gateway, *psk) == 1

        assert simulate(gateway, *certificate) == 1
        change("ca", "trust", "certs/ca-bundle.pem")
        assert simulate(gateway, *certificate) == 1
        ok("device", "add", "meter-1")
        assert simulate(gateway, *certificate) == 0
        change("ca", "trust", "certs/root.pem", "--auto-provision")
        assert simulate(gateway, "--ca", "certs/intermediate.pem", "--device-id", "meter-2") == 0
        listed = ok("device", "list", "-o", "json").json
        assert [(row["device"], row["auto_provisioned"]) for row in listed] == [("meter-1", False), ("meter-2", True)]
        [anchor] = ok("ca", "list", "-o", "json").json
        change("ca", "untrust", anchor["id"])
        assert simulate(gateway, *certificate) == 1
        reasons = [line["reason"] for line in gateway.log.lines("dtls.handshake_failed")]
        assert gateway.signal(signal.SIGTERM) == 0
    assert reasons == [
        "unknown_identity",
        "device_disabled",
        "unknown_identity",
        "unknown_root",
        "not_provisioned",
        "unknown_root",
    ]


def test_telemetry_and_log_are_json_lines_on_standard_output(site: Path) -> None:
    add_device()
    Path("key").write_bytes(KEY)
    with Serving(site) as gateway:
        assert simulate(gateway, "--psk-identity", "dev1-id", "--psk-file", "key", "--psk-text") == 0
        assert gateway.signal(signal.SIGTERM) == 0
        lines = [json.loads(line) for line in gateway.log.path.read_text().splitlines()]
    assert {"server.started", "dtls.handshake_completed", "server.stopped"} <= {line.get("event") for line in lines}
    assert [line["device"] for line in lines if line.get("stream") == "simulated"] == ["dev1"]


def test_bind_of_the_command_line_wins(site: Path) -> None:
    with Serving(site, "--bind", "127.0.0.2:0") as gateway:
        [started] = gateway.log.lines("server.started")
        assert str(started["udp"]).startswith("127.0.0.2:")
        assert gateway.signal(signal.SIGTERM) == 0


def test_check_warns_of_an_outdated_certificate_and_says_what_renews_it(
    site: Path, no_sockets: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ok("serve", "--check").stderr == ""
    until = load_server_certificate(site / "certs/server.pem", site / "certs/server.key").chain[0].not_valid_after_utc
    monkeypatch.setattr(time, "time", lambda: until.timestamp() + 86400)
    done = ok("serve", "--check")
    monkeypatch.undo()
    monkeypatch.chdir(site)
    assert done.stdout.startswith("ok: ")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"warning: {site / 'certs/server.pem'}: ")
    assert "has expired (valid from 20" in line
    command = line.split("`")[1].replace("FILE", "certs/intermediate.pem")
    ok(*shlex.split(command)[1:])
    Path("certs/server-renewed-1.pem").replace("certs/server.pem")
    assert ok("serve", "--check").stderr == ""


def test_check_opens_nothing(site: Path, no_sockets: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    add_device()
    assert ok("serve", "--check").stdout.startswith("ok: 1 devices, 0 trust anchors, ")
    assert no_sockets == []
    # Otherwise one would have been.
    monkeypatch.setenv("GATEWAY_HANDLERS__ENABLED", "time")
    assert run("serve").status == 2
    assert no_sockets == [("::", 5684)]


def test_a_folder_that_was_moved_still_works(site: Path) -> None:
    moved = site.parent / "moved here"
    os.rename(site, moved)
    with Serving(moved) as gateway:
        assert gateway.signal(signal.SIGTERM) == 0
