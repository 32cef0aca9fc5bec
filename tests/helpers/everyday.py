"""What an admin does all day, at several servers at once: ssh, scp, curl and psql, all by real programs.

Knows what must come out, and judges it. Refuses to know how the addresses that it is given lead to the services.
"""

import contextlib
import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.helpers.http_service import body
from tests.helpers.openssh import OpenSsh
from tests.helpers.postgres import Postgres
from tests.helpers.program import Program

#: Programs that it needs.
PROGRAMS = ("sshd", "ssh", "scp", "curl", "psql")

PAGES = 8


@dataclass(frozen=True)
class Machine:
    """One server as the admin sees it: its address, an sshd there, and the port of ``http`` there."""

    name: str
    address: str
    ssh: OpenSsh
    web: int


@dataclass(frozen=True)
class Database:
    """A cluster, and every address that leads to it."""

    addresses: tuple[str, ...]
    cluster: Postgres


@contextlib.contextmanager
def http() -> Iterator[int]:
    """A web server on loopback; its port."""
    program = Program("http", [sys.executable, "-m", "tests.helpers.http_service"])
    try:
        yield int(program.wait_out(str.isdigit, 1)[0])
    finally:
        program.end()


def work(machines: Sequence[Machine], database: Database, directory: Path, size: int) -> None:
    """Everything at once, out of the namespace of the calling thread; ``size`` bytes are copied to each machine and
    back. Hashes must be equal."""
    source = directory / "source"
    source.write_bytes(random.Random(size).randbytes(size))
    jobs = [partial(job, machine) for machine in machines for job in (partial(copy, source), browse, log_in)]
    together(*jobs, lambda: query(database))
    copies = [path for machine in machines for path in directory.glob(f"{machine.name}-*")]
    assert len(copies) == 2 * len(machines)
    assert {digest(path) for path in copies} == {digest(source)}


def copy(source: Path, machine: Machine) -> None:
    """There and back again by scp."""
    there, back = (source.with_name(f"{machine.name}-{way}") for way in ("there", "back"))
    machine.ssh.upload(machine.ssh.port, source, there, host=machine.address)
    machine.ssh.download(machine.ssh.port, there, back, host=machine.address)


def browse(machine: Machine) -> None:
    """Page after page by curl."""
    address = f"[{machine.address}]" if ":" in machine.address else machine.address
    for number in range(PAGES):
        words = ["curl", "-sS", "--fail", "--noproxy", "*", f"http://{address}:{machine.web}/{number}"]
        got = subprocess.run(words, capture_output=True, timeout=30, check=True)
        assert got.stdout == body(number)


def log_in(machine: Machine) -> None:
    """A session; the sshd sees its own server connect."""
    done = machine.ssh.ssh(machine.ssh.port, "echo $SSH_CONNECTION", host=machine.address)
    assert done.stdout.startswith(b"127.0.0.1 "), done.stderr


def query(database: Database) -> None:
    """A sum that the database works out."""
    for address in database.addresses:
        asked = "select sum(i) from generate_series(1, 100000) i"
        assert database.cluster.psql(database.cluster.port, asked, host=address) == "5000050000\n"


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def together(*jobs: Callable[[], object]) -> None:
    """All at once, each in a thread of this namespace; the first failure is raised."""
    failed: list[BaseException] = []

    def guarded(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
