"""The clock, the buffers and the limits of a process."""

import ctypes
import os
import resource
import socket
import time
from pathlib import Path

import pytest

from gateway.doctor import Status, machine
from gateway.doctor.machine import clock, clock_is_synchronised, process_limits, receive_buffer

HOUR = 3600.0


@pytest.mark.parametrize(
    ("synchronised", "status"), [(True, Status.OK), (False, Status.WARNING), (None, Status.WARNING)]
)
def test_the_clock_is_as_good_as_what_keeps_it(synchronised: bool | None, status: Status) -> None:
    found = clock(time.time(), synchronised=synchronised)
    assert found.status is status
    assert (found.remedy is None) is (status is Status.OK)


def test_a_clock_that_is_behind_a_file_is_wrong(tmp_path: Path) -> None:
    written = tmp_path / "server.pem"
    written.touch()
    now = time.time()
    os.utime(written, (now + HOUR, now + HOUR))
    found = clock(now, [tmp_path / "not there", written], synchronised=True)
    assert found.status is Status.PROBLEM
    assert str(written) in found.detail
    # A file server's clock may be a little ahead.
    os.utime(written, (now + 60, now + 60))
    assert clock(now, [written], synchronised=True).status is Status.OK


def test_a_clock_from_before_the_gateway_was_installed_is_wrong() -> None:
    found = clock(0.0, synchronised=None)
    assert found.status is Status.PROBLEM
    assert found.detail.startswith("it is 1970-01-01 00:00:00Z")


@pytest.mark.parametrize(("state", "expected"), [(0, True), (1, True), (5, False), (-1, None)])
def test_what_the_kernel_says_of_the_clock(monkeypatch: pytest.MonkeyPatch, state: int, expected: bool | None) -> None:
    """adjtimex(2): TIME_OK 0, a leap second 1 to 4, TIME_ERROR 5; -1 where it is forbidden."""

    class Library:
        def adjtimex(self, _: object) -> int:
            return state

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    assert clock_is_synchronised() is expected


def test_a_c_library_without_adjtimex_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert clock_is_synchronised() is None


def test_asking_the_kernel_changes_nothing_and_does_not_raise() -> None:
    before = time.time()
    clock_is_synchronised()
    assert 0 <= time.time() - before < HOUR
    assert ctypes.sizeof(ctypes.c_long) * 26 <= machine._TIMEX_BYTES  # struct timex


def test_the_receive_buffer_is_what_the_kernel_grants() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)
        most = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    assert receive_buffer(most).status is Status.OK
    if most < 1 << 30:
        found = receive_buffer(1 << 30)
        assert found.status is Status.WARNING
        assert f"grants {most} of {1 << 30} bytes" in found.detail
        assert found.remedy is not None
        assert f"net.core.rmem_max={1 << 30}" in found.remedy


def test_limits_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_NOFILE: (64, 64), resource.RLIMIT_AS: (1 << 40, 1 << 40)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    files, memory = process_limits()
    assert (files.status, memory.status) == (Status.WARNING, Status.OK)
    assert files.remedy is not None
    assert "ulimit -n" in files.remedy
    limits[resource.RLIMIT_NOFILE] = (resource.RLIM_INFINITY,) * 2
    assert process_limits()[0].status is Status.OK
