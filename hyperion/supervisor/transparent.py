"""Transparent mode: tund's device, the workers' listeners behind it, and what the one must know of the other.

Knows which address stands for which server, and passes on what changes: a tunnel that came or went, a port that a
worker opened, a process that died. Refuses to know packets (``tund``) and streams (the workers).

Nothing here outlives its process: the device goes with tund, the listeners with their worker.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

from hyperion import log
from hyperion.config import ClientConfig, ServerEntry
from hyperion.config.fake_ipv6 import PREFIX, ipv6_beside
from hyperion.errors import CannotCreateError, ChildError, ConfigError, HyperionError, RefusedError
from hyperion.events import DEVICE_DOWN, DEVICE_UP
from hyperion.hosts import host_name
from hyperion.proto.control import DeviceDown, DeviceUp, Fault, Listeners, Message, Ready, TunnelState, WantPort
from hyperion.proto.control_keeper import HostNames
from hyperion.proto.control_tund import (
    DeviceMade,
    DeviceSettings,
    ForgetTarget,
    ReflectorCounts,
    TargetState,
    TundConfig,
    WantListener,
)
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.kind import HOSTS_KEEPER, TUND
from hyperion.supervisor.spec import Spec

DEVICE_NAME = "hyperion0"
HELPER = "tund"
HOSTS_HELPER = "hosts"

#: Of a worker that has not told yet, or is gone.
NOTHING = Listeners(closed=False, ports=())

#: What tund's exit codes mean when it could not even start.
_REFUSALS: dict[int, type[HyperionError]] = {
    error.exit_code: error for error in (RefusedError, ConfigError, CannotCreateError)
}


@dataclass(slots=True)
class _Worker:
    """The worker of one server, as far as it matters here."""

    up: bool = False
    listeners: Listeners = NOTHING


class Transparent:
    """The device that ``config`` asks for, and the servers behind it.

    ``hosts``: a hosts file that is to hold their names. ``entry``: the module that tund is.
    """

    def __init__(self, config: ClientConfig, hosts: Path | None = None, *, entry: str = "hyperion.tund") -> None:
        self._hosts = hosts
        self.settings = device_settings(config)
        #: Of tund, as last reported.
        self.counts: Mapping[str, int] = {}
        self._addresses = fake_addresses(config)
        self._entry = entry
        self._crew: Crew | None = None
        self._device: DeviceUp | None = None
        self._workers: dict[str, _Worker] = {}
        self._fault: Fault | None = None

    @property
    def is_up(self) -> bool:
        """The device is there."""
        return self._device is not None

    def start(self, crew: Crew) -> None:
        """Starts tund, before the workers."""
        self._crew = crew
        crew.add(
            Spec(
                name=HELPER,
                process_name="hyp-tund",
                entry=self._entry,
                config=TundConfig(self.settings),
                kind=TUND,
                heard=self._heard_tund,
                ended=self._tund_ended,
            )
        )
        if (keeper := self._keeper()) is not None:
            crew.add(keeper)

    def employ(self, spec: Spec) -> Spec:
        """``spec`` of a worker that is about to be added: from now on it speaks for its server, and no other."""
        worker = self._workers[spec.name] = _Worker()
        name = spec.name
        return replace(
            spec,
            heard=lambda message: self._heard_worker(name, worker, message),
            ended=lambda: self._worker_ended(name, worker),
        )

    def check(self, config: ClientConfig) -> None:
        """Raises ``ConfigError`` if ``config`` wants another device: tund gave up the right to change it."""
        if device_settings(config) != self.settings:
            message = "[tun] and addresses outside its subnet are fixed while the client runs"
            raise ConfigError(message, hint="restart it")

    def retarget(self, config: ClientConfig) -> None:
        """A reload: servers came, went, or have other addresses."""
        before, self._addresses = self._addresses, fake_addresses(config)
        for name in before.keys() - self._addresses.keys():
            self._workers.pop(name, None)
            self._tell_tund(ForgetTarget(name))
        for name in self._addresses:
            self._show(name)
        if (keeper := self._keeper()) is not None and self._crew is not None and keeper.name in self._crew.helpers:
            self._crew.update(keeper, keeper.config)

    def refusal(self, error: ChildError) -> HyperionError:
        """``error`` in tund's own words, if it was tund that could not start."""
        fault = self._fault
        if fault is None or fault.exit_code not in _REFUSALS:
            return error
        what, _, hint = fault.reason.removesuffix(")").partition(" (hint: ")
        return _REFUSALS[fault.exit_code](f"transparent mode: {what}", hint=hint or None)

    # --- names

    def _keeper(self) -> Spec | None:
        if self._hosts is None:
            return None
        pairs = [(name, address) for name, addresses in self._addresses.items() for address in addresses]
        names = tuple((address, known) for name, address in pairs if (known := host_name(name)) is not None)
        return Spec(
            name=HOSTS_HELPER,
            process_name="hyp-hosts",
            entry="hyperion.tund.hosts_keeper",
            config=HostNames(str(self._hosts), names),
            kind=HOSTS_KEEPER,
            heard=self._heard_keeper,
        )

    def _heard_keeper(self, message: Message) -> None:
        if isinstance(message, Fault):
            self._fault = message

    # --- tund

    def _heard_tund(self, message: Message) -> None:
        match message:
            case DeviceMade(name=name, addresses=addresses):
                self._device = DeviceUp(name, addresses)
                log.event(DEVICE_UP, {"hyperion.device.name": name, "hyperion.device.addresses": list(addresses)})
                for server in self._addresses:
                    self._show(server)
                self._tell_workers(self._device)
            case WantListener(name=server, port=port):
                if self._crew is not None and server in self._workers:
                    self._crew.tell(server, WantPort(port))
            case ReflectorCounts(counts=counts):
                self.counts = counts
            case Fault():
                self._fault = message
            case _:
                pass

    def _tund_ended(self) -> None:
        if self._device is not None:
            log.event(DEVICE_DOWN, {"hyperion.device.name": self._device.name})
        self._device = None
        self._tell_workers(DeviceDown())

    def _tell_tund(self, message: Message) -> None:
        if self._crew is not None and self._device is not None:
            self._crew.tell_helper(HELPER, message)

    def _show(self, name: str) -> None:
        """All that is known of a server, to tund."""
        worker = self._workers.get(name, _Worker())
        addresses = self._addresses.get(name)
        if addresses is not None:
            listeners = worker.listeners
            self._tell_tund(TargetState(name, addresses, worker.up, listeners.closed, listeners.ports))

    # --- workers

    def _heard_worker(self, name: str, worker: _Worker, message: Message) -> None:
        if self._workers.get(name) is not worker:  # it is leaving, and its successor speaks for the name
            return
        match message:
            case Ready():
                if self._crew is not None and self._device is not None:
                    self._crew.tell(name, self._device)
            case TunnelState(up=up):
                if worker.up is (up > 0):
                    return
                worker.up = up > 0
            case Listeners():
                worker.listeners = message
            case _:
                return
        self._show(name)

    def _worker_ended(self, name: str, worker: _Worker) -> None:
        worker.up, worker.listeners = False, NOTHING
        if self._workers.get(name) is worker:
            self._show(name)

    def _tell_workers(self, message: Message) -> None:
        if self._crew is not None:
            for name in self._workers:
                self._crew.tell(name, message)


def fake_addresses(config: ClientConfig) -> dict[str, tuple[str, ...]]:
    """By which addresses each server is known to applications."""
    return {server.name: _both(server) for server in config.servers}


def _both(server: ServerEntry) -> tuple[str, str]:
    return str(server.virtual_ip), str(ipv6_beside(server.virtual_ip))


def device_settings(config: ClientConfig) -> DeviceSettings:
    """The device for fake addresses: its subnets, and a route for each address that lies outside of them."""
    tun = config.tun
    subnet = IPv4Network((tun.address, tun.prefix), strict=False)
    outside = [f"{server.virtual_ip}/32" for server in config.servers if server.virtual_ip not in subnet]
    return DeviceSettings(
        name=DEVICE_NAME,
        ipv4=f"{tun.address}/{tun.prefix}",
        ipv6=f"{ipv6_beside(tun.address)}/{PREFIX.prefixlen}",
        mtu=tun.mtu,
        routes=tuple(sorted(outside)),
    )
