"""A kernel that has no memory for filters, for a while: what is shut, what goes on, and that all is well afterwards."""

import os
import signal
from pathlib import Path

import pytest

from tests.helpers.gate import gets_in, reaches
from tests.helpers.gated import Transfer
from tests.helpers.knockd_process import load_table
from tests.helpers.netns import Topology
from tests.helpers.special import Special

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft", "sysctl"), pytest.mark.timeout(120)]

#: Bytes of such memory for each socket; since Linux 6.8 each network namespace has a limit of its own.
OPTMEM = Path("/proc/sys/net/core/optmem_max")


@pytest.mark.parametrize("memory", [330, 64], ids=["none-for-knockd", "none-for-the-supervisor-either"])
def test_a_kernel_without_memory_shuts_the_gate_until_it_has_some(
    network: Topology, server: Special, memory: int
) -> None:
    """No filter can be attached: knockd cannot start, and the port is shut in another way. Tunnels go on."""
    host, ours = network.server, OPTMEM.read_text()
    if not host.call(lambda: OPTMEM.stat().st_mode) & 0o200:
        pytest.skip("this kernel has one such limit for all namespaces")
    before = host.run("cat", str(OPTMEM)).strip()
    _, port = server.client(network.admin, host.ipv4)
    with Transfer(network.admin, port):
        host.run("sysctl", "-q", "-w", f"net.core.optmem_max={memory}")
        try:
            assert OPTMEM.read_text() == ours
            os.kill(server.knockd_pid(), signal.SIGKILL)
            server.server.wait_events("worker-crashed", 3)
            assert not gets_in(network.attacker, host.ipv4)
            host.run("nft", "flush", "ruleset")
            assert not reaches(network.attacker, host.ipv4)
        finally:
            host.run("sysctl", "-q", "-w", f"net.core.optmem_max={before}")
        load_table(host)
        server.server.wait_events("gate-open", 2)
        server.let_in(host.ipv6)
