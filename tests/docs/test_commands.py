"""Every command line of the documents works, in the order in which it is read."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import typer.main
from typer import Context
from typer.core import TyperGroup

from gateway.cli import app
from tests.docs.pages import LANGUAGES, PAGES, ROOT, blocks, prose, spans
from tests.docs.terminal import Command, Terminal, commands

COMMANDS = [command for page in PAGES for command in commands(page)]
README = ROOT / "README.md"


@pytest.fixture(scope="module")
def terminals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Terminal]]:
    """One for each page. The README starts from nothing; the other pages go on from what it made."""
    made: dict[Path, Terminal] = {}
    try:
        for page in {command.page for command in COMMANDS}:
            made[page] = Terminal(tmp_path_factory.mktemp(page.stem), site=page != README)
        yield made
    finally:
        for terminal in made.values():
            terminal.close()


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command(command: Command, terminals: dict[Path, Terminal]) -> None:
    terminals[command.page].result(command)


def test_what_the_readme_promises(terminals: dict[Path, Terminal]) -> None:
    """The gateway prints what both devices sent, and the registry has the one that nobody added."""
    terminal = terminals[README]
    for command in commands(README):
        terminal.result(command)  # skips where a peer is missing
    printed = terminal.stop()
    sent = {(line["device"], line["stream"]): line["payload"] for line in printed if "stream" in line}
    assert sent == {("dev1", "kitchen"): {"celsius": 21.5}, ("sensor-0001", "humidity"): "48.5"}
    created = [line["device"] for line in printed if line.get("event") == "registry.device_created"]
    assert created == ["sensor-0001"]


def test_the_refused_device_of_the_story_is_explained(terminals: dict[Path, Terminal]) -> None:
    page = ROOT / "docs/zero-touch.md"
    [asked] = [command for command in commands(page) if command.text.startswith("gateway explain")]
    terminals[page].result(asked)
    device = asked.text.split()[-1]
    assert f"\nidentity  {device}\n" in terminals[page].printed[asked]


def test_the_documents_show_both_kinds_of_device() -> None:
    asked = [command.text for command in COMMANDS if command.text.startswith("coap-client")]
    assert any(" -k " in text for text in asked)
    assert any(" -c " in text and " -C " in text for text in asked)
    assert any(" -m get " in text for text in asked)
    assert any(" -m post " in text for text in asked)


def test_the_readme_shows_the_two_commands() -> None:
    assert [command.text for command in COMMANDS if command.page == README][:2] == ["make demo", "make test"]


def test_the_demo_runs() -> None:
    """`make demo` as far as it is not the Makefile, whose part is tested in tests/repository."""
    program = "from gateway.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "demo", "--duration", "3", "--port", "0", "--metrics-port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = ("coap-client-openssl", "openssl s_client", "/metrics", "temperature = ", "humidity = ")
    for shown in expected:
        assert shown in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_say_their_language(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page.name}:{block.line}"
        assert not block.text.startswith("$ "), f"{page.name}:{block.line}: a prompt cannot be pasted"


def mentioned() -> list[tuple[str, str]]:
    """Commands of ours that are named in running text and tables, with their page."""
    return [(page.name, span) for page in PAGES for span in spans(prose(page)) if span.startswith("gateway ")]


@pytest.mark.parametrize(("page", "text"), mentioned())
def test_a_command_that_is_mentioned_exists(page: str, text: str) -> None:
    check_exists(text.split()[1:])


def check_exists(words: Sequence[str]) -> None:
    """That a command, its subcommand and its options are there; arguments may be anything."""
    command = typer.main.get_command(app)
    for word in words:
        if word.startswith("-"):
            options = {name for parameter in command.params for name in parameter.opts}
            assert word in options, f"{command.name} has no {word}"
        elif isinstance(command, TyperGroup):
            found = command.get_command(Context(command), word)
            assert found is not None, f"no command {word!r}"
            command = found


def test_targets_of_make_that_are_mentioned_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = [span for page in PAGES for span in spans(prose(page)) if span.startswith("make ")]
    assert len(named) >= 3
    for span in named:
        assert f"\n{span.split()[1]}:" in makefile, span
