import os
import socket
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from hyperion.trial.connections import Connection, established, list_connections, listening_ports, parse_address

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def word(text: str) -> str:
    """The address as the kernel of this machine prints it."""
    raw = ip_address(text).packed
    return "".join(f"{int.from_bytes(raw[at : at + 4], sys.byteorder):08X}" for at in range(0, len(raw), 4))


def line(local: str, local_port: int, remote: str, remote_port: int, state: str, inode: int) -> str:
    ends = f"{word(local)}:{local_port:04X} {word(remote)}:{remote_port:04X}"
    return f"   0: {ends} {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        HEAD
        + line("0.0.0.0", 22, "0.0.0.0", 0, "0A", 1)
        + line("192.0.2.1", 22, "198.51.100.7", 40_000, "01", 2)
        + line("192.0.2.1", 22, "198.51.100.8", 40_001, "03", 0)
        + line("127.0.0.1", 50_000, "127.0.0.1", 80, "01", 3)
    )
    (tmp_path / "net/tcp6").write_text(
        HEAD
        + line("2001:db8::1", 22, "2001:db8::9", 40_002, "01", 4)
        + line("::ffff:192.0.2.1", 8_443, "::ffff:198.51.100.7", 40_003, "06", 5)
    )
    return tmp_path


def one(remote: str, remote_port: int, local: str, local_port: int) -> Connection:
    return Connection(ip_address(remote), remote_port, ip_address(local), local_port)


def test_what_the_kernel_lists(proc: Path) -> None:
    ssh, ssh6 = one("198.51.100.7", 40_000, "192.0.2.1", 22), one("2001:db8::9", 40_002, "2001:db8::1", 22)
    local = one("127.0.0.1", 80, "127.0.0.1", 50_000)
    assert established(proc) == {ssh: "2", ssh6: "4", local: "3"}
    # Half open, and at its end; an IPv4 address is one also in a socket of both families.
    half, ended = one("198.51.100.8", 40_001, "192.0.2.1", 22), one("198.51.100.7", 40_003, "192.0.2.1", 8_443)
    assert list_connections(proc) == established(proc) | {half: "0", ended: "5"}
    assert listening_ports(proc) == {22}
    assert [connection.stays_inside for connection in (ssh, ssh6, local)] == [False, False, True]
    assert one("192.0.2.1", 1, "192.0.2.1", 2).stays_inside
    assert str(ssh) == "198.51.100.7:40000 -> 192.0.2.1:22"
    assert str(ssh6) == "[2001:db8::9]:40002 -> [2001:db8::1]:22"


def test_without_ipv6(proc: Path) -> None:
    (proc / "net/tcp6").unlink()
    assert len(established(proc)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_real_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port in listening_ports()
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            ours = one("127.0.0.1", port, "127.0.0.1", client.getsockname()[1])
            assert established()[ours] == str(os.fstat(client.fileno()).st_ino)
            accepted.close()


def test_addresses_in_text() -> None:
    assert str(parse_address("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(parse_address("fe80::1%eth0")) == "fe80::1"
    with pytest.raises(ValueError, match="nobody"):
        parse_address("nobody")
