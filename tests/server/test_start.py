"""What stops a gateway from starting: one readable line, before any socket opens, and nothing left behind."""

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.config import ConfigError, load_settings
from gateway.handlers import App
from gateway.server import BindError, Worker
from tests.pki.factory import make
from tests.server.support import echo_app, prepare, running

Values = dict[str, object]


def rewritten(values: Values, key: str, text: bytes) -> None:
    Path(str(values[key])).write_bytes(text)


def no_such_registry(values: Values) -> None:
    values["registry.url"] = f"{values['registry.url']}.not-there"


def registry_is_no_registry(values: Values) -> None:
    Path(str(values["registry.url"]).removeprefix("sqlite:///")).write_bytes(b"not a database" * 100)


def registry_open_to_all(values: Values) -> None:
    Path(str(values["registry.url"]).removeprefix("sqlite:///")).chmod(0o644)


def registry_is_damaged(values: Values) -> None:
    connection = sqlite3.connect(str(values["registry.url"]).removeprefix("sqlite:///"))
    connection.execute("DROP TABLE trust_anchor")
    connection.commit()
    connection.close()


def certificate_is_no_certificate(values: Values) -> None:
    rewritten(values, "dtls.certificate", b"hello\n")


def key_is_no_key(values: Values) -> None:
    rewritten(values, "dtls.private_key", b"hello\n")


def key_of_another_certificate(values: Values) -> None:
    rewritten(values, "dtls.private_key", pem(ec.generate_private_key(ec.SECP256R1())))


def key_on_a_curve_that_we_do_not_sign_with(values: Values) -> None:
    made = make("gateway", key=ec.generate_private_key(ec.SECP521R1()))
    rewritten(values, "dtls.certificate", made.certificate.public_bytes(Encoding.PEM))
    assert isinstance(made.key, ec.EllipticCurvePrivateKey)
    rewritten(values, "dtls.private_key", pem(made.key))


def no_such_handler(values: Values) -> None:
    values["handlers.enabled"] = ["telemetri"]


def no_such_application(values: Values) -> None:
    values["handlers.app"] = "no.such.module:app"


def unknown_handler_option(values: Values) -> None:
    values["handlers.enabled"] = ["telemetry"]
    values["handlers.options"] = {"telemetry": {"paht": "x"}}


def telemetry_that_cannot_be_written(values: Values) -> None:
    values["handlers.enabled"] = ["telemetry"]
    values["handlers.options"] = {"telemetry": {"path": "/dev/null/telemetry.jsonl"}}


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (no_such_registry, "registry.url"),
        (registry_is_no_registry, "registry.url"),
        (registry_open_to_all, "registry.url"),
        (registry_is_damaged, "registry.url"),
        (certificate_is_no_certificate, "dtls.certificate"),
        (key_is_no_key, "dtls.certificate"),
        (key_of_another_certificate, "dtls.certificate"),
        (key_on_a_curve_that_we_do_not_sign_with, "dtls."),
        (no_such_handler, "handlers"),
        (no_such_application, "handlers"),
        (unknown_handler_option, "handlers"),
        (telemetry_that_cannot_be_written, "handlers"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_wrong_settings_are_one_line_before_any_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Values], None], names: str
) -> None:
    values = prepare(tmp_path)
    spoil(values)
    before = open_files()

    def no_socket(*arguments: object, **options: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    app = None if spoil.__name__.endswith(("handler", "application", "option", "written")) else echo_app()
    with pytest.raises(ConfigError) as caught:
        async with Worker(load_settings(None, values, environ={}), app=app):
            pass
    line = str(caught.value)
    assert line.startswith(names)
    assert "\n" not in line
    assert len(line) > len(names) + 10
    monkeypatch.undo()
    assert open_files() == before


def open_files() -> set[str]:
    """What this process's descriptors point at."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the folder itself
            continue
    return found


@pytest.mark.asyncio
async def test_a_udp_port_in_use(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
        values = prepare(tmp_path) | {"server.bind": f"{host}:{port}"}
        before = open_files()
        with pytest.raises(BindError) as caught:
            async with Worker(load_settings(None, values, environ={}), app=echo_app()):
                pass
        assert str(caught.value).startswith(f"server.bind {host}:{port}: ")
        assert "another port" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert open_files() == before


@pytest.mark.asyncio
async def test_an_admin_port_in_use(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        host, port = taken.getsockname()
        values = prepare(tmp_path) | {"admin.bind": f"{host}:{port}"}
        before = open_files()
        with pytest.raises(BindError) as caught:
            async with Worker(load_settings(None, values, environ={}), app=echo_app()):
                pass
        assert f"{host}:{port}" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert open_files() == before


@pytest.mark.asyncio
@pytest.mark.parametrize("bind", ["192.0.2.1:0", "no-such-host.invalid:5684"])
async def test_an_address_that_is_not_ours(tmp_path: Path, bind: str) -> None:
    values = prepare(tmp_path) | {"server.bind": bind}
    before = open_files()
    with pytest.raises(BindError, match=r"^server\.bind .*address"):
        async with Worker(load_settings(None, values, environ={}), app=echo_app()):
            pass
    assert open_files() == before


@pytest.mark.asyncio
async def test_a_hook_that_fails_stops_the_start_and_the_other_hooks_still_clean_up(tmp_path: Path) -> None:
    app, calls = App(), list[str]()

    @app.on_startup
    def up() -> None:
        raise ZeroDivisionError("hook")

    @app.on_shutdown
    def down() -> None:
        calls.append("down")

    before = open_files()
    with pytest.raises(ConfigError, match=rf"start-up hook \S+\.up \({__name__}\) failed: ZeroDivisionError: hook"):
        async with Worker(load_settings(None, prepare(tmp_path), environ={}), app=app):
            pass
    assert calls == ["down"]
    assert open_files() == before


@pytest.mark.asyncio
async def test_what_the_start_line_says(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        [line] = gateway.events("server.started")
        assert line["udp"] == f"127.0.0.1:{gateway.port}"
        assert (line["devices"], line["trust_anchors"], line["certificate"], line["routes"]) == (1, 1, True, 2)


@pytest.mark.parametrize("spoil", [key_on_a_curve_that_we_do_not_sign_with, registry_is_damaged])
def test_what_serve_check_can_find(tmp_path: Path, spoil: Callable[[Values], None]) -> None:
    # `gateway serve --check` makes a worker and does not start it.
    values = prepare(tmp_path)
    spoil(values)
    before = open_files()
    with pytest.raises(ConfigError):
        Worker(load_settings(None, values, environ={}), app=echo_app())
    assert open_files() == before


@pytest.mark.asyncio
async def test_two_gateways_make_different_cookies(tmp_path: Path) -> None:
    """Each has a secret of its own: who has shown its address to one has shown the other nothing (RFC 6347 4.2.1)."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with running(tmp_path / "one") as one, running(tmp_path / "other") as other, AsyncExitStack() as stack:
        device = one.wire()
        stack.callback(device.udp.close)
        device.send(device.client.hello())
        await device.read()
        cookie = device.client.cookie
        assert cookie
        device.udp.connect(("127.0.0.1", other.port))  # from the same address
        device.send(device.client.hello())
        await device.read()
        assert device.client.cookie not in (b"", cookie)
        # Its own it takes: the answer is a ServerHello.
        device.send(device.client.hello())
        await device.read()
        assert device.client.messages[-1][0] != 3
