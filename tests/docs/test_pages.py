"""What the documents say beside commands: links, code, names of settings and metrics, the tables of features."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from structlog.testing import capture_logs

import gateway
from gateway.config.schema import keys
from gateway.dtls.crypto import DEFAULT_SUITES, SUITES, KeyExchange
from gateway.dtls.errors import DropReason, FailureReason
from gateway.handlers import App, Code, TestClient
from tests.docs.pages import PAGES, ROOT, anchors, blocks, links, names, prose, spans, table
from tests.interop import matrix
from tests.repository.tree import pyproject, tracked

README = ROOT / "README.md"
DESIGN = ROOT / "docs/design.md"
DTLS = ROOT / "docs/dtls.md"
OPERATIONS = ROOT / "docs/operations.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if fragment:
            assert fragment in anchors(target), link


def test_the_readme_leads_to_every_page() -> None:
    led = {(README.parent / link.partition("#")[0]).resolve() for link in links(README)}
    assert {page for page in PAGES if page != README} <= led
    assert {ROOT / "SECURITY.md", ROOT / "LICENSE"} <= led


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tone(page: Path) -> None:
    """Plain text: no em-dash, no emoji, no exclamation mark outside code."""
    text = re.sub(r"`[^`]+`", "", prose(page))
    assert re.findall(r"[^\x00-\x7f]", text) == []
    assert re.findall(r"\w!", text) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    for section, key in re.findall(r"`\[(\w+)\] (\w+)`", text):
        assert key in keys(section), f"[{section}] {key}"
    for name in re.findall(r"\bGATEWAY_(\w+__\w+)", text):
        if name == "SECTION__KEY":
            continue
        section, _, key = name.lower().partition("__")
        assert key in keys(section), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    files = {str(file.relative_to(ROOT)) for file in tracked()}
    folders = {str(parent) for file in files for parent in Path(file).parents}
    for span in spans(prose(page)):
        if re.fullmatch(r"(gateway|tests|docs|config|certs)(/[\w.]+)+", span):
            assert span in files | folders, span


def test_metrics_that_are_named_exist() -> None:
    tables = (
        table(OPERATIONS, "Metrics"),
        table(OPERATIONS, "Workers", 1),
        table(OPERATIONS, "Devices and several workers", 1),
    )
    listed = {names(row[0])[0] for rows in tables for row in rows}
    for page in PAGES:
        for name in re.findall(r"`(gateway_[a-z_]+_(?:total|seconds|info|events|sessions))\b", page.read_text()):
            assert name in listed, f"{page.name}: {name}"
    events = {names(row[0])[0] for row in table(OPERATIONS, "Log events")}
    assert {names(row[0])[0] for row in table(README, "Metrics and logs", number=1)} <= events


def test_reasons_that_the_readme_names_exist() -> None:
    reasons = {*FailureReason, *DropReason}
    named = re.findall(r'reason="(\w+)"', README.read_text())
    assert named
    assert set(named) <= reasons


# --- README --------------------------------------------------------------------------------------------------------


def test_the_layout_lists_every_room() -> None:
    rooms = {name for row in table(README, "Layout") for name in names(row[0]) if name.startswith("gateway/")}
    package = Path(gateway.__file__).parent
    assert rooms == {f"gateway/{path.parent.name}" for path in package.glob("*/__init__.py")}


def test_the_layout_goes_from_low_to_high() -> None:
    """The order of the table is one that the import contracts allow."""
    contract = pyproject()["tool"]["importlinter"]["contracts"][0]
    levels = {
        room.strip(): level
        for level, layer in enumerate(reversed(contract["layers"]))
        for room in re.split(r"[:|]", layer)
    }
    folders = [name for row in table(README, "Layout") for name in names(row[0])]
    listed = [name.removeprefix("gateway/") for name in folders if name.startswith("gateway/")]
    order = [levels[room] for room in listed]
    assert len(order) == len(levels)
    assert order == sorted(order)


def test_the_handler_of_the_readme_works(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(README, "python")
    assert len([line for line in block.text.splitlines() if line]) <= 10
    defined: dict[str, object] = {"__name__": "thermostats"}
    exec(compile("\n" * (block.line - 1) + block.text, str(README), "exec"), defined)
    app = defined["app"]
    assert isinstance(app, App)
    client = TestClient(app, device="thermostat-7")
    assert client.post("/temperature/kitchen", {"celsius": 21.5}).code == Code.CHANGED
    assert capsys.readouterr().out == "thermostat-7 kitchen 21.5\n"
    # What a broken device sends is not the gateway's fault.
    with capture_logs() as logs:
        for broken in ({"kelvin": 294}, {"celsius": "warm"}, [21.5], b"{", b"\xff", b""):
            assert client.post("/temperature/kitchen", broken).code == Code.BAD_REQUEST
    assert logs == []


def test_the_configuration_of_the_readme_names_its_handler() -> None:
    (python,), (toml,) = blocks(README, "python"), blocks(README, "toml")
    module, _, name = tomllib.loads(toml.text)["handlers"]["app"].partition(":")
    assert python.text.startswith(f"# {module}.py\n")
    assert name in {
        target.id
        for node in ast.walk(ast.parse(python.text))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


# --- design and features -------------------------------------------------------------------------------------------


def test_each_dependency_has_a_reason() -> None:
    wanted = [Requirement(text).name for text in pyproject()["project"]["dependencies"]]
    rows = table(DESIGN, "Runtime dependencies")
    assert [names(row[0])[0] for row in rows] == sorted(wanted)
    assert all(all(row) for row in rows)


def test_the_rooms_of_the_design_are_those_of_the_import_contract() -> None:
    contract = pyproject()["tool"]["importlinter"]["contracts"][0]
    contracted = {room.strip() for layer in contract["layers"] for room in re.split(r"[:|]", layer)}
    assert {name for row in table(DESIGN, "Rooms") for name in names(row[1])} == contracted


def test_suites() -> None:
    kinds = {
        KeyExchange.ECDHE_PSK: "pre-shared key, forward secrecy",
        KeyExchange.PSK: "pre-shared key",
        KeyExchange.ECDHE_ECDSA: "certificate",
        KeyExchange.ECDHE_RSA: "certificate, RSA on the server",
    }
    expected = [
        [f"`{s.name}`", f"0x{s.id:04X}", kinds[s.key_exchange]] for s in map(SUITES.__getitem__, DEFAULT_SUITES)
    ]
    assert [row[:3] for row in table(DTLS, "Cipher suites")] == expected


def test_the_tables_of_clients_are_what_the_tests_do() -> None:
    text = DTLS.read_text()
    assert matrix.written(text) == text, "python -m tests.interop.matrix writes them"
