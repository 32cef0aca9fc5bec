"""Real programs through the tunnel: OpenSSH, an HTTP server, PostgreSQL."""

import hashlib
import http.client
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.peers import LOOPBACK
from tests.helpers.http_service import body
from tests.helpers.load import MIB
from tests.helpers.openssh import OpenSsh
from tests.helpers.postgres import postgres
from tests.helpers.product import PATIENCE, Product
from tests.helpers.program import Program

COPY_BYTES = 100 * MIB

#: Requests in all, and how many are under way at once.
REQUESTS = 1_000
CONCURRENCY = 8
POSTED_BYTES = 100_000

ROWS = 100_000


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.needs("sshd", "ssh", "ssh-keygen")
def test_a_session_of_openssh(sshd: OpenSsh) -> None:
    """Standard input, both outputs and the exit status, five sessions."""
    with Product() as product:
        server = product.server([sshd.port])
        _, port = product.client([server.entry()], [sshd.port]).address(sshd.port)
        for status in range(5):
            data = random.Random(status).randbytes(200_000)
            done = sshd.ssh(port, f"echo stderr-{status} >&2; sha256sum; cat; exit {status}", data)
            assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
            assert done.stderr.decode().strip() == f"stderr-{status}"
            assert done.returncode == status
        data = random.Random(99).randbytes(2 * MIB)
        assert sshd.ssh(port, "cat", data).stdout == data


@pytest.mark.needs("sshd", "ssh", "ssh-keygen", "scp")
@pytest.mark.timeout(120)
def test_scp_of_100_mib_both_ways(sshd: OpenSsh, tmp_path: Path) -> None:
    original, there, back = (tmp_path / name for name in ("original", "there", "back"))
    with original.open("wb") as file:
        for number in range(COPY_BYTES // MIB):
            file.write(random.Random(number).randbytes(MIB))
    with Product() as product:
        server = product.server([sshd.port])
        _, port = product.client([server.entry()], [sshd.port]).address(sshd.port)
        began = time.monotonic()
        sshd.upload(port, original, there)
        half = time.monotonic()
        sshd.download(port, there, back)
        took = half - began, time.monotonic() - half
    assert there.stat().st_size == COPY_BYTES
    assert digest(original) == digest(there) == digest(back)
    print("scp of 100 MiB: up {:.0f} MB/s, down {:.0f} MB/s".format(*(COPY_BYTES / 1e6 / each for each in took)))


def ask(connection: http.client.HTTPConnection, number: int) -> None:
    """A GET and, each tenth time, a POST."""
    connection.request("GET", f"/{number}")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, body(number))
    if number % 10 == 0:
        sent = random.Random(-number).randbytes(POSTED_BYTES)
        connection.request("POST", "/", sent)
        assert connection.getresponse().read().decode() == hashlib.sha256(sent).hexdigest()


def ask_on_one_connection(port: int, numbers: range) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
    for number in numbers:
        ask(connection, number)
    connection.close()


def ask_on_new_connections(port: int, numbers: range) -> None:
    for number in numbers:
        ask_on_one_connection(port, range(number, number + 1))


def test_1000_http_requests_each_way() -> None:
    """With keep-alive, then each on a new connection."""
    served = Program("http", [sys.executable, "-m", "tests.helpers.http_service"])
    try:
        http_port = int(served.wait_out(str.isdigit)[0])
        with Product() as product, ThreadPoolExecutor(CONCURRENCY) as threads:
            server = product.server([http_port])
            _, port = product.client([server.entry()], [http_port]).address(http_port)
            parts = [range(start, REQUESTS, CONCURRENCY) for start in range(CONCURRENCY)]
            for how in (ask_on_one_connection, ask_on_new_connections):
                began = time.monotonic()
                for done in [threads.submit(how, port, part) for part in parts]:
                    done.result()
                print(f"{how.__name__}: {REQUESTS / (time.monotonic() - began):.0f} requests a second")
            opened = server.program.wait_events("stream-closed", CONCURRENCY + REQUESTS)
            assert len(opened) == CONCURRENCY + REQUESTS
            assert {each["event"]["reason"] for each in opened} == {"finished"}
    finally:
        served.end()


@pytest.mark.needs("initdb", "postgres", "psql")
def test_postgresql(tmp_path: Path) -> None:
    """A table made, filled and read again by COPY, with checksums at both ends."""
    rows = [f"{number}\t{random.Random(number).randbytes(24).hex()}\n" for number in range(ROWS)]
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("".join(rows), encoding="ascii")
    with postgres() as database, Product() as product:
        server = product.server([database.port])
        _, port = product.client([server.entry()], [database.port]).address(database.port)
        database.psql(port, "create table moved (id int primary key, text text)", f"\\copy moved from '{source}'")
        assert database.psql(port, "select count(*) from moved").strip() == str(ROWS)
        query = "select md5(string_agg(text, '' order by id)) from moved"
        wanted = hashlib.md5("".join(row.split()[1] for row in rows).encode()).hexdigest()
        assert database.psql(port, query).strip() == wanted
        database.psql(port, f"\\copy (select * from moved order by id) to '{target}'")
        assert digest(target) == digest(source)
        answer = database.psql(port, "select backend_type from pg_stat_activity where pid = pg_backend_pid()")
        assert answer.strip() == "client backend"
