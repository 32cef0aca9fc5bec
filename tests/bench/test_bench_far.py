"""Another machine for a measurement: it is there, and then nothing of it is left."""

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from bench.child import ChildError
from bench.far import Far
from tests.helpers.netns import Host, alone
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip")]

PORT = 7_003
FOREVER = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)")


@pytest.fixture
def host() -> Iterator[Host]:
    with alone() as made:
        yield made


def namespaces() -> list[str]:
    """Ours: others make some, too."""
    return [name for name in os.listdir("/run/netns") if name.startswith(f"hyb-{os.getpid()}-")]


@pytest.mark.parametrize("fails", [False, True])
def test_all_of_it_ends_with_it(host: Host, fails: bool) -> None:
    """Also if one of its programs cannot be stopped in order."""

    def use() -> None:
        with Far("t") as far:
            far.lay("10.93.0.1/24", "10.93.0.2/24")
            children = [far.start("near", *FOREVER), far.start("there", *FOREVER, there=True)]
            for child in children:
                child.wait_line("here", 10)
            own, there = (os.readlink(f"/proc/{pid}/ns/net") for pid in ("thread-self", children[1].pid))
            assert own == os.readlink(f"/proc/{children[0].pid}/ns/net") != there
            far.offer_bulk("10.93.0.2", PORT)
            socket.create_connection(("10.93.0.2", PORT), timeout=10).close()
            assert len(namespaces()) == 1
            pids.extend(child.pid for child in children)
            if fails:
                far._ends.callback(fail)

    def fail() -> None:
        raise ChildError("it does not end")

    pids: list[int] = []
    if fails:
        with pytest.raises(ChildError, match="does not end"):
            host.call(use)
    else:
        host.call(use)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    assert namespaces() == []
