"""Precedence, strictness, paths, and the one line that an operator gets."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import Address, ConfigError, Settings, load_settings
from gateway.config.settings import MAX_CERTIFICATES


def load(
    folder: Path,
    text: str = "",
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    check_files: bool = True,
) -> Settings:
    file = folder / "gateway.toml"
    file.write_text(text)
    return load_settings(file, overrides, environ=environ or {}, check_files=check_files)


def refusal(
    folder: Path,
    text: str = "",
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ, overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_defaults_are_those_of_the_schema(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.server.bind == Address("::", 5684)
    assert settings.server.workers == 0
    assert settings.dtls.mtu == 1280
    assert settings.dtls.certificate is None
    assert settings.admin.bind == Address("127.0.0.1", 9464)
    assert settings.registry.url == f"sqlite:///{tmp_path}/registry.db"


def test_command_line_wins_over_environment_wins_over_file_wins_over_default(tmp_path: Path) -> None:
    text = "[dtls]\nmtu = 1001\nidle_timeout = 101\nhandshake_timeout = 11\n"
    environ = {"GATEWAY_DTLS__MTU": "1002", "GATEWAY_DTLS__IDLE_TIMEOUT": "102s"}
    dtls = load(tmp_path, text, environ, {"dtls.mtu": 1003}).dtls
    assert (dtls.mtu, dtls.idle_timeout, dtls.handshake_timeout, dtls.retransmit_initial) == (1003, 102.0, 11.0, 2.0)


def test_an_override_of_none_counts_as_not_given(tmp_path: Path) -> None:
    assert load(tmp_path, "[dtls]\nmtu = 1001\n", overrides={"dtls.mtu": None}).dtls.mtu == 1001


def test_an_override_that_is_no_setting_is_a_bug_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"dtls\.mtuu"):
        load(tmp_path, overrides={"dtls.mtuu": 1})


def test_without_a_file_paths_start_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ={}).registry.url == f"sqlite:///{tmp_path}/registry.db"


def test_the_process_environment_is_read_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_COAP__MAX_PAYLOAD", "512")
    assert load_settings().coap.max_payload == 512


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "a.pem").write_text("certificate")
    (tmp_path / "a.key").write_text("key")
    text = """
    [dtls]
    certificate = "a.pem"
    private_key = "a.key"
    [registry]
    url = "sqlite:///data/r.db"
    [handlers.telemetry]
    path = "out/t.jsonl"
    error_file = "errors"
    name = "relative/but/no/path"
    """
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    monkeypatch.chdir(elsewhere)
    settings = load_settings(Path("../gateway.toml"), environ={})
    assert settings.dtls.certificate is not None
    assert settings.dtls.certificate.samefile(tmp_path / "a.pem")
    assert settings.dtls.certificate.is_absolute()
    assert settings.registry.url.startswith("sqlite:////")
    assert Path(settings.registry.url.removeprefix("sqlite:///")).resolve() == tmp_path / "data/r.db"
    options = settings.handlers.options["telemetry"]
    assert Path(options["path"]).resolve() == tmp_path / "out/t.jsonl"
    assert Path(options["error_file"]).resolve() == tmp_path / "errors"
    assert options["name"] == "relative/but/no/path"


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("sqlite:////var/r.db", "sqlite:////var/r.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://gw@db/reg", "postgresql://gw@db/reg"),
        ("postgres:///reg", "postgres:///reg"),
    ],
)
def test_absolute_memory_and_server_urls_stay(tmp_path: Path, url: str, resolved: str) -> None:
    assert load(tmp_path, f'[registry]\nurl = "{url}"\n').registry.url == resolved


@pytest.mark.parametrize("path", ["-", ""])
def test_a_dash_is_standard_output_and_no_file(tmp_path: Path, path: str) -> None:
    settings = load(tmp_path, f'[handlers.telemetry]\npath = "{path}"\n')
    assert settings.handlers.options == {"telemetry": {"path": path}}


def test_handler_options_keep_their_types(tmp_path: Path) -> None:
    text = "[handlers]\nenabled = ['a', 'b']\n[handlers.a]\ncount = 3\ndeep = {x = [1]}\n[handlers.b]\n"
    environ = {
        "GATEWAY_HANDLERS__A__COUNT": "4",
        "GATEWAY_HANDLERS__A__TEXT": "hello world",
        "GATEWAY_HANDLERS__A__LINES": "1\n2",
        "GATEWAY_HANDLERS__B__FLAG": "true",
    }
    assert load(tmp_path, text, environ).handlers.options == {
        "a": {"count": 4, "deep": {"x": [1]}, "text": "hello world", "lines": "1\n2"},
        "b": {"flag": True},
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [("time,echo", ("time", "echo")), (" time , ", ("time",)), ('["echo"]', ("echo",)), ("", ())],
)
def test_a_list_in_the_environment(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    assert load(tmp_path, environ={"GATEWAY_HANDLERS__ENABLED": text}).handlers.enabled == names


def test_foreign_variables_are_left_alone(tmp_path: Path) -> None:
    # Kubernetes sets the second group when a Service is called "gateway" (docs: "Discovering services").
    environ = {
        "GATEWAY_CONFIG": "gateway.toml",
        "PATH": "/bin",
        "gateway_dtls__mtu": "1",
        "GATEWAY_SERVICE_HOST": "10.0.0.11",
        "GATEWAY_SERVICE_PORT": "5684",
        "GATEWAY_SERVICE_PORT_COAPS": "5684",
        "GATEWAY_PORT": "udp://10.0.0.11:5684",
        "GATEWAY_PORT_5684_UDP": "udp://10.0.0.11:5684",
        "GATEWAY_PORT_5684_UDP_PROTO": "udp",
        "GATEWAY_PORT_5684_UDP_PORT": "5684",
        "GATEWAY_PORT_5684_UDP_ADDR": "10.0.0.11",
    }
    assert load(tmp_path, environ=environ) == load(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[dtls]\nmtuu = 1300", "[dtls] mtuu: unknown key (did you mean mtu?)"),
        ("[serevr]\nbind = ''", "serevr: unknown section (did you mean [server]?)"),
        ("[zzz]", "zzz: unknown section (known: [server], [dtls], [registry]"),
        ("mtu = 1300", "mtu: unknown key (mtu belongs into [dtls])"),
        ("[server]\nmtu = 1300", "[server] mtu: unknown key (did you mean mtu in [dtls]?)"),
        ("[server]\nmax_paylod = 1", "[server] max_paylod: unknown key (did you mean max_payload in [coap]?)"),
        (
            "[admin]\nqqqq = 1",
            "[admin] qqqq: unknown key (known in [admin]: bind, hosts, device_requests, token_file)",
        ),
        ("[admin]\nhosts = 'gateway'", "[admin] hosts: must be a list (for example hosts = "),
        ("[admin]\nhosts = ['https://gateway']", "[admin] hosts: must hold names as URLs have them, such as"),
        ("[admin]\nhosts = ['*.example.com']", "[admin] hosts: must hold names as URLs have them, such as"),
        ("[admin]\nhosts = ['']", "[admin] hosts: must hold names as URLs have them, such as"),
        ("[Server]\nbind = '[::]:1'", "Server: unknown section (did you mean [server]?)"),
        ("[dtls]\nmtu = '1300'", "[dtls] mtu: must be a whole number without quotes (for example mtu = 1280)"),
        ("[dtls]\nmtu = 255", "[dtls] mtu: must be at least 256 (for example mtu = 1280)"),
        ("[dtls]\nmtu = 65536", "[dtls] mtu: must be at most 65535 ("),
        ("[dtls]\nmtu = true", "[dtls] mtu: must be a whole number"),
        ("[dtls]\nmtu = 1e3", "[dtls] mtu: must be a whole number"),
        ("[dtls]\nmtu = 1\nidle_timeout = 0", "[dtls] mtu: must be at least 256 (for example mtu = 1280; 1 more"),
        ("[dtls]\nidle_timeout = nan", "[dtls] idle_timeout: must be at most 30d"),
        ("[dtls]\nidle_timeout = inf", "[dtls] idle_timeout: must be at most 30d"),
        ("[dtls]\nidle_timeout = 0.5", "[dtls] idle_timeout: must be at least 1s"),
        ("[dtls]\nidle_timeout = true", "[dtls] idle_timeout: must be a number of seconds or a text"),
        ("[dtls]\nidle_timeout = '5 minutes'", "[dtls] idle_timeout: must be a duration, such as"),
        ("[dtls]\nidle_timeout = []", "[dtls] idle_timeout: must be a number of seconds or a text"),
        ("[dtls]\ncertificate = ''", "[dtls] certificate: must be the path of a file"),
        ("[dtls]\ncertificate = 'a'", "[dtls]: certificate and private_key belong together: private_key is missing"),
        ("[dtls]\nprivate_key = 'a'", "[dtls]: certificate and private_key belong together: certificate is missing"),
        ("[dtls]\ncertificate = 'a'\nprivate_key = 'a'", "/a (gateway cert server writes certificate and key)"),
        ("[dtls]\ncertificate = '.'\nprivate_key = '.'", "[dtls] certificate: cannot be read: "),
        ("[dtls]\npsk_hint = 3", "[dtls] psk_hint: must be a text in quotes"),
        (f"[dtls]\npsk_hint = '{'x' * 129}'", "[dtls] psk_hint: must not be longer than 128 characters"),
        ("[server]\nbind = 5684", "[server] bind: must be a text in quotes (for example bind = "),
        ("[server]\nbind = 'localhost'", "[server] bind: must be an address and a port, such as"),
        ("[server]\nbind = '::1:5684'", "[server] bind: must be an address and a port, such as"),
        ("[server]\nbind = '0.0.0.0:65536'", "[server] bind: has a port above 65535"),
        ("[server]\nworkers = 257", "[server] workers: must be at most 256"),
        ("[server]\nworkers = -1", "[server] workers: must be at least 0"),
        ("[handlers]\nenabled = 'time'", '[handlers] enabled: must be a list (for example enabled = ["time", '),
        ("[handlers]\nenabled = [1]", "[handlers] enabled: must be a text in quotes"),
        ("[handlers]\nenabld = ['time']", "[handlers] enabld: unknown key (did you mean enabled?)"),
        (
            "[handlers]\napp = 'module'",
            "[handlers] app: must end in the name of the App, behind a colon (for example app",
        ),
        ("[handlers]\napp = 'my.module:'", "[handlers] app: must end in the name of the App, behind a colon"),
        ("[handlers]\napp = 'my-module.py:app'", "[handlers] app: must be a module as Python imports it, a colon and"),
        ("[handlers]\napp = './module'", "[handlers] app: must be a module as Python imports it"),
        ("[handlers]\napp = 3", "[handlers] app: must be a text in quotes"),
        ("[coap]\nack_random_factor = '1s'", "[coap] ack_random_factor: must be a number without quotes (for example"),
        ("[coap]\nack_random_factor = 0.5", "[coap] ack_random_factor: must be at least 1.0 (for example"),
        ("[coap]\nack_timeout = 1\nprocessing_delay = 2", "[coap]: processing_delay must not be above ack_timeout"),
        ("[handlers.telemtry]\npath = 'x'", "[handlers.telemtry]: options of a handler that is not enabled (did you"),
        ("[handlers.mine]\nx = 1", "[handlers.mine]: options of a handler that is not enabled (add "),
        ("[handlers]\noptions = 3", "[handlers]: must be a table"),
        ("[handlers.options]\nx = 3", "[handlers.x]: must be a table"),
        ("handlers = 3", "[handlers]: must be a table"),
        ("[log]\nlevel = 'loud'", "[log] level: must be one of 'debug', 'info', 'warning' or 'error'"),
        ("server = 3", "[server]: must be a table"),
        ("[log\n", "gateway.toml: not valid TOML: "),
        ("[log]\nlevel = info\n", "(texts need quotes)"),
        (
            "[handlers]\n[log]\n[handlers]\napp = 'a:b'\n",
            "gateway.toml: the table [handlers] stands there twice, the second time at line 3 (put the keys into the "
            "first one)",
        ),
        ("[handlers.telemetry]\n[handlers.telemetry]\n", "the table [handlers.telemetry] stands there twice"),
        (
            "[log]\nlevel = 'info'\nlevel = 'debug'\n",
            "gateway.toml: a key stands there twice, the second time at line 3",
        ),
    ],
)
def test_a_wrong_file_gets_one_line_with_file_key_problem_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    line = refusal(tmp_path, text)
    assert line.startswith(str(tmp_path / "gateway.toml"))
    assert expected in line


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GATEWAY_DTSL__MTU", "1300", "GATEWAY_DTSL__MTU: no such setting (did you mean GATEWAY_DTLS__MTU?)"),
        ("GATEWAY_DTLS__MTUU", "1300", "GATEWAY_DTLS__MTUU: no such setting (did you mean GATEWAY_DTLS__MTU?)"),
        ("GATEWAY_DTLS_MTU", "1300", "GATEWAY_DTLS_MTU: no such setting (did you mean GATEWAY_DTLS__MTU?)"),
        ("GATEWAY_SERVER__MTU", "1300", "GATEWAY_SERVER__MTU: no such setting (did you mean GATEWAY_DTLS__MTU?)"),
        ("GATEWAY_DTLS", "1300", "GATEWAY_DTLS: no such setting (variables are named GATEWAY_SECTION__KEY, "),
        ("GATEWAY_", "1300", "GATEWAY_: no such setting"),
        ("GATEWAY_QQ__QQ__QQ__QQ", "1", "GATEWAY_QQ__QQ__QQ__QQ: no such setting"),
        ("GATEWAY_DTLS__MTU__X", "1", "GATEWAY_DTLS__MTU__X: no such setting"),
        ("GATEWAY_HANDLERS____X", "1", "GATEWAY_HANDLERS____X: no such setting"),
        ("GATEWAY_HANDLERS__OPTIONS", "{}", "GATEWAY_HANDLERS__OPTIONS: "),
        ("GATEWAY_HANDLERS__ENABLED", "[x", "GATEWAY_HANDLERS__ENABLED: is not a JSON list (for example "),
        ("GATEWAY_DTLS__MTU", "big", "GATEWAY_DTLS__MTU: must be a whole number (for example GATEWAY_DTLS__MTU=1280)"),
        ("GATEWAY_DTLS__MTU", "12", "environment, GATEWAY_DTLS__MTU: must be at least 256"),
        ("GATEWAY_LOG__LEVEL", "loud", "environment, GATEWAY_LOG__LEVEL: must be one of"),
        ("GATEWAY_DTLS__RESUMPTION", "no", "GATEWAY_DTLS__RESUMPTION: must be true or false (for example "),
        ("GATEWAY_DTLS__KEY_LOG", "keys.log", "GATEWAY_DTLS__KEY_LOG: cannot be set by a variable (it gives every "),
        ("GATEWAY_DTLS__TICKET_LIFETIME", "8d", "environment, GATEWAY_DTLS__TICKET_LIFETIME: must be at most "),
        ("GATEWAY_HANDLERS__NOPE__X", "1", "options of a handler that is not enabled"),
    ],
)
def test_a_wrong_variable_gets_one_line(tmp_path: Path, name: str, value: str, expected: str) -> None:
    assert expected in refusal(tmp_path, environ={name: value})


def test_a_factor_in_a_variable(tmp_path: Path) -> None:
    assert load(tmp_path, environ={"GATEWAY_COAP__ACK_RANDOM_FACTOR": "1.25"}).coap.ack_random_factor == 1.25
    line = refusal(tmp_path, environ={"GATEWAY_COAP__ACK_RANDOM_FACTOR": "much"})
    assert "GATEWAY_COAP__ACK_RANDOM_FACTOR: must be a number (for example" in line


@pytest.mark.parametrize("text", ["true", "false"])
def test_a_switch_in_a_variable(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, environ={"GATEWAY_DTLS__RESUMPTION": text}).dtls.resumption is (text == "true")


def test_a_wrong_flag_names_the_command_line_though_the_file_has_the_key_too(tmp_path: Path) -> None:
    line = refusal(tmp_path, "[dtls]\nmtu = 1300\n", {"GATEWAY_DTLS__MTU": "1300"}, {"dtls.mtu": 1})
    assert line.startswith("command line, dtls.mtu: must be at least 256")


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "absent.toml", environ={})
    assert str(caught.value) == f"{tmp_path}/absent.toml: no such file (write one with: gateway init DIR)"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path, environ={})


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_settings(tmp_path / "gateway.toml", environ={})


def test_commands_that_create_the_certificate_do_not_need_it(tmp_path: Path) -> None:
    settings = load(tmp_path, "[dtls]\ncertificate = 'a'\nprivate_key = 'b'\n", check_files=False)
    assert settings.dtls.private_key == tmp_path / "b"


def test_a_password_in_the_registry_url_is_in_no_error_and_no_repr(tmp_path: Path) -> None:
    for scheme in ("mysql", "postgresqlx", "x postgresql"):
        assert "hunter2" not in refusal(tmp_path, f"[registry]\nurl = '{scheme}://gateway:hunter2@db/x'\n")
    settings = load(tmp_path, "[registry]\nurl = 'postgresql://gateway:hunter2@db/x'\n")
    assert settings.registry.url == "postgresql://gateway:hunter2@db/x"
    assert "hunter2" not in repr(settings) + str(settings)
    assert "registry.db" not in repr(load(tmp_path))


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        settings.dtls.mtu = 5


def test_more_certificates_are_tables_with_paths_from_the_folder_of_the_file(tmp_path: Path) -> None:
    text = """
[[dtls.certificates]]
certificate = "rsa.pem"
private_key = "rsa.key"

[[dtls.certificates]]
certificate = "/etc/other.pem"
private_key = "keys/other.key"
"""
    first, second = load(tmp_path, text, check_files=False).dtls.certificates
    assert (first.certificate, first.private_key) == (tmp_path / "rsa.pem", tmp_path / "rsa.key")
    assert (second.certificate, second.private_key) == (Path("/etc/other.pem"), tmp_path / "keys/other.key")


@pytest.mark.parametrize("count", [16, 17])
def test_more_certificates_are_bounded(tmp_path: Path, count: int) -> None:
    text = "[[dtls.certificates]]\ncertificate = 'a'\nprivate_key = 'b'\n" * count
    if count <= MAX_CERTIFICATES:
        assert len(load(tmp_path, text, check_files=False).dtls.certificates) == count
    else:
        with pytest.raises(ConfigError, match="must not have more than 16 entries"):
            load(tmp_path, text, check_files=False)


def test_certificates_are_not_set_by_a_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write tables \[\[dtls.certificates\]\] into the configuration file"):
        load_settings(None, environ={"GATEWAY_DTLS__CERTIFICATES": "[]"})


def test_cipher_suites_from_the_environment() -> None:
    environ = {"GATEWAY_DTLS__CIPHER_SUITES": "TLS_PSK_WITH_AES_128_CCM,TLS_PSK_WITH_AES_128_CCM_8"}
    suites = load_settings(None, environ=environ).dtls.cipher_suites
    assert suites == ("TLS_PSK_WITH_AES_128_CCM", "TLS_PSK_WITH_AES_128_CCM_8")
