"""The atheris target for the whole server endpoint: `python -m tests.fuzz.fuzz_endpoint [libFuzzer options] [FOLDER]`.

`make fuzz` runs it. The kept corpus is read beside the folder that is given, and replayed by every test run.
"""

import sys

import atheris  # type: ignore[import-not-found,unused-ignore]

with atheris.instrument_imports(include=["gateway"]):
    from tests.fuzz.endpoint import run
    from tests.fuzz.kept import FOLDER


def test_one_input(data: bytes) -> None:
    run(data)


if __name__ == "__main__":
    atheris.Setup([*sys.argv, str(FOLDER)], test_one_input)
    atheris.Fuzz()
