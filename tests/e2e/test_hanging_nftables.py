"""nftables that does not come back, by either way to it: knocks are heard all the same, and nobody is let in."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.gate import gets_in, service
from tests.helpers.gated import ECHO_PORT
from tests.helpers.netns import Topology
from tests.helpers.special import Special
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft", "unshare"), pytest.mark.timeout(120)]

LIBRARY = "/usr/lib/python3/dist-packages/nftables"

#: Works until the file ``hang`` is there.
PROGRAM = """#!/bin/sh
if [ -e {directory}/hang ]; then exec sleep 1000; fi
exec {directory}/nft "$@"
"""

#: The distribution's own module, whose every command hangs while the file ``hang`` is there, as it does in a call of C.
MODULE = """
import importlib.util, os, sys, time
_spec = importlib.util.spec_from_file_location(
    "nftables", "{directory}/real/__init__.py", submodule_search_locations=["{directory}/real"]
)
_real = sys.modules["nftables"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_real)
class Nftables(_real.Nftables):
    def cmd(self, text):
        while os.path.exists("{directory}/hang"):
            time.sleep(0.05)
        return super().cmd(text)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hyp") as name:
        yield Path(name)


def program_that_hangs(directory: Path) -> Sequence[str]:
    """A prefix: there is no library, and the program is ours."""
    (directory / "ours").write_text(PROGRAM.format(directory=directory))
    (directory / "ours").chmod(0o755)
    (directory / "nft").touch()
    script = (
        f"set -e; mount --bind /usr/sbin/nft {directory}/nft; mount --bind {directory}/ours /usr/sbin/nft;"
        f'if [ -d {LIBRARY} ]; then mount -t tmpfs none {LIBRARY}; fi; exec "$@"'
    )
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


def library_that_hangs(directory: Path) -> Sequence[str]:
    """A prefix: the library is ours."""
    if not Path(LIBRARY).is_dir():
        pytest.skip("needs python3-nftables")
    (directory / "ours").mkdir()
    (directory / "real").mkdir()
    (directory / "ours" / "__init__.py").write_text(MODULE.format(directory=directory))
    script = f'set -e; mount --bind {LIBRARY} {directory}/real; mount --bind {directory}/ours {LIBRARY};exec "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


@pytest.fixture(params=[library_that_hangs, program_that_hangs], ids=["library", "program"])
def server(request: pytest.FixtureRequest, network: Topology, directory: Path) -> Iterator[Special]:
    prefix = request.param(directory)
    with service(network.server, ECHO_PORT), Special(network, directory, prefix=prefix) as made:
        made.wait_ready()
        yield made
        (directory / "hang").unlink(missing_ok=True)
    network.server.run("nft", "flush", "ruleset")


def gate(server: Special) -> dict[str, Any]:
    found: dict[str, Any] = server.tell_status()["gate"]
    return found


def test_it_is_told_and_knocks_are_heard(network: Topology, server: Special, directory: Path) -> None:
    host, way = network.server, "libnftables" if (directory / "real").exists() else "nft"
    server.let_in(host.ipv4)  # it works, and whoever is in, is in
    (directory / "hang").touch()
    hung_at = time.monotonic()
    heard = len(server.server.events("knock-accepted"))
    server.knock(network.attacker, host.ipv6)  # this call hangs
    shut = server.server.wait_events("gate-shut")[0]
    print(f"{way} hangs: gate shut after {time.monotonic() - hung_at:.1f} s")
    assert f"{way} has not answered for 3 s: does another program hold nftables?" in shut["error"]["message"]
    assert not gets_in(network.attacker, host.ipv4)
    server.knock(network.attacker, host.ipv6)
    server.server.wait_events("knock-accepted", heard + 2)
    assert gate(server)["state"] == "shut"
    assert not server.server.events("worker-crashed")
    (directory / "hang").unlink()
    server.server.wait_events("gate-open", 2)
    server.let_in(host.ipv4)
    assert not server.server.events("worker-crashed")


# Of a library only: a program that hangs is killed by itself.
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", [library_that_hangs], ids=["library"], indirect=True)
def test_a_library_that_never_comes_back_costs_knockd_and_no_more(
    network: Topology, server: Special, directory: Path
) -> None:
    (directory / "hang").touch()
    server.knock(network.attacker, network.server.ipv4)
    until(lambda: bool(server.server.events("worker-crashed")), 80)
    crash = server.server.events("worker-crashed")[0]
    assert "libnftables did not come back within 60 s" in crash["event"]["reason"]
    assert gate(server)["state"] == "shut"
    (directory / "hang").unlink()
    server.server.wait_events("gate-open", 2)
    server.let_in(network.server.ipv4)
