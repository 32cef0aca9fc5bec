"""The operator socket: who may ask, and what a caller that does not play by the rules can do (nothing)."""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hyperion.errors import ConfigError
from hyperion.proto.operator import (
    MAX_REQUEST_BYTES,
    Answer,
    ClientAnswer,
    ClientStatus,
    Done,
    HoldGuardRequest,
    Refused,
    ReloadRequest,
    Request,
    StatusRequest,
    StopRequest,
    TunnelLine,
)
from hyperion.running import ask
from hyperion.supervisor import control_socket
from hyperion.supervisor.control_socket import ControlSocket, Handler
from hyperion.supervisor.residence import Residence
from tests.helpers.others import NOBODY, open_way

pytestmark = pytest.mark.both_loops


async def fine(_: Request) -> Answer:
    return Done()


async def many(_: Request) -> Answer:
    line = TunnelLine(name="n" * 64, address="a" * 200, state="down", message="m" * 300, hint="h" * 300)
    return ClientAnswer(ClientStatus(servers=[line] * 1_000))


@contextlib.asynccontextmanager
async def serving(
    directory: Path, handlers: dict[Any, Handler] | None = None, uids: frozenset[int] | None = None
) -> AsyncIterator[Path]:
    residence = Residence.enter(directory, "x")
    server = ControlSocket(
        residence.listen(), {os.geteuid()} if uids is None else uids, handlers or {StatusRequest: fine}
    )
    await server.start()
    try:
        yield directory
    finally:
        server.close()
        residence.leave()


@pytest.mark.parametrize("there", ["a directory", "no directory"])
async def test_its_file_is_its_maker_s_to_remove_however_long_the_way_to_it(tmp_path: Path, there: str) -> None:
    """The name that it was bound to goes over a descriptor, whose number means something else by now."""
    residence = Residence.enter(tmp_path / ("d" * 100), "x")
    server = ControlSocket(residence.listen(), {os.geteuid()}, {StatusRequest: fine})
    path = tmp_path / "control.sock"
    path.write_text("somebody's")
    number = int(server._socket.getsockname().split("/")[4])
    other = os.open(tmp_path if there == "a directory" else path, os.O_RDONLY)
    if other != number:
        os.dup2(other, number)
        os.close(other)
    try:
        await server.start()
        assert await asked(residence.directory, StatusRequest()) == Done()
        server.close()
        assert path.exists()
    finally:
        os.close(number)
        residence.leave()
    assert not residence.directory.exists()


async def asked(directory: Path, request: Request, timeout: float = 10.0) -> Answer:
    return await asyncio.to_thread(ask, directory, request, timeout)


async def call(directory: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(directory / "control.sock"))


async def hung_up(reader: asyncio.StreamReader, timeout: float = 10.0) -> bool:
    async with asyncio.timeout(timeout):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


def frame(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


async def test_an_answer_for_each_kind(tmp_path: Path, logged: list[tuple[str, str | None]]) -> None:
    async def reload(_: Request) -> Answer:
        raise ConfigError("bad file", hint="look at it")

    async def bug(_: Request) -> Answer:
        raise ZeroDivisionError

    async with serving(tmp_path, {StatusRequest: fine, ReloadRequest: reload, StopRequest: bug}) as directory:
        assert await asked(directory, StatusRequest()) == Done()
        assert await asked(directory, ReloadRequest()) == Refused("bad file", "look at it", 78)
        assert await asked(directory, StopRequest()) == Refused("internal error: ZeroDivisionError", "see its log", 70)
    assert logged == [("HYP5003N", "reload"), ("HYP9002E", None), ("HYP5003N", "stop")]


async def test_the_guard_is_held_under_its_own_name(tmp_path: Path, logged: list[tuple[str, str | None]]) -> None:
    async def hold(_: Request) -> Answer:
        return Done()

    async with serving(tmp_path, {HoldGuardRequest: hold}) as directory:
        assert await asked(directory, HoldGuardRequest(90.0)) == Done()
    assert logged == [("HYP5003N", "hold-guard")]


async def test_a_request_that_this_program_does_not_serve(tmp_path: Path, logged: list[tuple[str, str | None]]) -> None:
    async with serving(tmp_path) as directory:
        assert isinstance(await asked(directory, StopRequest()), Refused)


async def test_a_long_answer_arrives_whole(tmp_path: Path) -> None:
    async with serving(tmp_path, {StatusRequest: many}) as directory:
        answer = await asked(directory, StatusRequest())
        assert isinstance(answer, ClientAnswer)
        assert len(answer.status.servers) == 1_000


async def test_an_answer_that_is_too_long_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "MAX_ANSWER_BYTES", 1_000)
    async with serving(tmp_path, {StatusRequest: many}) as directory:
        answer = await asked(directory, StatusRequest())
        assert isinstance(answer, Refused)
        assert "at most 1000" in answer.message


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", MAX_REQUEST_BYTES + 1),
        struct.pack(">I", 9) + b"\xc1 garbage",
        frame({"t": "nonsense"}),
        frame(Done()),
        frame(StatusRequest()) * 2,
    ],
    ids=["oversized", "garbage", "unknown", "an answer", "two at once"],
)
async def test_who_breaks_the_rules_is_hung_up_on(tmp_path: Path, data: bytes) -> None:
    async with serving(tmp_path) as directory:
        reader, writer = await call(directory)
        writer.write(data)
        assert await hung_up(reader)
        writer.close()
        assert await asked(directory, StatusRequest()) == Done()


async def test_who_says_nothing_is_hung_up_on_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "CALLER_TIMEOUT", 0.1)
    async with serving(tmp_path) as directory:
        silent = await call(directory)
        slow = await call(directory)
        slow[1].write(frame(StatusRequest())[:3])
        for reader, writer in (silent, slow):
            assert await hung_up(reader, 5)
            writer.close()


async def test_who_does_not_read_costs_only_its_own_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "CALLER_TIMEOUT", 0.2)
    async with serving(tmp_path, {StatusRequest: many}) as directory:
        deaf = []
        for _ in range(5):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(directory / "control.sock"))
            sock.sendall(frame(StatusRequest()))
            deaf.append(sock)
        for _ in range(5):
            assert isinstance(await asked(directory, StatusRequest()), ClientAnswer)
        await asyncio.sleep(0.5)
        for sock in deaf:
            sock.settimeout(5)
            read = 0
            with contextlib.suppress(ConnectionError):
                while part := await asyncio.to_thread(sock.recv, 1 << 20):
                    read += len(part)
            assert read < len(frame(await many(StatusRequest())))  # it was cut
            sock.close()


async def test_more_callers_than_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "MAX_CALLERS", 2)
    async with serving(tmp_path) as directory:
        first, second = await call(directory), await call(directory)
        await asyncio.sleep(0.05)
        third = await call(directory)
        assert await hung_up(third[0])
        first[1].close()
        await asyncio.sleep(0.05)
        assert await asked(directory, StatusRequest()) == Done()
        for caller in (second, third):
            caller[1].close()


async def test_a_caller_that_left_does_not_undo_what_it_asked_for(tmp_path: Path) -> None:
    begun, finish, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Answer:
        begun.set()
        await finish.wait()
        done.set()
        return Done()

    async with serving(tmp_path, {ReloadRequest: slow}) as directory:
        _, writer = await call(directory)
        writer.write(frame(ReloadRequest()))
        await asyncio.wait_for(begun.wait(), 5)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        finish.set()
        await asyncio.wait_for(done.wait(), 5)


async def test_another_user_is_hung_up_on(tmp_path: Path) -> None:
    async with serving(tmp_path, uids=frozenset({os.geteuid() + 1})) as directory:
        reader, writer = await call(directory)
        writer.write(frame(StatusRequest()))
        assert await hung_up(reader)
        writer.close()


@pytest.mark.root
async def test_nobody_cannot_ask_even_if_the_directory_were_open(tmp_path: Path) -> None:
    """One hundred of one hundred: the directory stops it; and where somebody opened that, the credentials do."""
    open_way(tmp_path)
    code = f"""
import os, socket, sys
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
connected = answers = 0
for _ in range(100):
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(sys.argv[1])
            connected += 1
            sock.sendall(bytes.fromhex({frame(StatusRequest()).hex()!r}))
            answers += bool(sock.recv(1))
        except OSError as error:
            pass
print(connected, answers)
"""
    async with serving(tmp_path / "run") as directory:
        for mode in (0o700, 0o777):
            directory.chmod(mode)
            (directory / "control.sock").chmod(mode)
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", code, str(directory / "control.sock")],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.stdout == ("0 0\n" if mode == 0o700 else "100 0\n"), done.stderr
        assert await asked(directory, StatusRequest()) == Done()
