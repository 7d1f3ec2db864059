"""What tests read of a process's log is what it has written by then."""

import os
import sys
from pathlib import Path

import pytest

from tests.process_log import Log, start_logged

ROUNDS = 200


def started(folder: Path, code: str) -> Log:
    process, log = start_logged((sys.executable, "-c", code), folder / "log")
    process.wait()
    return log


def test_a_line_is_there_when_the_answer_is(tmp_path: Path) -> None:
    asked, ask = os.pipe()
    answer, answered = os.pipe()
    code = (
        f"import os\nnumber = 0\nwhile os.read({asked}, 1):\n"
        '    print(\'{"event": "said", "number": %d}\' % number, flush=True)\n'
        f"    os.write({answered}, b'.')\n    number += 1\n"
    )
    process, log = start_logged((sys.executable, "-c", code), tmp_path / "log", pass_fds=(asked, answered))
    os.close(asked)
    os.close(answered)
    try:
        for number in range(ROUNDS):
            os.write(ask, b".")
            assert os.read(answer, 1) == b"."
            assert [line["number"] for line in log.lines("said")] == [*range(number + 1)]
    finally:
        os.close(ask)
        os.close(answer)
        process.wait()


def test_a_line_without_its_end_is_not_there_yet(tmp_path: Path) -> None:
    log = started(tmp_path, """print('{"event": "a"}\\n{"event"', end="")""")
    assert log.lines() == [{"event": "a"}]
    with log.path.open("a") as file:
        file.write(': "b"}\n')
    assert log.lines(after=1) == [{"event": "b"}]
    assert len(log) == 2


def test_what_is_no_json_is_kept_as_text(tmp_path: Path) -> None:
    assert started(tmp_path, "1 / 0").lines()[-1] == {"event": "", "text": "ZeroDivisionError: division by zero"}


def test_waiting_ends_with_the_process(tmp_path: Path) -> None:
    log = started(tmp_path, """print('{"event": "a", "x": 1}')""")
    assert log.wait("a", x=1) == {"event": "a", "x": 1}
    with pytest.raises(AssertionError, match=r'"event": "a"'):
        log.wait("a", x=2, within_s=600.0)


def test_what_was_there_before_is_gone(tmp_path: Path) -> None:
    started(tmp_path, "print('{}')")
    assert started(tmp_path, "print('{\"event\": 1}')").lines() == [{"event": 1}]
