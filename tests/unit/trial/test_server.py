import asyncio
import socket
from pathlib import Path

import msgspec

from hyperion.channel import Channel
from hyperion.proto.operator import Answer, Done, HoldGuardRequest, Proof, ProofRequest, Refused, Request
from hyperion.running import SOCKET_FILE
from hyperion.trial.server import ServerWitness
from hyperion.trial.witness import Knock, Session


class Server:
    """Answers with what it is told to; ``None``: not at all."""

    def __init__(self, directory: Path, answer: Answer | None) -> None:
        self.answer = answer
        self.asked: list[Request] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(directory / SOCKET_FILE))
        self._socket.listen()
        self._socket.setblocking(False)
        self._channels: list[Channel[Request]] = []

    async def serve(self) -> None:
        while True:
            caller, _ = await asyncio.get_running_loop().sock_accept(self._socket)
            channel: Channel[Request] = await Channel.open(caller, msgspec.msgpack.Decoder(Request))
            self._channels.append(channel)
            request = await channel.receive()
            assert request is not None
            self.asked.append(request)
            if self.answer is not None:
                channel.send(self.answer)
                channel.close()


async def asked(directory: Path, answer: Answer | None) -> tuple[object, object, list[Request]]:
    server = Server(directory, answer)
    serving = asyncio.create_task(server.serve())
    witness = ServerWitness(directory, timeout=0.3)
    held, heard = await witness.hold(30.0), await witness.heard(5.0)
    serving.cancel()
    server._socket.close()
    (directory / SOCKET_FILE).unlink()
    return held, heard, server.asked


async def test_a_server_that_answers(tmp_path: Path) -> None:
    held, heard, requests = await asked(tmp_path, Done())
    assert (held, heard) == (None, None)
    assert requests == [HoldGuardRequest(30.0), ProofRequest(5.0)]
    proof = Proof((("192.0.2.1", 6.0),), (("192.0.2.1", 40_000, 7.0),))
    _, heard, _ = await asked(tmp_path, proof)
    assert heard == ([Knock("192.0.2.1", 6.0)], [Session("192.0.2.1", 40_000, 7.0)])


async def test_one_that_says_no(tmp_path: Path) -> None:
    held, heard, _ = await asked(tmp_path, Refused("knocking is off here", None, 78))
    assert (held, heard) == ("knocking is off here", None)


async def test_one_without_a_gate_lets_go_of_nothing(tmp_path: Path) -> None:
    for code, expected in ((78, None), (75, "no")):
        server = Server(tmp_path, Refused("no", None, code))
        serving = asyncio.create_task(server.serve())
        assert await ServerWitness(tmp_path).hold(30.0, needs_gate=False) == expected
        serving.cancel()
        server._socket.close()
        (tmp_path / SOCKET_FILE).unlink()


async def test_one_that_hangs_keeps_nobody(tmp_path: Path) -> None:
    held, heard, _ = await asked(tmp_path, None)
    assert held == "no answer within 0.3 s"
    assert heard is None


async def test_none_at_all_has_no_guard_to_hold(tmp_path: Path) -> None:
    witness = ServerWitness(tmp_path)
    assert await witness.hold(30.0) is None
    assert await witness.heard(0.0) is None
