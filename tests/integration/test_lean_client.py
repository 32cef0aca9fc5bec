"""The client where the optional parts do not exist: no uvloop, no netlink, no TUN, no signals on the loop, no epoll."""

import subprocess
import sys

import pytest

_TUNNEL = """
import asyncio, importlib.abc, sys

HIDDEN = {"uvloop", "pyroute2", "pytun", "nftables"}

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Hide())

def no_signals(self, *_):
    raise NotImplementedError

asyncio.AbstractEventLoop.add_signal_handler = no_signals
asyncio.SelectorEventLoop.add_signal_handler = no_signals

from hyperion import loop
from hyperion.worker import poller

poller.new_poller = getattr(poller, sys.argv[1])

from hyperion.worker import main as worker_main
from tests.helpers.rig import Rig, echo, service

async def main():
    assert loop.loop_name() == "asyncio"
    async with service(echo) as port, Rig(port) as rig:
        worker_main._drain_on_sigterm(rig.client)
        data = bytes(range(256)) * 4096
        assert await rig.exchange(data) == data
    return "tunnelled"

print(loop.run(main, watches_sockets=True))
assert not HIDDEN & set(sys.modules)
"""


@pytest.mark.parametrize("poller", ["EpollPoller", "LoopPoller"])
def test_it_tunnels_on_plain_asyncio(poller: str) -> None:
    program = [sys.executable, "-c", _TUNNEL, poller]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "tunnelled\n", "")
