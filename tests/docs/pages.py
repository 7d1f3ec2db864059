"""The documents of the repository, taken apart: fenced blocks, code spans, tables, links and headings."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"sh", "python", "toml", "json", "text"}
"""What a block may be. `sh` is run by the tests; `text` is output, or needs more than this repository."""

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        language: What stands behind the fence.
        text: What is in it.
        line: Number of its first line in the page.
    """

    language: str
    text: str
    line: int


def blocks(page: Path, language: str | None = None) -> list[Block]:
    text = page.read_text()
    found = [Block(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in _FENCE.finditer(text)]
    return [block for block in found if language in (None, block.language)]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def spans(text: str) -> list[str]:
    """What stands between backticks; a span may be broken across two lines."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of any level."""
    text = prose(page)
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"{page.name} has no heading {heading!r}"
    rest = text[start.end() :]
    following = _HEADING.search(rest)
    return rest[: following.start()] if following else rest


def table(page: Path, heading: str, number: int = 0) -> list[list[str]]:
    """The rows of a table under a heading, without its head."""
    tables = re.findall(r"(?:^\|.*\n)+", section(page, heading), re.MULTILINE)
    assert len(tables) > number, f"no table under {heading!r}"
    lines = tables[number].splitlines()
    assert set(lines[1]) <= set("|- ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == len(rows[0]) for row in rows), heading
    return rows[2:]


def names(cell: str) -> list[str]:
    """The code spans of a table's cell."""
    return _SPAN.findall(cell)


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The fragments that a page has: its headings as GitHub writes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}
