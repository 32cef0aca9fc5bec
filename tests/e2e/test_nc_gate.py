"""``nc`` through a real gate, as ssh starts it where no client runs: its own knock, its own tunnel, one stream."""

import base64
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.gated import ECHO_PORT, Gated, gated
from tests.helpers.knockd_process import PORT
from tests.helpers.netns import Host, Topology
from tests.helpers.ways import NC

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]

TIMEOUT = 40


@pytest.fixture(scope="module")
def server(network: Topology, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(network, tmp_path_factory.mktemp("g")) as made:
        yield made


def nc(host: Host, file: Path, port: int, data: bytes) -> subprocess.CompletedProcess[bytes]:
    command = host.command(*NC, "-c", str(file), "web1", str(port))
    return subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT, check=False)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_gate_opens_for_one_stream(server: Gated, network: Topology, family: str) -> None:
    address = getattr(network.server, family)
    server.shut()
    began = time.monotonic()
    done = nc(network.admin, server.client_file(address, name=f"nc-{family}"), ECHO_PORT, b"through the gate")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through the gate", b"")
    print(f"nc through a shut gate, {family}: {time.monotonic() - began:.2f} s from start to end")
    assert server.server.wait_events("session-opened")


def test_a_denied_port_behind_the_gate(server: Gated, network: Topology) -> None:
    done = nc(network.admin, server.client_file(network.server.ipv4, name="nc-denied"), 22, b"")
    assert done.returncode == 77
    assert b"web1 does not allow port 22" in done.stderr


def test_a_knock_of_another_secret_opens_nothing(server: Gated, network: Topology) -> None:
    server.shut()
    wrong = base64.b64encode(bytes(32)).decode()
    done = nc(network.admin, server.client_file(network.server.ipv4, name="nc-wrong", psk=wrong), ECHO_PORT, b"")
    *before, said, hint = done.stderr.decode().splitlines()
    assert set(before) <= {"hyperion-client: still waiting for web1:22"}  # if it took more than 3 s
    assert done.returncode == 75
    assert f"no answer from {network.server.ipv4}:{PORT}" in said
    assert "went out, and the port did not open" in said
    assert "HYP1002W" in hint
