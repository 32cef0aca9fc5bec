"""Networks and programs that several files of tests ask for. A file that needs another of that name makes its own."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.firewall.nft_library import NftLibrary
from hyperion.firewall.nft_program import NftProgram
from hyperion.firewall.ruleset import Ruleset
from hyperion.knockd.firewall import Firewall
from tests.helpers.adopted import adopted
from tests.helpers.gate import TUNNEL_PORT, Inside, inside, service
from tests.helpers.gated import ECHO_PORT
from tests.helpers.netns import Host, Topology, topology
from tests.helpers.openssh import OpenSsh, openssh
from tests.helpers.special import Special
from tests.helpers.transparent import namespace
from tests.helpers.trials import no_trial_left

#: Seconds that a test here may take which says nothing else: it starts a dozen programs, and the machine may be busy.
SECONDS = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those of other folders are among them."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="module")
def network() -> Iterator[Topology]:
    """Admin, server and attacker around a router."""
    with topology() as made:
        yield made


@pytest.fixture
def server(network: Topology, tmp_path: Path) -> Iterator[Special]:
    """A whole server behind its gate, and a service on it."""
    with service(network.server, ECHO_PORT), Special(network, tmp_path) as made:
        made.wait_ready()
        yield made
    network.server.run("nft", "flush", "ruleset")


@pytest.fixture
def host() -> Iterator[Host]:
    """A machine of its own, and the test is on it."""
    with namespace() as made:
        yield made


@pytest.fixture
def nft(network: Topology) -> Iterator[Inside]:
    """The nftables of the server, empty before and after; and no trial of its rules goes on."""
    with _empty(inside(network.server, NftProgram)) as made, no_trial_left(network.server):
        yield made


@pytest.fixture(params=[NftLibrary, NftProgram], ids=["library", "program"])
def backend(request: pytest.FixtureRequest, network: Topology) -> Iterator[Inside]:
    """The same nftables, both ways to it."""
    with _empty(inside(network.server, request.param)) as made:
        yield made


@pytest.fixture(scope="module")
def listening(network: Topology) -> Iterator[None]:
    """Something answers at the server's tunnel port, for tests of who gets that far."""
    with service(network.server):
        yield


@pytest.fixture
def firewall(backend: Inside) -> Firewall:
    """The gate as it is printed, adopted."""
    return adopted(backend, Ruleset(TUNNEL_PORT))


@contextlib.contextmanager
def _empty(nft: Inside) -> Iterator[Inside]:
    nft.load("flush ruleset")
    yield nft
    nft.load("flush ruleset")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where other users get through to."""
    with tempfile.TemporaryDirectory(prefix="hyp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSsh]:
    """OpenSSH's server on loopback."""
    with openssh(tmp_path_factory.mktemp("openssh") / "own") as running:
        yield running
