"""The heartbeat, and the kernel's own count of lost datagrams."""

import os
import socket
from pathlib import Path

import pytest

from gateway.telemetry import Heartbeat, udp_receive_drops

# Linux, net/ipv4/udp.c, udp4_seq_show.
HEADER = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when ... inode ref pointer drops\n"
ROW = (
    "  123: 0100007F:1634 00000000:0000 07 00000000:00000000 00:00000000 00000000"
    "     0        0 {} 2 0000000000000000 {}\n"
)


def test_a_heartbeat_ages() -> None:
    now = 5.0
    heartbeat = Heartbeat(lambda: now)
    now = 7.5
    assert heartbeat.age_s() == 2.5
    heartbeat.beat()
    assert heartbeat.age_s() == 0.0


@pytest.mark.skipif(not Path("/proc/net/udp").exists(), reason="this kernel keeps no /proc/net/udp")
def test_datagrams_that_did_not_fit_are_counted() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        assert udp_receive_drops([receiver]) == 0
        sent = 100
        for _ in range(sent):
            sender.sendto(bytes(1000), receiver.getsockname())
        received = 0
        while True:
            try:
                receiver.recv(2000)
            except BlockingIOError:
                break
            received += 1
        if not _listed(receiver):
            pytest.skip("this kernel (a sandbox) lists no sockets in /proc/net/udp")
        assert udp_receive_drops([receiver]) == sent - received > 0
        assert udp_receive_drops([sender]) == 0
        assert udp_receive_drops([receiver], [Path("/proc/net/udp")]) == sent - received


def test_the_machine_s_other_sockets_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(Path, "read_text", read)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        try:
            mine.getsockopt(socket.SOL_SOCKET, 55, 36)
        except OSError:
            pytest.skip("this kernel (a sandbox) does not know SO_MEMINFO")
        assert udp_receive_drops([mine]) == 0


def _listed(sock: socket.socket) -> bool:
    port = f":{sock.getsockname()[1]:04X} "
    return port in Path("/proc/net/udp").read_text()


def test_the_kernel_s_table_is_read_by_inode(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine, socket.socket(socket.AF_INET) as closed:
        closed.close()
        inode = os.fstat(mine.fileno()).st_ino
        table = tmp_path / "udp"
        table.write_text(HEADER + ROW.format(inode, 17) + ROW.format(inode + 1, 400) + "short line\n")
        assert udp_receive_drops([mine, closed], [table, tmp_path / "absent"]) == 17
