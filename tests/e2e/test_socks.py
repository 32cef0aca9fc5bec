"""SOCKS as people use it: curl with the names of servers, by the thousand; reloads and crashes of the child."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import processes
from tests.helpers.http_service import body
from tests.helpers.load import MIB
from tests.helpers.product import Product, worker_pid
from tests.helpers.program import Program
from tests.helpers.socks import dial, to_the_end
from tests.helpers.ways import client_file, run_socks

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets that hand over descriptors"),
]

REQUESTS = 1_000
CONCURRENCY = 4
TIMEOUT = 50
#: curl's code for a proxy that says no.
EXIT_PROXY = 97


@pytest.fixture
def http_port() -> Iterator[int]:
    served = Program("http", [sys.executable, "-m", "tests.helpers.http_service"])
    try:
        yield int(served.wait_out(str.isdigit)[0])
    finally:
        served.end()


def curl(proxy: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT), "--socks5-hostname", proxy, *words]
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT + 5, check=False)


@pytest.mark.needs("curl")
@pytest.mark.timeout(120)
def test_1000_requests_of_curl(http_port: int, tmp_path: Path) -> None:
    """On connections of their own and on kept ones; every byte of every answer is looked at."""
    with Product() as product, ThreadPoolExecutor(CONCURRENCY) as threads:
        server = product.server([http_port])
        running, proxy = run_socks(product, client_file(product, server))
        running.wait_events("tunnel-up")
        share = REQUESTS // 2 // CONCURRENCY

        def some(number: int) -> None:
            for keep in (True, False):
                first = number * share
                directory = tmp_path / f"{number}-{keep}"
                directory.mkdir()
                words = [] if keep else ["--header", "Connection: close"]
                url = f"http://web1:{http_port}/[{first}-{first + share - 1}]"
                done = curl(proxy, *words, "--output", str(directory / "#1"), url)
                assert done.returncode == 0, done.stderr
                for each in range(first, first + share):
                    file = directory / str(each)
                    assert (file.read_bytes() if file.exists() else b"") == body(each)

        for done in [threads.submit(some, number) for number in range(CONCURRENCY)]:
            done.result()
        assert running.events("socks-refused") == []
        assert running.events("stream-failed") == []


@pytest.mark.needs("curl")
def test_names_and_replies(http_port: int) -> None:
    with Product() as product:
        server = product.server([http_port, 1])
        running, proxy = run_socks(product, client_file(product, server))
        for name in ("web1", "WEB1", "web1.hyperion", "10.99.0.10"):
            assert curl(proxy, f"http://{name}:{http_port}/3").stdout == body(3)
        replies = {}
        for url in ("http://web2/", "http://192.0.2.1/", "http://web1:9/", "http://web1:1/"):
            done = curl(proxy, url)
            assert done.returncode == EXIT_PROXY, done.stderr
            replies[url] = done.stderr.decode().strip()[-3:]
        assert list(replies.values()) == ["(2)", "(2)", "(2)", "(5)"]
        server.program.stop()
        assert curl(proxy, f"http://web1:{http_port}/3").stderr.strip().endswith(b"(4)")
        running.wait_events("stream-failed", 2)
        lines = [
            [record["event"]["reason"] for record in running.events(action)]
            for action in ("socks-refused", "stream-denied", "stream-failed")
        ]
        assert lines == [["unknown-server"] * len(lines[0]), ["egress-policy"], ["unreachable", "no-tunnel"]]
        assert 1 <= len(lines[0]) <= 2  # of two in one second one may only be counted


@pytest.mark.needs("curl")
def test_a_large_upload_keeps_its_bytes(http_port: int, tmp_path: Path) -> None:
    data = hashlib.shake_256(b"socks").digest(16 * MIB)
    (tmp_path / "data").write_bytes(data)
    with Product() as product:
        server = product.server([http_port])
        _, proxy = run_socks(product, client_file(product, server))
        done = curl(proxy, "--data-binary", f"@{tmp_path / 'data'}", f"http://web1:{http_port}/")
        assert done.stdout.decode() == hashlib.sha256(data).hexdigest()


def place(proxy: str) -> tuple[str, int]:
    host, _, port = proxy.rpartition(":")
    return host, int(port)


def test_a_killed_child_costs_no_connection(http_port: int) -> None:
    """What it handed over is the worker's; who comes next is served by the next child, at the same address."""
    with Product() as product:
        server = product.server([http_port])
        running, proxy = run_socks(product, client_file(product, server))
        served = dial(place(proxy), "web1", http_port)
        assert served.code == 0
        os.kill(worker_pid(running, "socks:"), signal.SIGKILL)
        running.wait_events("worker-started", 3)
        with served.sock as sock:
            sock.sendall(b"GET /1 HTTP/1.0\r\n\r\n")
            assert to_the_end(sock).endswith(body(1))
        again = dial(place(proxy), "web1", http_port)
        assert again.code == 0
        again.sock.close()


def test_a_reload_adds_servers_and_keeps_connections(http_port: int) -> None:
    with Product() as product:
        server = product.server([http_port])
        file = client_file(product, server)
        running, proxy = run_socks(product, file)
        served = dial(place(proxy), "web1", http_port)
        assert served.code == 0
        refused = dial(place(proxy), "web2", http_port)
        assert refused.code == 2
        refused.sock.close()
        product.client_file([server.entry(), server.entry("web2")], name="hyperion")
        running.send(signal.SIGHUP)
        running.wait_events("HYP5001N")
        running.wait_events("tunnel-up", 2)
        added = dial(place(proxy), "web2", http_port)
        assert added.code == 0
        for sock in (served.sock, added.sock):
            sock.sendall(b"GET /2 HTTP/1.0\r\n\r\n")
            assert to_the_end(sock).endswith(body(2))
            sock.close()


def test_the_child_holds_no_key_and_no_right(http_port: int) -> None:
    """It is told names and places; what it was never told cannot leak from it."""
    with Product() as product:
        server = product.server([http_port])
        running, _ = run_socks(product, client_file(product, server))
        (child,) = [process for process in running.family() if process.name == "hyp-socks"]
        assert isinstance(child, processes.Process)
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if ":\t" in line
        )
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"
        if os.geteuid() == 0:  # root reads the memory of a process that is not dumpable, too
            secret = product.psk
            assert not memory_has(child.pid, secret)
            assert memory_has(worker_pid(running, "web1"), secret)  # the search would find it


def memory_has(pid: int, secret: bytes) -> bool:
    found = False
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            start, end = (int(each, 16) for each in span.split("-"))
            memory.seek(start)
            try:
                found = found or secret in memory.read(end - start)
            except OSError:
                continue
    return found
