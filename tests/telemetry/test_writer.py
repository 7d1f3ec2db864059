"""Lines that go out one by one, and those that are kept together."""

import errno
import io
import threading
from pathlib import Path

import pytest

from gateway.telemetry import configure_logging, get_logger, together
from gateway.telemetry.writer import Lines

pytestmark = pytest.mark.usefixtures("logging_restored")


class Watched(io.StringIO):
    """Attributes:
    flushed: What was there at each flush.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue())


class Full(io.StringIO):
    """Attributes:
    tried: Lines of each attempt to write.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[int] = []

    def write(self, text: str) -> int:
        self.tried.append(text.count("\n"))
        raise OSError(errno.ENOSPC, "No space left on device")


def test_each_line_goes_out_at_once() -> None:
    stream, lines = Watched(), Lines()
    lines.write(stream, "one")
    lines.write(stream, "two")
    assert stream.flushed == ["one\n", "one\ntwo\n"]


def test_lines_are_kept_together_and_go_out_once() -> None:
    stream, lines = Watched(), Lines()
    with lines:
        lines.write(stream, "one")
        lines.write(stream, "two")
        assert stream.flushed == []
    assert stream.flushed == ["one\ntwo\n"]
    with lines:
        pass
    lines.write(stream, "three")
    assert stream.flushed == ["one\ntwo\n", "one\ntwo\nthree\n"]


def test_they_go_out_after_an_error_too() -> None:
    stream, lines = Watched(), Lines()

    def fail() -> None:
        with lines:
            lines.write(stream, "one")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert stream.flushed == ["one\n"]


def test_each_stream_gets_its_own() -> None:
    first, second, lines = Watched(), Watched(), Lines()
    with lines:
        lines.write(first, "one")
        lines.write(second, "two")
    assert (first.flushed, second.flushed) == (["one\n"], ["two\n"])


def test_no_thread_loses_a_line(tmp_path: Path) -> None:
    lines, each, path = Lines(), 2000, tmp_path / "log"
    with path.open("w") as stream:

        def write(letter: str) -> None:
            for _ in range(each):
                lines.write(stream, letter * 99)

        threads = [threading.Thread(target=write, args=(letter,)) for letter in "xy"]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            with lines:
                lines.write(stream, "z" * 99)
        # Not closed yet: whatever was written has been flushed.
        written = path.read_text().splitlines()
    assert (written.count("x" * 99), written.count("y" * 99)) == (each, each)
    assert set(written) == {"x" * 99, "y" * 99, "z" * 99}


def test_the_lines_of_the_log_are_kept_together() -> None:
    stream = Watched()
    configure_logging("info", "json", stream=stream)
    with together:
        get_logger("gateway.test").info("one")
        get_logger("gateway.test").info("two")
        assert stream.flushed == []
    [all_at_once] = stream.flushed
    assert len(all_at_once.splitlines()) == 2


def test_a_full_disk_ends_nothing() -> None:
    stream = Full()
    configure_logging("info", "json", stream=stream)
    log = get_logger("gateway.test")
    log.info("one")
    with together:
        log.info("two")
        log.info("three")
    assert stream.tried == [1, 2]
