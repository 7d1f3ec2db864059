"""A gateway that takes up another configuration while foreign clients talk to it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from aiocoap import Code  # type: ignore[import-untyped]
from cryptography import x509

from gateway.pki import issue_server, write_certified_key
from tests.interop.devices import Certified, Psk, new_device
from tests.interop.gateway_process import Gateway, Site, build_site, total
from tests.interop.libcoap import coap_client
from tests.interop.openssl import s_client
from tests.interop.piped import Piped

pytestmark = pytest.mark.interop

PSK_SUITE = "TLS_PSK_WITH_AES_128_CCM_8"
CERTIFICATE_SUITE = "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
SUCCESSFUL = "gateway_config_last_reload_successful"
TAKEN_UP = "gateway_config_last_reload_success_timestamp_seconds"


def new_certificate(site: Site) -> x509.Certificate:
    """Another certificate for the server, in the places of the old one: the key first, as certbot and others do."""
    made = issue_server(site.pki.intermediate, ["localhost", "127.0.0.1"])
    folder = site.folder / "renewed"
    folder.mkdir()
    write_certified_key(made, folder / "server.pem", folder / "server.key")
    for name in ("server.key", "server.pem"):
        (folder / name).replace(site.folder / "pki" / name)
    return made.certificate


def presented(gateway: Gateway, device: Certified) -> x509.Certificate:
    """The server certificate that OpenSSL gets to see; it verifies it to the root."""
    command = s_client(gateway.port, device, CERTIFICATE_SUITE, "-showcerts")
    command.remove("-brief")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    text = done.stdout.decode(errors="replace")
    assert "Verify return code: 0 (ok)" in text, text + done.stderr.decode(errors="replace")
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return x509.load_pem_x509_certificate(text[begin:].encode())


def edit(site: Site, old: str, new: str) -> None:
    text = site.config.read_text()
    assert text.count(old) == 1, old
    replacement = site.config.with_name(".gateway.toml.new")
    replacement.write_text(text.replace(old, new))
    replacement.rename(site.config)  # as editors do


def test_new_handshakes_see_the_new_certificate_and_sessions_go_on(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    device = new_device(site, "reload")
    with (
        Gateway(site) as gateway,
        Piped(s_client(gateway.port, Psk(), PSK_SUITE)) as psk,
        Piped(s_client(gateway.port, new_device(site, "session"), CERTIFICATE_SUITE)) as certified,
    ):
        for session in (psk, certified):
            assert session.request(Code.GET, "/time").code is Code.CONTENT
        before = presented(gateway, device)
        renewed = new_certificate(site)
        line = gateway.log.wait("config.reloaded")
        assert {Path(file).name for file in line["files"]} == {"server.key", "server.pem"}
        assert presented(gateway, device) == renewed != before
        for session in (psk, certified):
            assert session.request(Code.GET, "/time").code is Code.CONTENT
            assert session.finish() == 0
        assert [line["reason"] for line in gateway.log.lines("dtls.session_closed")] == ["close_notify"] * 4
        answer = coap_client("gnutls", gateway.port, device, "get", "/time", folder=tmp_path)
        assert answer.code == "2.05", answer.transcript


def test_a_mounted_secret_is_swapped_as_kubernetes_does(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    device, mounted = new_device(site, "mounted"), site.folder / "pki"
    (mounted / "..1").mkdir()
    for name in ("server.key", "server.pem"):
        (mounted / name).rename(mounted / "..1" / name)
        (mounted / name).symlink_to(f"..data/{name}")
    (mounted / "..data").symlink_to("..1")
    with Gateway(site) as gateway:
        before = presented(gateway, device)
        made = issue_server(site.pki.intermediate, ["localhost", "127.0.0.1"])
        (mounted / "..2").mkdir()
        write_certified_key(made, mounted / "..2/server.pem", mounted / "..2/server.key")
        (mounted / "..data_tmp").symlink_to("..2")
        (mounted / "..data_tmp").rename(mounted / "..data")
        gateway.log.wait("config.reloaded")
        assert presented(gateway, device) == made.certificate != before
        assert gateway.log.lines("config.reload_failed") == []


def test_a_session_from_before_is_resumed(tmp_path: Path) -> None:
    site, kept = build_site(tmp_path), tmp_path / "session.pem"
    device = new_device(site, "resume")
    with Gateway(site) as gateway:
        with Piped(s_client(gateway.port, device, CERTIFICATE_SUITE, "-sess_out", str(kept))) as first:
            assert first.request(Code.GET, "/time").code is Code.CONTENT
            assert first.finish() == 0
        new_certificate(site)
        gateway.log.wait("config.reloaded")
        with Piped(s_client(gateway.port, device, CERTIFICATE_SUITE, "-sess_in", str(kept))) as second:
            assert second.request(Code.GET, "/time").code is Code.CONTENT
            assert second.finish() == 0
        modes = [line["mode"] for line in gateway.log.lines("dtls.handshake_completed")]
        assert modes == ["full", "resumed"]


def test_a_wrong_key_in_the_file_changes_nothing_and_says_why(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    with Gateway(site) as gateway, Piped(s_client(gateway.port, Psk(), PSK_SUITE)) as session:
        assert session.request(Code.GET, "/time").code is Code.CONTENT
        seen = len(gateway.log)
        edit(site, "# idle_timeout =", "idle_timeuot =")
        failed = gateway.log.wait("config.reload_failed", after=seen)
        assert failed["error"] == f"{site.config}: [dtls] idle_timeuot: unknown key (did you mean idle_timeout?)"
        assert total(gateway.samples(), SUCCESSFUL) == 0
        edit(site, "idle_timeuot =", "idle_timeout =")
        gateway.log.wait("config.reloaded", after=seen)
        assert total(gateway.samples(), SUCCESSFUL) == 1
        assert session.request(Code.GET, "/time").code is Code.CONTENT
        assert session.finish() == 0


def test_a_bad_key_file_and_a_missing_one_keep_the_old_pair(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    key = site.folder / "pki/server.key"
    device, good = new_device(site, "keys"), key.read_bytes()
    with Gateway(site) as gateway:
        before = presented(gateway, device)
        for change, complaint in (
            (
                lambda: key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
                "no private key",
            ),
            (key.unlink, "No such file"),
        ):
            seen = len(gateway.log)
            change()
            assert complaint in gateway.log.wait("config.reload_failed", after=seen)["error"]
            assert presented(gateway, device) == before
        seen = len(gateway.log)
        key.write_bytes(good)
        gateway.log.wait("config.reloaded", after=seen)
        assert presented(gateway, device) == before


def test_the_log_level_and_a_limit_follow_a_signal(tmp_path: Path) -> None:
    site = build_site(tmp_path, {"server.watch_files": False, "log.level": "warning"})
    edit(site, 'level = "warning"', 'level = "info"')  # the start waits for a line of this level
    with Gateway(site) as gateway:
        gateway.get("/livez")
        assert gateway.log.lines("admin.request_completed") == []
        edit(site, 'level = "info"', 'level = "debug"')
        edit(site, "# unknown_session =", 'unknown_session = "alert" #')
        edit(site, "# connection_id = true", "connection_id = false")
        gateway.process.send_signal(signal.SIGHUP)
        line = gateway.log.wait("config.reloaded")
        assert line["changed"] == ["dtls.unknown_session", "log.level"]
        assert gateway.log.wait("config.restart_required")["keys"] == ["dtls.connection_id"]
        gateway.get("/livez")
        gateway.log.wait("admin.request_completed")
        before = total(gateway.samples(), TAKEN_UP)
        edit(site, 'level = "debug"', 'level = "error"')
        seen = len(gateway.log)
        gateway.process.send_signal(signal.SIGHUP)
        # Nothing is logged of this one.
        deadline = time.monotonic() + 20.0
        while total(gateway.samples(), TAKEN_UP) == before:
            assert time.monotonic() < deadline
        # A handshake is a line of level info, of a logger that was bound at the start.
        with Piped(s_client(gateway.port, Psk(), PSK_SUITE)) as session:
            assert session.request(Code.GET, "/time").code is Code.CONTENT
            assert session.finish() == 0
        assert gateway.log.lines("dtls.handshake_completed", after=seen) == []


def test_a_storm_of_signals_leaves_nothing_behind(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    with Gateway(site) as gateway, Piped(s_client(gateway.port, Psk(), PSK_SUITE)) as session:
        assert session.request(Code.GET, "/time").code is Code.CONTENT
        gateway.process.send_signal(signal.SIGHUP)
        gateway.log.wait("config.reloaded")
        process = Path(f"/proc/{gateway.process.pid}")

        def held() -> tuple[int, int]:
            return len(os.listdir(process / "fd")), len(os.listdir(process / "task"))

        before = held()
        for _ in range(300):
            gateway.process.send_signal(signal.SIGHUP)
            assert gateway.process.poll() is None
        gateway.get("/livez")  # before what follows, in which the thread that answered closes its connection
        seen = len(gateway.log)
        gateway.process.send_signal(signal.SIGHUP)
        gateway.log.wait("config.reloaded", after=seen)
        assert session.request(Code.GET, "/time").code is Code.CONTENT
        assert session.finish() == 0
        files, threads = held()
        assert files <= before[0]
        assert threads <= before[1] + 6  # of asyncio's pool for work in threads, which is bounded
        assert gateway.log.lines("config.reload_failed") == []
