"""``hyperion-client tun``: transparent mode under the servers' real addresses.

Knows what the options mean for the device. The rest is ``run_client``'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from hyperion.cli.around import refuse_to_cut
from hyperion.cli.run_client import run_client
from hyperion.cli.transparent_mode import check_reverse_path
from hyperion.config import ClientConfig
from hyperion.config.settings import TunSettings
from hyperion.errors import UsageError
from hyperion.supervisor.plan import Plan, real_plan, resolve_servers


@dataclass(frozen=True, slots=True)
class RealMode:
    """What was asked for; ``None``: as the configuration says. ``apply``: routes and rule are set as well."""

    address: str | None = None
    prefix: int | None = None
    mtu: int | None = None
    apply: bool = False

    def plan(self, config: ClientConfig) -> Plan:
        """Looks names up. Raises ``HyperionError``."""
        tun = config.tun
        settings = TunSettings(
            tun.address if self.address is None else IPv4Address(self.address),
            tun.prefix if self.prefix is None else self.prefix,
            tun.mtu if self.mtu is None else self.mtu,
        )
        addresses = resolve_servers(config)
        refuse_to_cut(config.servers, addresses)
        return real_plan(replace(config, tun=settings), addresses, apply=self.apply)


def run_tun(mode: RealMode, given: Mapping[str, Any]) -> int:
    """``given``: the options of ``run`` that it has as well. Raises what ``run_client`` raises."""
    try:
        if mode.address is not None:
            IPv4Address(mode.address)
    except ValueError:
        raise UsageError(f"--tun-addr {mode.address}: expected an IPv4 address") from None
    check_reverse_path()
    return run_client(
        given["config_file"],
        (),
        tun=True,
        hosts=given["hosts_file"] if given["hosts"] else None,
        plan=mode.plan,
        drain_timeout=given["drain_timeout"],
        log_format=given["log_format"],
        log_level=given["log_level"],
        user=given["user"],
    )
