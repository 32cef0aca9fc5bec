"""What a worker may do, asked from inside one: an entry of our own runs where the real one would."""

import asyncio
import json
import socket
import sys
from collections.abc import Callable

import pytest

from hyperion.channel import open_worker_end
from hyperion.errors import ChildError
from hyperion.loop import run
from hyperion.proto.admins import Roster
from hyperion.proto.control import Fault, LogSettings, ServerWorkerConfig
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.process import Launcher
from hyperion.supervisor.spec import Spec, Timing

pytestmark = [pytest.mark.root, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

CONFIG = ServerWorkerConfig("0", b"s" * 32, b"p" * 32, Roster(), 3.0, "here", LogSettings())
SO_MARK = 36
#: Modules that no daemon needs and that would be dangerous, or slow, in one.
UNWANTED = ("scapy", "pyroute2", "nftables", "click", "rich", "tomlkit", "hyperion.cli", "hyperion.supervisor.server")


def _attempts() -> dict[str, Callable[[], object]]:
    def option(name: int, value: int) -> None:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, name, value)

    return {
        "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800)),
        "raw packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
        "raw IP": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP),
        "mark": lambda: option(SO_MARK, 1),
    }


def intruder(channel_socket: socket.socket, _listeners: list[socket.socket]) -> None:
    """An entry: tries what a worker that was taken over would, and reports as a fault."""
    outcome = {}
    for name, attempt in _attempts().items():
        try:
            attempt()
            outcome[name] = "done"
        except OSError as error:
            outcome[name] = type(error).__name__
    outcome["modules"] = ",".join(sorted(name for name in UNWANTED if name in sys.modules))

    async def tell() -> None:
        channel = await open_worker_end(channel_socket)
        await channel.receive()
        channel.send(Fault(json.dumps(outcome), 78))
        channel.close()
        await asyncio.sleep(0.1)

    run(tell, loop="asyncio")
    raise SystemExit(78)


async def test_a_worker_that_was_taken_over_can_do_nothing() -> None:
    launcher = Launcher("hyperion.worker.preload")
    crew = Crew(launcher, Timing(), lambda: None)
    try:
        crew.add(Spec("0", "hyp-worker-0", f"{__name__}:intruder", CONFIG))
        with pytest.raises(ChildError) as caught:
            await asyncio.wait_for(asyncio.shield(crew.failed), 20)
        outcome = json.loads(str(caught.value).partition(": ")[2])
        assert outcome.pop("modules") == ""
        assert outcome == dict.fromkeys(_attempts(), "PermissionError")
    finally:
        crew.kill()
        await crew.gone()
        launcher.stop()
