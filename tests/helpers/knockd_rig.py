"""A gatekeeper with a clock that can be set, a firewall that only remembers, and packets from a list."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from hyperion.knockd.capture import Handler
from hyperion.knockd.replay_file import ReplayFile
from hyperion.knockd.server import Knockd
from hyperion.proto.control_knockd import KnockdConfig, KnockdToSupervisor
from hyperion.proto.knock import derive_knock_key, seal
from hyperion.proto.replay import ReplayState
from tests.helpers.packets import whole_ipv4

START = 1_700_000_000.0
KEY, SERVER = derive_knock_key(bytes(32)), bytes([7] * 32)
Packets = list[bytes | OSError]


class FakeFirewall:
    def __init__(self) -> None:
        self.admitted: list[str] = []
        self.error: Exception | None = None

    def admit(self, source: str, ttl: float) -> None:
        if self.error is not None:
            raise self.error
        self.admitted.append(source)

    def revoke(self, source: str) -> None: ...

    def grants(self) -> dict[str, float]:
        return {}


class FakeCapture:
    """Packets from a list, with a pipe that is readable as long as there are any."""

    def __init__(self, *packets: bytes | OSError) -> None:
        self.packets = list(packets)
        self.turns: list[int] = []
        self.lost = 0
        self._out, self._in = os.pipe()
        os.write(self._in, b"x")

    def fileno(self) -> int:
        return self._out

    def read(self, handle: Handler, limit: int) -> int:
        for count in range(limit):
            if not self.packets:
                self.turns.append(count)
                return count
            packet = self.packets.pop(0)
            if isinstance(packet, OSError):
                raise packet
            handle(packet, True)
        self.turns.append(limit)
        return limit

    def dropped(self) -> int:
        return self.lost

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)


class Rig:
    """One knockd, which can be started again on the same memory."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        config = KnockdConfig(KEY, SERVER, 8443, 8443, 30, "hyperion", "admitted", 60, str(directory / "replay"))
        self.config = msgspec.structs.replace(config, **changes)
        self.now = START
        self.firewall = FakeFirewall()
        self.sent: list[KnockdToSupervisor] = []
        self.memory: ReplayFile | None = None
        self.number = 0

    async def start(self) -> None:
        self.stop()
        self.memory = ReplayFile(self.config.replay_path)
        if self.number == 0:
            self.memory.rewrite(ReplayState(-1, ()))  # not a first start: those are refused the past
        self.knockd = Knockd(self.config, self.firewall, self.memory, self.sent.append, clock=lambda: self.now)
        await self.knockd.remember()

    def stop(self) -> None:
        if self.memory is not None:
            self.memory.close()
            self.memory = None

    def knock(self, offset: int = 0, port: int = 8443, key: bytes = KEY, server_public: bytes = SERVER) -> bytes:
        self.number += 1
        return seal(key, server_public, int(self.now) + offset, port, self.number.to_bytes(12, "big"))

    def hear(self, payload: bytes, source: str = "192.0.2.1") -> str:
        """What becomes of a knock, by the counts."""
        before = self.counts()
        self.knockd.hear(whole_ipv4(payload, source), True)
        after = self.counts()
        (word,) = [word for word, count in after.items() if count != before.get(word, 0)]
        return word

    def counts(self) -> dict[str, int]:
        return dict(self.knockd._report._verdicts)


@asynccontextmanager
async def running(rig: Rig, *captures: FakeCapture) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(rig.knockd.run(captures))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for capture in captures:
            capture.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
