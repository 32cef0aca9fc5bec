"""Transparent mode with real programs: ssh, scp, curl and psql to the addresses of three servers that do not exist."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ports import free_port
from tests.helpers.everyday import PROGRAMS, Database, Machine, http, work
from tests.helpers.http_service import body
from tests.helpers.netns import Host
from tests.helpers.openssh import openssh
from tests.helpers.postgres import postgres
from tests.helpers.product import Product
from tests.helpers.transparent import FAKE, FAKE6, Transparent, snapshot, start, wait_for

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft")]

MIB = 1 << 20


@pytest.mark.timeout(180)
@pytest.mark.needs(*PROGRAMS)
def test_real_programs_at_three_servers_at_once(host: Host, tmp_path: Path) -> None:
    real_programs(host, tmp_path, 4 * MIB)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.needs(*PROGRAMS)
def test_real_programs_with_100_mib(host: Host, tmp_path: Path) -> None:
    real_programs(host, tmp_path, 100 * MIB)


def real_programs(host: Host, directory: Path, size: int) -> None:
    before = snapshot(host)
    with http() as web, openssh(directory / "ssh") as ssh, postgres() as database, Product() as product:
        running = start(host, product, {"web1": [ssh.port, web], "web2": [ssh.port, web], "db1": [database.port]})
        running.wait_up()
        machines = [Machine(name, addresses[name], ssh, web) for name, addresses in (("web1", FAKE), ("web2", FAKE6))]
        work(machines, Database((FAKE["db1"], FAKE6["db1"]), database), directory, size)
        # Each through its own tunnel: every server saw its own streams.
        for server in running.servers.values():
            assert server.program.wait_events("stream-opened")
        assert running.client.stop() == 0
        wait_for(host, before)


@pytest.fixture
def pair(host: Host) -> Iterator[tuple[Transparent, int]]:
    """Two servers, a web server behind both, a client that is up."""
    with http() as web, Product() as product:
        running = start(host, product, {"web1": [web], "web2": [web]})
        running.wait_up()
        for name in running.servers:
            wait_until_it_answers(FAKE[name], web)
        yield running, web


def fetch(address: str, port: int, timeout: float = 10) -> bytes:
    """``GET /0``, by hand: the standard library closes as soon as it has all."""
    with socket.create_connection((address, port), timeout=timeout) as sock:
        sock.sendall(b"GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := sock.recv(65_536):
            answer += data
        return answer


def test_refusals_speak(pair: tuple[Transparent, int]) -> None:
    running, web = pair
    for addresses in (FAKE, FAKE6):
        assert body(3) in fetch(addresses["web1"], web)
        began = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            fetch(addresses["web1"], 1)
        assert time.monotonic() - began < 1
    running.servers["web1"].program.stop()
    running.client.wait_events("tunnel-down")
    with pytest.raises(OSError, match="No route to host"):
        wait_until_refused(FAKE["web1"], web)
    for addresses in (FAKE, FAKE6):
        began = time.monotonic()
        with pytest.raises(OSError, match="No route to host"):
            fetch(addresses["web1"], web)
        assert time.monotonic() - began < 1
        assert body(3) in fetch(addresses["web2"], web)


def listening_ports() -> set[int]:
    """Of the workers, at the device's IPv4 address in this namespace."""
    lines = Path("/proc/thread-self/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    locals_ = [line.split()[1].split(":") for line in lines if line.split()[3] == "0A"]
    return {int(port, 16) for address, port in locals_ if address == "0100630A"}


def test_a_client_that_drains_leads_nobody_to_ports_that_it_gave_up(host: Host) -> None:
    """Any program may have them by then, and it is not the server."""
    with http() as web, http() as other, Product() as product, contextlib.ExitStack() as stack:
        running = start(host, product, {"web1": [web, other]})
        running.wait_up()
        wait_until_it_answers(FAKE["web1"], web)
        ports = listening_ports()
        assert len(ports) == 2
        standing = stack.enter_context(socket.create_connection((FAKE["web1"], web), timeout=10))
        running.servers["web1"].program.wait_events("stream-opened", 2)
        running.client.send(signal.SIGTERM)
        running.client.wait_events("service-draining")
        deadline = time.monotonic() + 10
        while listening_ports():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        taken = 0
        for port in ports:
            thief = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # the one that has connections
                thief.bind(("10.99.0.1", port))
                thief.listen()
                taken += 1
        assert taken == 1
        for port in (web, other):
            with pytest.raises(OSError, match="No route to host"):
                socket.create_connection((FAKE["web1"], port), timeout=5)
        standing.sendall(b"GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with standing.makefile("rb") as answer:
            assert body(3) in answer.read()
        standing.close()
        assert running.client.wait() == 0


def test_a_reload_brings_servers_and_takes_them(pair: tuple[Transparent, int]) -> None:
    running, web = pair
    third = running.product.server([web], name="db1")
    entries = [running.servers["web1"].entry("web1"), third.entry("db1")]
    text = running.product.client_file(entries, name="next").read_text(encoding="utf-8")
    running.config.write_text(text, encoding="utf-8")
    # Of another user, as after sudo: the supervisor has no rights in effect by now.
    os.chown(running.config, 65_534, 65_534)
    running.client.send(signal.SIGHUP)
    assert running.client.wait_events("config-reload")[0]["event"]["code"] == "HYP5001N"
    # Another owner, another answer to who may use the stream sockets: all workers are new.
    running.client.wait_events("tunnel-up", 8)
    # A worker logs first, and then tells who passes it on. The second of the file has the second address.
    assert body(3) in wait_until_it_answers(FAKE["web1"], web)
    assert body(3) in wait_until_it_answers(FAKE["web2"], web)
    third.program.stop()
    with pytest.raises(OSError, match="No route to host"):
        wait_until_refused(FAKE["web2"], web)


def test_the_connections_of_a_server_that_a_reload_removed(host: Host) -> None:
    """They go on for as long as draining may take, and hear of their end then; nobody new gets in."""
    with http() as web, Product() as product, contextlib.ExitStack() as stack:
        running = start(host, product, {"web1": [web], "web2": [web]}, "--drain-timeout", "2")
        running.wait_up()
        wait_until_it_answers(FAKE["web2"], web)
        busy, idle = (stack.enter_context(socket.create_connection((FAKE["web2"], web), timeout=10)) for _ in range(2))
        running.servers["web2"].program.wait_events("stream-opened", 3)
        text = product.client_file([running.servers["web1"].entry("web1")], name="next").read_text(encoding="utf-8")
        running.config.write_text(text, encoding="utf-8")
        running.client.send(signal.SIGHUP)
        running.client.wait_events("config-reload")
        with pytest.raises(OSError, match="No route to host"):
            socket.create_connection((FAKE["web2"], web), timeout=5)
        busy.sendall(b"GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with busy.makefile("rb") as answer:
            assert body(3) in answer.read()
        with pytest.raises(ConnectionResetError):
            idle.recv(1)


def wait_until_refused(address: str, port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionResetError):
            fetch(address, port)
        time.sleep(0.05)


def wait_until_it_answers(address: str, port: int) -> bytes:
    deadline = time.monotonic() + 10
    while True:
        try:
            return fetch(address, port)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_subnet_that_is_in_use_is_refused_with_a_free_one(host: Host) -> None:
    host.ip("route", "add", "10.99.0.0/16", "dev", "lo")
    before = snapshot(host)
    with Product() as product:
        running = start(host, product, {"web1": [free_port()]})
        assert running.client.wait() == 78
        shown = "\n".join(running.client.err)
        assert "10.99.0.0/24 is in use on this machine (10.99.0.0/16)" in shown
        assert "hint: in [tun] set addr =" in shown
        wait_for(host, before)
        product.programs.remove(running.client)
        running.client.end()
