"""Named sets and maps that an operator keeps in the gate's table, in a real kernel, by both ways to nftables."""

import pytest

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.knockd.firewall import Firewall, Outcome
from tests.helpers.gate import TUNNEL_PORT, Inside, gets_in, service
from tests.helpers.netns import Topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.usefixtures("listening")]
RULES = Ruleset(TUNNEL_PORT)


def test_the_operators_sets_come_back_with_what_is_in_them(network: Topology, backend: Inside) -> None:
    backend.load(
        ruleset_text(RULES)
        + f"""table inet hyperion {{
            set trusted {{
                type ipv4_addr; flags interval, timeout; elements = {{ {network.admin.ipv4} comment "a, b }}" }}
            }}
            map ports {{ type inet_service : verdict; elements = {{ 22 : accept }}; }}
            set counted {{ type ipv4_addr; counter; elements = {{ 192.0.2.1 }}; }}
        }}
        insert rule inet hyperion input ip saddr @trusted tcp dport 2222 accept
        insert rule inet hyperion input tcp dport vmap @ports
        """
    )
    # On a busy machine a look at the sets takes long, and the next one may rest: not by this clock.
    firewall = Firewall(backend, RULES, clock=lambda: 0.0)
    assert firewall.ensure() is Outcome.ADOPTED
    backend.load("add element inet hyperion trusted { 198.51.100.0/24, 203.0.113.1 timeout 1h }")
    assert firewall.ensure() is Outcome.KEPT
    firewall.admit(network.admin.ipv4, 30)
    with service(network.server, 2_222):
        for change, outcome in (
            ("add rule inet hyperion input tcp dport 9 drop", Outcome.RESTORED_EDITED),
            ("flush ruleset", Outcome.RESTORED_DELETED),
        ):
            backend.load(change)
            assert firewall.ensure() is outcome
            trusted = backend.list_whole("set", "inet", "hyperion", "trusted")
            # What has a time is not the table's: who put it there will do so again.
            assert ("198.51.100.0/24" in trusted, "203.0.113.1" in trusted) == (True, False)
            assert "22 : accept" in backend.list_whole("map", "inet", "hyperion", "ports")
            assert "192.0.2.1" in backend.list_whole("set", "inet", "hyperion", "counted")
            assert gets_in(network.admin, network.server.ipv4, 2_222)
            assert not gets_in(network.attacker, network.server.ipv4, 2_222)
            assert firewall.ensure() is Outcome.KEPT
    backend.load(f"add element inet hyperion ports {{ {TUNNEL_PORT} : accept }}")
    assert gets_in(network.attacker, network.server.ipv4)
    assert firewall.ensure() is Outcome.RESTORED_EDITED
    assert not gets_in(network.attacker, network.server.ipv4)
    assert set(firewall.grants()) == {network.admin.ipv4}
