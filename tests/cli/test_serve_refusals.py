"""What `gateway serve` cannot start with: one line on stderr, exit status 2, and no socket."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import render_template
from tests.cli.openssl import openssl
from tests.cli.support import execute, ok, run

CONFIG = Path("gateway.toml")


def edit(old: str, new: str) -> None:
    text = CONFIG.read_text()
    assert text.count(old) == 1, text
    CONFIG.write_text(text.replace(old, new))


def setting(name: str, value: object) -> None:
    own = {
        "dtls.certificate": "certs/server.pem",
        "dtls.private_key": "certs/server.key",
        "registry.url": "sqlite:///registry.db",
    }
    CONFIG.write_text(render_template({**own, name: value}))


def unreadable(path: str) -> None:
    """Not by its mode, which does not stop root."""
    Path(path).unlink()
    Path(path).mkdir()


def other_key() -> None:
    ok("cert", "server", "--out", "other")
    Path("other.key").rename("certs/server.key")


def rsa_key() -> None:
    Path("certs/server.key").write_text(openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))


def encrypted_key() -> None:
    encrypted = openssl("pkey", "-in", "certs/server.key", "-aes256", "-passout", "pass:hunter2")
    Path("certs/server.key").write_text(encrypted)


def p521() -> None:
    openssl(
        *["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-nodes", "-subj", "/CN=x"],
        *["-keyout", "certs/server.key", "-out", "certs/server.pem"],
    )


def own_app(text: str) -> Callable[[], None]:
    def write() -> None:
        Path("site_app_under_test.py").write_text(text)
        setting("handlers.app", "site_app_under_test:app")

    return write


CASES: dict[str, tuple[Callable[[], object], str]] = {
    "key": (lambda: edit("[dtls]\n", "[dtls]\nmut = 1400\n"), "gateway.toml: [dtls] mut: unknown key"),
    "section": (lambda: edit("[dtls]\n", "[dltls]\n"), "did you mean [dtls]?"),
    "value": (lambda: edit("[dtls]\n", "[dtls]\nmtu = 12\n"), "gateway.toml: [dtls] mtu: must be at least 256"),
    "quoted": (lambda: edit("[dtls]\n", '[dtls]\nmtu = "1280"\n'), "must be a whole number without quotes"),
    "toml": (lambda: CONFIG.write_text("[dtls"), "gateway.toml: not valid TOML"),
    "binary": (lambda: CONFIG.write_bytes(b"\xff\xfe"), "gateway.toml: not valid TOML: not UTF-8"),
    "folder": (lambda: unreadable("gateway.toml"), "gateway.toml: cannot be read"),
    "bind": (lambda: setting("server.bind", "5684"), 'such as "127.0.0.1:5684"'),
    "no certificate": (lambda: os.remove("certs/server.pem"), "no such file: "),
    "no key": (lambda: os.remove("certs/server.key"), "no such file: "),
    "unreadable certificate": (lambda: unreadable("certs/server.pem"), "[dtls] certificate: cannot be read: "),
    "unreadable key": (lambda: unreadable("certs/server.key"), "[dtls] private_key: cannot be read: "),
    "not a certificate": (lambda: Path("certs/server.pem").write_text("x"), "server.pem holds no certificate"),
    "not a key": (lambda: Path("certs/server.key").write_text("hunter2"), "server.key holds no private key"),
    "key for certificate": (lambda: setting("dtls.certificate", "certs/server.key"), "server.key holds no certificate"),
    "another's key": (other_key, "does not belong to the first certificate"),
    "RSA key": (rsa_key, "does not belong to the first certificate"),
    "encrypted key": (encrypted_key, "server.key is encrypted"),
    "P-521": (p521, "dtls.private_key: the private key must be an elliptic curve key on P-256 or P-384"),
    "suite that is none": (
        lambda: setting("dtls.cipher_suites", ["TLS_PSK_WITH_AES_128_CBC_SHA"]),
        "'TLS_PSK_WITH_AES_128_CBC_SHA' is not a cipher suite of this gateway (valid: TLS_ECDHE_PSK_WITH_AES_128_CCM_8",
    ),
    "suite twice": (lambda: setting("dtls.cipher_suites", ["TLS_PSK_WITH_AES_128_CCM"] * 2), "stands there twice"),
    "suites without their certificate": (
        lambda: setting("dtls.cipher_suites", ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
        "ECDHE_RSA suites need one with an RSA key",
    ),
    "more certificates, no file": (
        lambda: edit("[registry]", '[[dtls.certificates]]\ncertificate = "x"\nprivate_key = "y"\n[registry]'),
        "dtls.certificates: ",
    ),
    "more certificates, no key": (
        lambda: edit("[registry]", '[[dtls.certificates]]\ncertificate = "x"\n[registry]'),
        "[dtls] certificates: private_key is missing",
    ),
    "more certificates, typo": (
        lambda: edit(
            "[registry]", '[[dtls.certificates]]\ncertificate = "x"\nprivate_key = "y"\nkey = "z"\n[registry]'
        ),
        "unknown key key (known: certificate, private_key",
    ),
    "certificate alone": (lambda: edit('private_key = "certs/server.key"', ""), "private_key is missing"),
    "no registry": (lambda: os.remove("registry.db"), "registry.db does not exist; create it with `gateway init`"),
    "no registry folder": (lambda: setting("registry.url", "sqlite:///db/x.db"), "db of the registry"),
    "registry for all": (lambda: os.chmod("registry.db", 0o644), "run `chmod 600 "),
    "not a registry": (lambda: Path("registry.db").write_text("x" * 5000), "cannot be used as a registry"),
    "another store": (lambda: setting("registry.url", "redis://user:hunter2@host"), "[registry] url: is not of the"),
    "handler": (lambda: setting("handlers.enabled", ["time", "ehco"]), "there is no handler 'ehco'"),
    "options": (lambda: edit("[admin]", "[handlers.tme]\nx = 1\n[admin]"), "handler that is not enabled"),
    "unknown option": (lambda: edit("[admin]", "[handlers.telemetry]\npth = 'x'\n[admin]"), "unknown option 'pth'"),
    "telemetry file": (lambda: edit("[admin]", "[handlers.telemetry]\npath = '/proc/no/x'\n[admin]"), "/proc/no/x"),
    "no app": (lambda: setting("handlers.app", "site_app_that_is_not:app"), "there is no module"),
    "app without app": (own_app("application = 1\n"), "has no 'app'"),
    "app that fails": (own_app("import hashlib\n1 / 0\n"), "ZeroDivisionError"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_before_any_socket_opens(
    site: Path, no_sockets: list[object], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    # An app of one's own is looked for where the gateway starts.
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(__import__("sys").modules, "site_app_under_test", raising=False)
    spoil, why = CASES[case]
    spoil()
    done = run("serve")
    assert done.status == 2, done
    assert done.stderr.startswith("gateway: ")
    assert done.stderr.count("\n") == 1
    assert why in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    assert no_sockets == []


def test_a_check_makes_no_schema(site: Path) -> None:
    Path("registry.db").write_bytes(b"")
    line = run("serve", "--check").refused(2)
    assert "bring it up to date with `gateway db upgrade`" in line
    assert Path("registry.db").read_bytes() == b""


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("GATEWAY_DTSL__MTU", "1400", "GATEWAY_DTSL__MTU: no such setting (did you mean GATEWAY_DTLS__MTU?)"),
        ("GATEWAY_DTLS__MUT", "1400", "did you mean GATEWAY_DTLS__MTU?"),
        ("GATEWAY_DTLS__MTU", "big", "GATEWAY_DTLS__MTU: must be a whole number"),
        ("GATEWAY_SERVER__BIND", "nowhere", "environment, GATEWAY_SERVER__BIND: must be an address and a port"),
        ("GATEWAY_SERVER__WORKERS", "257", "environment, GATEWAY_SERVER__WORKERS: must be at most 256"),
        ("GATEWAY_MTU", "1400", "did you mean GATEWAY_DTLS__MTU?"),
        ("GATEWAY_CONFIG", "none.toml", "none.toml: no such file"),
    ],
)
def test_a_wrong_variable(
    site: Path, no_sockets: list[object], monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    assert why in run("serve").refused(2)
    assert no_sockets == []


def test_a_wrong_bind_on_the_command_line(site: Path, no_sockets: list[object]) -> None:
    assert "command line, server.bind: must be an address" in run("serve", "--bind", "localhost").refused(2)
    assert no_sockets == []


@pytest.mark.parametrize(
    ("section", "address"),
    [("server", "127.0.0.1:{udp}"), ("admin", "127.0.0.1:{tcp}"), ("server", "192.0.2.1:0"), ("admin", "192.0.2.1:0")],
    ids=["udp in use", "tcp in use", "udp not here", "tcp not here"],
)
def test_an_address_that_cannot_be_had(site: Path, section: str, address: str) -> None:
    environ = {"GATEWAY_SERVER__BIND": "127.0.0.1:0", "GATEWAY_ADMIN__BIND": "127.0.0.1:0"}
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server(("127.0.0.1", 0)) as tcp,
    ):
        udp.bind(("127.0.0.1", 0))
        wanted = address.format(udp=udp.getsockname()[1], tcp=tcp.getsockname()[1])
        environ[f"GATEWAY_{section.upper()}__BIND"] = wanted
        done = execute("serve", environ=environ)
    assert done.status == 2, done
    assert done.stderr.startswith("gateway: ")
    assert done.stderr.count("\n") == 1
    assert wanted in done.stderr
    assert "Traceback" not in done.stdout


def test_as_a_process(site: Path) -> None:
    os.chmod("registry.db", 0o644)
    done = execute("serve")
    assert (done.status, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert "run `chmod 600 " in done.stderr
