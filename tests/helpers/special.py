"""A server with its gate that differs in something from the usual one: its firewall section, its start, its options."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.helpers.gate import connect
from tests.helpers.gated import Whole
from tests.helpers.netns import Topology
from tests.helpers.waiting import until


class Special(Whole):
    """With more lines in ``[firewall]``, another start, other options."""

    def __init__(
        self,
        network: Topology,
        directory: Path,
        *,
        more: Sequence[str] = (),
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
        ttl: int = 20,
        one_shot: bool = False,
    ) -> None:
        self.more, self.prefix, self.options = more, tuple(prefix), tuple(options)
        super().__init__(network, directory, ttl=ttl, one_shot=one_shot)

    def _gate_lines(self, ttl: int, *, one_shot: bool) -> list[str]:
        return [*super()._gate_lines(ttl, one_shot=one_shot), *self.more]

    def let_in(self, address: str) -> None:
        """The attacker's machine is an honest admin's for once: it knocks until it is let in."""
        host = self.network.attacker

        def came_in() -> bool:
            self.knock(host, address)
            try:
                connect(host, address, timeout=0.15).close()  # soon, for who measures
            except TimeoutError:
                return False
            return True

        until(came_in, 10)

    def tell_status(self) -> dict[str, Any]:
        """What ``hyperion-server status --json`` says."""
        command = [str(Path(sys.executable).with_name("hyperion-server")), "status", "--json"]
        text = self.network.server.run(
            "env", f"HYPERION_HOME={self.directory}", *command, "-c", str(self.directory / "server.toml"), check=False
        )
        found: dict[str, Any] = json.loads(text)
        return found
