"""Which configuration a command goes by, and what is said about one that cannot be used."""

from pathlib import Path

import pytest

from tests.cli.support import execute, ok, run

REGISTRY_COMMANDS = [
    ["device", "add", "new"],
    ["device", "list"],
    ["device", "show", "dev1"],
    ["device", "disable", "dev1"],
    ["device", "enable", "dev1"],
    ["device", "delete", "dev1", "--yes"],
    ["ca", "trust", "{site}/certs/root.pem"],
    ["ca", "list"],
    ["serve", "--check"],
]
FOLDER_COMMANDS = [
    ["ca", "create", "--intermediate", "--out", "made"],
    ["cert", "issue", "--device", "dev2"],
    ["cert", "server", "--out", "made"],
]
ALL = [*REGISTRY_COMMANDS, ["ca", "untrust", "0"], *FOLDER_COMMANDS, ["simulate", "--ca", "{site}/certs/root.pem"]]

HERE_ONLY = {
    *("init", "serve", "demo", "simulate", "bench", "doctor", "token create", "db current", "db upgrade"),
    *("ca create", "cert issue", "cert server", "cert sign", "cert renew", "cert bulk", "cert inspect", "cert lint"),
    *("cert verify", "keys create", "keys rotate", "keys rewrap", "psk derive"),
}
"""Commands that are about this machine's files and processes."""


def named(words: list[str], site: Path) -> list[str]:
    return [word.format(site=site) for word in words]


@pytest.mark.parametrize("words", [*REGISTRY_COMMANDS, *FOLDER_COMMANDS], ids=" ".join)
@pytest.mark.parametrize("way", ["option", "variable", "here"])
def test_every_way_to_name_a_configuration_finds_the_same_site(
    site: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], way: str
) -> None:
    ok("device", "add", "dev1")
    elsewhere = site.parent / "elsewhere"
    elsewhere.mkdir()
    option: list[str] = []
    config = str(site / "gateway.toml")
    match way:
        case "option":
            monkeypatch.chdir(elsewhere)
            option = ["-c", "../site/gateway.toml"]
        case "variable":
            monkeypatch.chdir(elsewhere)
            monkeypatch.setenv("GATEWAY_CONFIG", config)
        case _:
            pass
    ok(*named(words, site), *option)
    # Nothing is looked for, or left, where the command was started.
    assert {path.name for path in elsewhere.iterdir()} <= {"made.pem", "made.key"}
    if words[:2] == ["cert", "issue"]:
        assert (site / "certs/devices/dev2.pem").is_file()


def test_the_option_wins_over_the_variable(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", "/nowhere.toml")
    ok("device", "list", "--config", "gateway.toml")
    assert "/nowhere.toml: no such file" in run("device", "list").refused(2)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_configuration_that_is_not_there_is_refused_by_every_command(
    site: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], way: str
) -> None:
    if way == "variable":
        monkeypatch.setenv("GATEWAY_CONFIG", "none.toml")
    option = ["--config", "none.toml"] if way == "option" else []
    assert run(*named(words, site), *option).refused(2).startswith("gateway: none.toml: no such file")


@pytest.mark.parametrize("words", [*REGISTRY_COMMANDS, ["ca", "untrust", "0"]], ids=" ".join)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[dtls]\nmut = 1280\n", "gateway.toml: [dtls] mut: unknown key (did you mean mtu?)"),
        ("[dtsl]\nmtu = 1280\n", "did you mean [dtls]?"),
        ("mtu = = 3\n", "gateway.toml: not valid TOML"),
    ],
)
def test_a_wrong_key_is_refused_by_every_command_that_reads_it(
    site: Path, words: list[str], content: str, why: str
) -> None:
    Path("gateway.toml").write_text(content)
    assert why in run(*named(words, site)).refused(2)


def test_a_wrong_variable_is_refused_and_not_repeated(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_DTSL__MTU", "s3cret")
    line = run("device", "list").refused(2)
    assert "did you mean GATEWAY_DTLS__MTU?" in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    "words",
    [["device", "list"], ["ca", "list"], ["db", "current"], ["db", "upgrade"], ["serve", "--check"]],
    ids=" ".join,
)
def test_in_a_folder_that_is_no_site(workdir: Path, words: list[str]) -> None:
    line = run(*words).refused(2)
    assert line.startswith(f"gateway: gateway.toml: there is none in {workdir}, and no registry.db (go to the site's")
    assert "--config FILE or GATEWAY_CONFIG" in line
    assert "`gateway init DIR`" in line
    assert list(workdir.iterdir()) == []


def test_the_doctor_in_a_folder_that_is_no_site(workdir: Path) -> None:
    [found] = [each for each in run("doctor", "-o", "json").json["checks"] if each["check"] == "configuration"]
    assert (found["status"], "name its file with --config FILE" in found["detail"]) == ("problem", True)


@pytest.mark.parametrize("words", [["device", "list"], ["ca", "list"]], ids=" ".join)
def test_without_a_registry(site: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    Path("registry.db").unlink()
    assert "create it with `gateway init`" in run(*words).refused(1)
    Path("gateway.toml").unlink()
    monkeypatch.setenv("GATEWAY_REGISTRY__URL", "sqlite:///other.db")
    assert "other.db does not exist; create it with `gateway init`" in run(*words).refused(1)


def test_a_registry_without_a_configuration(site: Path) -> None:
    """The defaults are one, where a registry is."""
    Path("gateway.toml").unlink()
    ok("device", "list")


def test_the_demo_takes_the_option_too() -> None:
    done = execute("demo", "--port", "0", "--metrics-port", "0", "--duration", "0", "--config", "mine.toml")
    assert done.status == 0, done
    assert done.stderr == "gateway: the demo has its own configuration; mine.toml is not read\n"


def test_every_command_has_the_option() -> None:
    """All there are, found by asking for help."""
    seen = []
    waiting: list[list[str]] = [[]]
    while waiting:
        words = waiting.pop()
        text = ok(*words, "--help").stdout
        _, _, listed = text.partition("\nCommands:\n")
        names = [line.split()[0] for line in listed.split("\n\n")[0].splitlines() if line[:3].strip()]
        waiting += [[*words, name] for name in names]
        if not names:
            seen.append(" ".join(words))
            assert "--config" in text or words in (["keys", "create"], ["bench"]), words
            assert ("--server URL" in text) == (" ".join(words) not in HERE_ONLY), words
    assert len(seen) == 68, seen
