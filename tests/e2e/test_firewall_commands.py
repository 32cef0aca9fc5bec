"""The commands about the firewall as an admin types them, in a host of its own, with the real nft."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.knockd.firewall import Firewall
from tests.helpers.gate import TUNNEL_PORT, Inside, connect, gets_in, service
from tests.helpers.netns import Topology, topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft")]
SERVER = str(Path(sys.executable).with_name("hyperion-server"))
RULES = Ruleset(TUNNEL_PORT, set="knock_allow")
PIPE = f"{shlex.quote(SERVER)} print-firewall --tunnel-port {TUNNEL_PORT} | nft -f -"


@pytest.fixture(scope="module")
def network() -> Iterator[Topology]:
    with topology() as network, service(network.server):
        yield network


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    return tmp_path


def test_printed_and_loaded_five_times_it_is_one_copy_with_its_grants(network: Topology, nft: Inside) -> None:
    server, admin = network.server, network.admin
    server.run("sh", "-c", PIPE)
    once = nft.list_text("ruleset")
    firewall = Firewall(nft, RULES)
    firewall.ensure()
    firewall.admit(admin.ipv4, 60)
    firewall.admit(admin.ipv6, 60)
    with connect(admin, server.ipv4) as client:
        for _ in range(4):
            server.run("sh", "-c", PIPE)
        client.sendall(b"still here")
        assert client.recv(100) == b"still here"
    assert nft.list_text("ruleset") == once
    assert once.count("chain input") == 1
    left = firewall.grants()
    assert set(left) == {admin.ipv4, admin.ipv6}
    assert all(30 < seconds <= 60 for seconds in left.values())
    assert gets_in(admin, server.ipv6)
    assert not gets_in(network.attacker, server.ipv4)


def test_check_asks_the_real_nft_and_loads_nothing(network: Topology, nft: Inside) -> None:
    out = network.server.run(SERVER, "print-firewall", "--tunnel-port", "8443", "--keep-port", "22", "--check")
    assert out == ruleset_text(Ruleset(8443, set="knock_allow", keep_ports=(22,)))
    assert nft.list_text("ruleset") == ""
    # A word of nft's own language passes our check of names, and nft says so.
    refused = network.server.run(
        "sh", "-c", f"{SERVER} print-firewall --tunnel-port 1 --table accept --check 2>&1; echo code $?"
    )
    assert "hyperion-server: error: nft: syntax error, unexpected accept" in refused
    assert refused.endswith("code 69\n")


@pytest.mark.needs("setpriv")
def test_check_without_the_right(network: Topology) -> None:
    command = f"setpriv --bounding-set=-all --inh-caps=-all {SERVER} print-firewall --tunnel-port 1 --check 2>&1"
    out = network.server.run("sh", "-c", f"{command}; echo code $?")
    assert out.splitlines() == [
        "hyperion-server: error: no right to change the firewall",
        "hint: it takes root, or CAP_NET_ADMIN",
        "code 77",
    ]
