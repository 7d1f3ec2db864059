"""The kept corpus: programs for `endpoint.run`, one a file, named after what they are about."""

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def programs() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}
