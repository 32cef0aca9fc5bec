"""``nc`` as people use it: under ssh, scp and git, and by itself; through the running client and without one."""

import contextlib
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.load import MIB
from tests.helpers.openssh import OpenSsh
from tests.helpers.product import Entry, Product, Server, worker_pid
from tests.helpers.ways import NC, client_file, environment, nc, proxy_command
from tests.peer.services import closed_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets that hand over descriptors")

#: More than all buffers on the way hold.
MUCH = random.Random(1).randbytes(8 * MIB)

COPY_BYTES = 100 * MIB
WAYS = ("through the running client", "with a tunnel of its own")

each_way = pytest.mark.parametrize("way", WAYS)


@contextlib.contextmanager
def installed(ports: list[int], way: str) -> Iterator[tuple[Product, Server]]:
    """A server that runs, and a client's configuration; and the client, if that is the way."""
    with Product() as product:
        server = product.server(ports)
        file = client_file(product, server)
        if way == WAYS[0]:
            product.run("client", file, ["-L", f"web1:{ports[0]}"]).wait_events("tunnel-up")
        yield product, server


@contextlib.contextmanager
def service(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP service on loopback; ``handle`` is called in a thread for each connection."""

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle_one, args=(sock,), daemon=True).start()

    def handle_one(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            handle(sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def answer_with_digest(sock: socket.socket) -> None:
    """Reads to the end of file, and only then answers: whoever does not keep half-closes never hears it."""
    total = hashlib.sha256()
    while data := sock.recv(1 << 16):
        total.update(data)
    sock.sendall(total.hexdigest().encode())


def stall(sock: socket.socket) -> None:
    sock.sendall(b"the first half")
    sock.recv(1)


@contextlib.contextmanager
def halfway(product: Product, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """An ``nc`` that has got what ``stall`` sends, and waits for more."""
    command = [*NC, "web1", str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(product)) as process:
        assert process.stdout is not None
        assert process.stdout.read(14) == b"the first half"
        yield process


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, bytes]:
    """Its exit code and what else it said. (``communicate`` would end its input first.)"""
    status = process.wait(30)
    assert process.stdout is not None
    assert process.stderr is not None
    return status, process.stdout.read(), process.stderr.read()


def send_much(sock: socket.socket) -> None:
    sock.sendall(MUCH)


# --- real programs


@each_way
@pytest.mark.needs("sshd", "ssh", "ssh-keygen")
def test_ssh(sshd: OpenSsh, way: str) -> None:
    """Standard input, both outputs and the exit status; ssh makes the name lower case, and it is found all the same."""
    with installed([sshd.port], way) as (product, _):
        proxied = sshd.by(proxy_command(), "WEB1", environment(product))
        data = random.Random(7).randbytes(2 * MIB)
        for status in (0, 3):
            done = proxied.ssh(sshd.port, f"echo stderr >&2; sha256sum; exit {status}", data)
            assert done.stdout.split()[:1] == [digest(data)], done.stderr
            assert done.stderr == b"stderr\n"
            assert done.returncode == status
        assert proxied.ssh(sshd.port, "cat", data).stdout == data


@pytest.mark.needs("sshd", "ssh", "ssh-keygen", "scp")
def test_ssh_with_the_connection_itself(sshd: OpenSsh, tmp_path: Path) -> None:
    """nc hands its connection to ssh and leaves; what goes wrong before is told all the same."""
    with installed([sshd.port], WAYS[0]) as (product, _):
        handed = sshd.by_descriptor(proxy_command("-F"), "web1", environment(product))
        done = handed.ssh(sshd.port, "sha256sum; exit 3", MUCH)
        assert (done.stdout.split()[:1], done.returncode) == ([digest(MUCH)], 3), done.stderr
        (tmp_path / "original").write_bytes(MUCH)
        began = time.monotonic()
        handed.upload(sshd.port, tmp_path / "original", tmp_path / "there")
        handed.download(sshd.port, tmp_path / "there", tmp_path / "back")
        print(f"scp of 8 MiB there and back: {time.monotonic() - began:.1f} s")
        assert (tmp_path / "back").read_bytes() == MUCH
        refused = handed.ssh(9, "true")
        assert b"hyperion-client: error: web1 does not allow port 9" in refused.stderr
        assert refused.returncode == 255


@each_way
@pytest.mark.needs("sshd", "ssh", "ssh-keygen", "scp")
@pytest.mark.timeout(120)
def test_scp_of_100_mib_both_ways(sshd: OpenSsh, tmp_path: Path, way: str) -> None:
    original, there, back = (tmp_path / name for name in ("original", "there", "back"))
    with original.open("wb") as file:
        for number in range(COPY_BYTES // MIB):
            file.write(random.Random(number).randbytes(MIB))
    with installed([sshd.port], way) as (product, _):
        proxied = sshd.by(proxy_command(), "web1", environment(product))
        began = time.monotonic()
        proxied.upload(sshd.port, original, there)
        half = time.monotonic()
        proxied.download(sshd.port, there, back)
        took = half - began, time.monotonic() - half
    assert there.stat().st_size == COPY_BYTES
    hashes = set()
    for path in (original, there, back):
        with path.open("rb") as file:
            hashes.add(hashlib.file_digest(file, "sha256").hexdigest())
    assert len(hashes) == 1
    print("{}: up {:.0f} MB/s, down {:.0f} MB/s".format(way, *(COPY_BYTES / 1e6 / each for each in took)))


@each_way
@pytest.mark.needs("sshd", "ssh", "ssh-keygen", "git")
def test_git_clone_and_push(sshd: OpenSsh, tmp_path: Path, way: str) -> None:
    origin, clone = tmp_path / "origin.git", tmp_path / "clone"
    with installed([sshd.port], way) as (product, _):
        proxied = sshd.by(proxy_command(), "web1", environment(product))
        variables = {
            **environment(product),
            "GIT_SSH_COMMAND": proxied.command(),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
            },
        }

        def git(*words: str, where: Path = tmp_path) -> str:
            done = subprocess.run(
                ["git", *words], cwd=where, env=variables, capture_output=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout.decode().strip()

        git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
        git("clone", "--quiet", f"ssh://{proxied.address()}:{sshd.port}{origin}", str(clone))
        (clone / "file").write_bytes(random.Random(3).randbytes(3 * MIB))
        git("checkout", "--quiet", "-B", "main", where=clone)
        git("add", "file", where=clone)
        git("commit", "--quiet", "-m", "one", where=clone)
        git("push", "--quiet", "origin", "main", where=clone)
        pushed = git("rev-parse", "HEAD", where=clone)
        assert git("rev-parse", "main", where=origin) == pushed
        again = tmp_path / "again"
        git("clone", "--quiet", f"ssh://{proxied.address()}:{sshd.port}{origin}", str(again))
        assert git("rev-parse", "HEAD", where=again) == pushed
        assert (again / "file").read_bytes() == (clone / "file").read_bytes()


# --- by itself


@each_way
def test_half_close_and_exit_code(way: str) -> None:
    data = random.Random(5).randbytes(8 * MIB)
    with service(answer_with_digest) as port, installed([port], way) as (product, _):
        done = nc(product, "web1", port, data)
        assert (done.returncode, done.stdout, done.stderr) == (0, digest(data), b"")


@each_way
def test_files_instead_of_pipes(tmp_path: Path, way: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(random.Random(5).randbytes(8 * MIB))
    with (
        service(answer_with_digest) as port,
        installed([port], way) as (product, _),
        source.open("rb") as stdin,
        target.open("wb") as stdout,
    ):
        command = [*NC, "web1", str(port)]
        subprocess.run(command, stdin=stdin, stdout=stdout, env=environment(product), timeout=60, check=True)
    assert target.read_bytes() == digest(source.read_bytes())


@each_way
def test_who_leaves_early_is_no_error_of_ours(way: str) -> None:
    """``nc web1 80 | head -c 1``: ended by the broken pipe, without a word."""
    with service(send_much) as port, installed([port], way) as (product, _):
        command = [*NC, "web1", str(port)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(product),
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(1) == MUCH[:1]
            process.stdout.close()
            assert process.wait(30) == 128 + signal.SIGPIPE
            assert process.stderr.read() == b""


@each_way
def test_each_way_to_fail_has_its_code_and_its_words(way: str) -> None:
    closed = closed_port()
    with service(answer_with_digest) as port, installed([port, closed], way) as (product, server):
        found = {}
        for name, number in (("web1", 9), ("web1", closed), ("web9", port)):
            done = nc(product, name, number)
            assert done.stdout == b""
            lines = done.stderr.decode().splitlines()
            assert [line.partition(": ")[0] for line in lines] == ["hyperion-client", "hint"], lines
            found[name, number] = done.returncode
        assert list(found.values()) == [77, 69, 2]
        server.program.stop()
        done = nc(product, "web1", port)
        assert done.returncode == 69
        assert b"hint: " in done.stderr


def test_a_configuration_that_is_missing_or_wrong() -> None:
    with Product() as product:
        missing = nc(product, "web1", 22)
        (product.directory / "hyperion.toml").write_text("pool_size = 0\n", encoding="utf-8")
        wrong = nc(product, "web1", 22)
    assert (missing.returncode, wrong.returncode) == (66, 78)
    for done in (missing, wrong):
        assert done.stdout == b""
        assert done.stderr.startswith(b"hyperion-client: error: ")


@contextlib.contextmanager
def shut_port() -> Iterator[int]:
    """A port that does not answer at all, as behind a closed gate: the kernel drops a SYN when nobody accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@each_way
def test_a_gate_that_stays_shut(way: str) -> None:
    """Knocks went out, and the port did not open: trying again may help, so the code is another one."""
    with shut_port() as port, Product() as product:
        entry = Entry("web1", port, product.key("server", "server").public)
        file = product.client_file([entry], name="hyperion")
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("[key]", "[knock]\nenabled = true\n[key]"), encoding="utf-8")
        if way == WAYS[0]:
            product.run("client", file, ["-L", "web1:22"]).wait_events("tunnel-down")
        done = nc(product, "web1", 22)
        *before, said, hint = done.stderr.decode().splitlines()
        assert set(before) <= {"hyperion-client: still waiting for web1:22"}  # if it took more than 3 s
        assert done.returncode == 75, said
        assert "went out, and the port did not open" in said
        assert hint.startswith("hint: ")


@each_way
def test_a_connection_that_is_lost_is_no_clean_end(way: str) -> None:
    """What came is handed on, and the exit code says that it may not be all."""
    with service(stall) as port, installed([port], way) as (product, server):
        with halfway(product, port) as process:
            server.program.send(signal.SIGINT)
            status, out, err = ended(process)
            assert (status, out) == (75, b"")
            assert b"was lost" in err
        assert server.program.wait() == 130


def test_a_worker_that_is_killed_is_no_clean_end() -> None:
    with service(stall) as port, Product() as product:
        server = product.server([port])
        running = product.run("client", client_file(product, server), ["-L", f"web1:{port}"])
        running.wait_events("tunnel-up")
        with halfway(product, port) as process:
            os.kill(worker_pid(running, "web1"), signal.SIGKILL)
            status, _, err = ended(process)
            assert status == 75
            assert b"the client's worker for web1 ended" in err
        running.wait_events("worker-started", 2)
        running.wait_events("tunnel-up", 3)
        with service(answer_with_digest):
            assert nc(product, "web1", 9).returncode == 77  # the next worker answers at the same place


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_a_worker_that_hangs_is_not_waited_for_without_a_word(end: signal.Signals) -> None:
    """Whether it wakes up or another one takes its place: who waits is served."""
    with service(answer_with_digest) as port, Product() as product:
        server = product.server([port])
        running = product.run("client", client_file(product, server), ["-L", f"web1:{port}"])
        running.wait_events("tunnel-up")
        worker = worker_pid(running, "web1")
        os.kill(worker, signal.SIGSTOP)
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*NC, "web1", str(port)], stdin=pipe, stdout=pipe, stderr=pipe, env=environment(product)
        ) as process:
            assert process.stdin is not None
            process.stdin.close()
            assert process.stderr is not None
            assert process.stderr.readline() == f"hyperion-client: still waiting for web1:{port}\n".encode()
            os.kill(worker, end)
            assert ended(process) == (0, digest(b""), b"")


def test_ctrl_c() -> None:
    with service(answer_with_digest) as port, installed([port], WAYS[1]) as (product, server):
        for _ in range(2):
            command = [*NC, "web1", str(port)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment(product)) as process:
                server.program.wait_events("stream-opened")
                process.send_signal(signal.SIGINT)
                assert process.wait(30) in {130, -signal.SIGINT}
