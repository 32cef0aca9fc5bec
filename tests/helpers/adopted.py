"""The operator's step, for tests: the gate's table is loaded, and a firewall has adopted it."""

import time
from collections.abc import Callable

from hyperion.firewall.nft import Backend
from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.knockd.firewall import Firewall, Outcome


def adopted(backend: Backend, rules: Ruleset, clock: Callable[[], float] = time.monotonic) -> Firewall:
    """Of a table that was just loaded."""
    backend.load(ruleset_text(rules))
    firewall = Firewall(backend, rules, clock=clock)
    assert firewall.ensure() is Outcome.ADOPTED
    return firewall
