import asyncio
import errno
import socket
from pathlib import Path

import msgspec
import pytest

from hyperion.channel import Channel, encode
from hyperion.proto.trial import Confirmed, ConfirmRequest, NotConfirmed, TrialToConfirm
from hyperion.socket_path import short
from hyperion.trial import desk as desk_module
from hyperion.trial.desk import Desk

REQUEST = ConfirmRequest("192.0.2.1", 1, "192.0.2.2", 22)


async def ask(path: Path, data: bytes) -> Confirmed | NotConfirmed | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short(path) as name:
        sock.connect(name)
    sock.sendall(data)
    channel: Channel[Confirmed | NotConfirmed] = await Channel.open(sock, msgspec.msgpack.Decoder(TrialToConfirm))
    async with asyncio.timeout(5):
        answer = await channel.receive()
    channel.close()
    return answer


def judge(request: ConfirmRequest) -> Confirmed | NotConfirmed:
    return Confirmed() if request == REQUEST else NotConfirmed("another")


@pytest.mark.parametrize("name", ["confirm.sock", "a-name-that-makes-the-path-longer-than-the-kernel-takes" * 2])
async def test_each_caller_is_judged(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "d" / ("x" * 90)  # as long as the directory of somebody else's choice may be
    directory.mkdir(parents=True)
    path = directory / name[:60]
    path.touch()  # left behind
    desk = Desk(path, judge)
    desk.open()
    assert await ask(path, encode(REQUEST)) == Confirmed()
    other = msgspec.structs.replace(REQUEST, remote_port=2)
    assert await ask(path, encode(other)) == NotConfirmed("another")
    desk.close()
    desk.close()
    assert not path.exists()


async def test_who_says_nothing_or_nonsense_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "REQUEST_TIMEOUT", 0.05)
    path = tmp_path / "confirm.sock"
    desk = Desk(path, judge)
    desk.open()
    for data in (b"", encode(REQUEST)[:-1], encode(Confirmed()), b"\xff" * 100):
        assert await ask(path, data) is None
    assert await ask(path, encode(REQUEST)) == Confirmed()
    desk.close()


async def test_no_descriptor_left_for_a_moment_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "RETRY_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "Too many open files")] * 2

    async def scarce(sock: socket.socket) -> object:
        if failures:
            raise failures.pop()
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", scarce)
    path = tmp_path / "confirm.sock"
    desk = Desk(path, judge)
    desk.open()
    assert await ask(path, encode(REQUEST)) == Confirmed()
    assert not failures
    desk.close()
