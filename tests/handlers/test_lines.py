"""The line writer: order, bounds, failing and moving files."""

import errno
import os
import select
import sys
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.handlers import HandlerError
from gateway.handlers.lines import LineWriter, _Output


def counts(writer: LineWriter) -> dict[str, int]:
    return {name: getattr(writer, name) for name in ("delivered", "dropped", "failed", "queued")}


def test_lines_arrive_in_order_and_after_what_is_there(tmp_path: Path) -> None:
    target = tmp_path / "lines"
    target.write_text("before\n")
    writer = LineWriter(target, flush_interval_s=0)
    assert writer.write(b"early\n")
    writer.open()
    for number in range(1000):
        assert writer.write(b"%d\n" % number)
    writer.close()
    assert target.read_text().split() == ["before", "early", *map(str, range(1000))]
    assert counts(writer) == {"delivered": 1001, "dropped": 0, "failed": 0, "queued": 0}


def test_lines_are_written_without_waiting_for_the_close(tmp_path: Path) -> None:
    target = tmp_path / "fifo"
    os.mkfifo(target)
    reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    writer = LineWriter(target, flush_interval_s=0)
    writer.open()
    for line in (b"one\n", b"two\n"):
        writer.write(line)
        assert os.read(reader, 100) == line
    writer.close()
    os.close(reader)


def test_writer_opens_again_after_a_close(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "lines", flush_interval_s=0)
    for line in (b"one\n", b"two\n"):
        writer.open()
        writer.write(line)
        writer.close()
    writer.close()
    assert (tmp_path / "lines").read_text() == "one\ntwo\n"


def test_buffer_is_bounded_in_bytes(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "lines", capacity_bytes=10, flush_interval_s=0)
    assert writer.write(b"12345\n")
    assert not writer.write(b"12345\n")
    assert writer.write(b"789\n")
    assert not writer.write(b"\n")
    assert counts(writer) == {"delivered": 0, "dropped": 2, "failed": 0, "queued": 2}
    writer.open()
    writer.close()
    assert counts(writer) == {"delivered": 2, "dropped": 2, "failed": 0, "queued": 0}
    assert (tmp_path / "lines").read_text() == "12345\n789\n"
    assert writer.write(b"123456789\n")


def test_batch_being_written_still_counts(tmp_path: Path) -> None:
    """A pipe that nobody reads: what the thread holds is not free again, and closing does not wait for ever."""
    target = tmp_path / "fifo"
    os.mkfifo(target)
    reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
    line = b"x" * 99_999 + b"\n"  # more than a pipe holds
    writer = LineWriter(target, capacity_bytes=2 * len(line), flush_interval_s=0)
    writer.open()
    writer.write(line)
    os.set_blocking(reader, True)
    received = os.read(reader, 1)  # from here on the thread is writing
    assert writer.write(line)
    assert not writer.write(line)
    with capture_logs() as logs:
        writer.close(timeout_s=0)
    assert [(entry["event"], entry["events"]) for entry in logs] == [("sink.close_timed_out", 2)]
    while len(received) < 2 * len(line):
        received += os.read(reader, 65536)
    os.close(reader)
    assert received == line * 2
    for thread in threading.enumerate():
        if thread.name == "telemetry-writer":
            thread.join(10)


def test_renamed_or_removed_file_is_opened_anew(tmp_path: Path) -> None:
    target, rotated = tmp_path / "lines", tmp_path / "lines.1"
    output = _Output(target)
    assert output.write([b"one\n"]) == 1
    target.rename(rotated)
    assert output.write([b"two\n"]) == 1
    assert target.read_text() == "two\n"
    target.unlink()
    target.write_text("other\n")
    assert output.write([b"three\n"]) == 1
    output.close()
    assert rotated.read_text() == "one\n"
    assert target.read_text() == "other\nthree\n"


def test_file_that_cannot_be_opened_anew_loses_lines_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    output = _Output(folder / "lines")
    folder.rename(tmp_path / "moved")
    with capture_logs() as logs:
        assert output.write([b"one\n", b"two\n"]) == 0
        folder.mkdir()
        assert output.write([b"three\n"]) == 1
    output.close()
    assert (folder / "lines").read_text() == "three\n"
    assert [entry["event"] for entry in logs] == ["sink.write_failed", "sink.write_recovered"]


class Disk:
    """Stands before os.write: fails when told to, after so many bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.space: int | None = None
        self._write = os.write
        monkeypatch.setattr("gateway.handlers.lines.os.write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.space is None:
            return self._write(fd, data)
        if self.space == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self._write(fd, data[: self.space])
        self.space -= count
        return count


def test_failing_disk_loses_lines_that_are_counted_and_never_tears_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    target = tmp_path / "lines"
    writer = LineWriter(target, flush_interval_s=0)

    def batch(*lines: bytes) -> None:
        for line in lines:
            writer.write(line)
        writer.open()
        writer.close()

    with capture_logs() as logs:
        disk.space = 7
        batch(b"one\n", b"two\n", b"three\n")  # "one\n" and "two" fit
        assert counts(writer) == {"delivered": 1, "dropped": 0, "failed": 2, "queued": 0}
    assert [(entry["event"], entry["target"]) for entry in logs] == [("sink.write_failed", str(target))]
    assert "No space left" in logs[0]["error"]
    assert target.read_bytes() == b"one\ntwo"


def test_torn_line_is_ended_before_the_next_and_the_log_says_once_what_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    target = tmp_path / "lines"
    output = _Output(target)
    with capture_logs() as logs:
        disk.space = 7
        assert output.write([b"one\n", b"two\n"]) == 1
        assert output.write([b"three\n"]) == 0
        disk.space = 5
        assert output.write([b"four\n"]) == 0  # the newline that ends "two" takes the place of its own
        disk.space = 3
        assert output.write([b"five\n", b"six\n"]) == 0
        disk.space = None
        assert output.write([b"seven\n", b"eight\n"]) == 2
        assert output.write([b"nine\n"]) == 1
    output.close()
    assert target.read_bytes() == b"one\ntwo\nfour\nfi\nseven\neight\nnine\n"
    assert [entry["event"] for entry in logs] == ["sink.write_failed", "sink.write_recovered"]


def test_file_after_a_torn_line_begins_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    target = tmp_path / "lines"
    output = _Output(target)
    with capture_logs():
        disk.space = 2
        output.write([b"one\n"])
        disk.space = None
        target.rename(tmp_path / "lines.1")
        output.write([b"two\n"])
    output.close()
    assert target.read_bytes() == b"two\n"


def test_output_that_would_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = threading.Event()

    def poll() -> select.poll:
        blocked.set()
        return select_poll()

    select_poll = select.poll
    monkeypatch.setattr("gateway.handlers.lines.select.poll", poll)
    reader, fd = os.pipe()
    os.set_blocking(fd, False)
    line = b"x" * 199_999 + b"\n"
    writer = LineWriter(None, flush_interval_s=0)
    saved = sys.stdout
    try:
        with open(fd, "w") as stream:
            sys.stdout = stream
            writer.open()
        writer.write(line)
        assert blocked.wait(10)
        received = b""
        while len(received) < len(line):
            received += os.read(reader, 65536)
    finally:
        sys.stdout = saved
        writer.close()
        os.close(reader)
    assert received == line
    assert counts(writer) == {"delivered": 1, "dropped": 0, "failed": 0, "queued": 0}


def test_file_that_cannot_be_opened_says_which_and_why(tmp_path: Path) -> None:
    with pytest.raises(HandlerError, match=r"cannot write to .*/none/lines: No such file or directory"):
        LineWriter(tmp_path / "none" / "lines").open()
    with pytest.raises(HandlerError, match=r"Is a directory"):
        LineWriter(tmp_path).open()


def test_closed_standard_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(HandlerError, match="cannot write to standard output: it is closed"):
        LineWriter(None).open()
