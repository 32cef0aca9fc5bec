"""Another table of the host drops the tunnel port: the gate works, and lets nobody in. The server says so."""

import time

import pytest

from tests.helpers.netns import Topology
from tests.helpers.special import Special

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]

THEIRS = """
table inet theirs {
    chain input {
        type filter hook input priority 10; policy drop;
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
}
"""


def test_who_knocks_in_vain_is_told(network: Topology, server: Special) -> None:
    host = network.server
    host.run("nft", "-f", "-", input=THEIRS)
    deadline = time.monotonic() + 40
    while not server.server.has_events("knocked-in-vain", 1, within=1.5):
        assert time.monotonic() < deadline, server.server.tail()
        server.knock(network.admin, host.ipv4)
    (told,) = server.server.events("knocked-in-vain")
    assert told["source"]["ip"] == network.admin.ipv4
    gate = server.tell_status()["gate"]
    assert (gate["state"], gate["in_vain"]) == ("ok", 1)
    host.run("nft", "delete", "table", "inet", "theirs")
    status, _ = server.doctor(network.admin, server.client_file(host.ipv4))
    assert status == 0
    assert server.tell_status()["gate"]["in_vain"] == 0
