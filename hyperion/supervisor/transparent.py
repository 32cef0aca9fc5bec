"""Transparent mode: tund's device, the workers' listeners behind it, and what the one must know of the other.

Knows which address stands for which server, and passes on what changes: a tunnel that came or went, a port that a
worker opened, a process that died. Refuses to know packets (``tund``) and streams (the workers).

Nothing here outlives its process: the device goes with tund, the listeners with their worker.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hyperion import log
from hyperion.errors import CannotCreateError, ChildError, ConfigError, HyperionError, RefusedError
from hyperion.events import DEVICE_DOWN, DEVICE_UP, DIAGNOSTIC
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
from hyperion.supervisor.kind import HOSTS_KEEPER, RULES_KEEPER, TUND, Kind
from hyperion.supervisor.plan import Plan
from hyperion.supervisor.spec import Spec

HELPER = "tund"
HOSTS_HELPER = "hosts"
RULES_HELPER = "rules"

#: Of a worker that has not told yet, or is gone.
NOTHING = Listeners(closed=False, ports=())

#: What tund's exit codes mean when it could not even start.
_REFUSALS: dict[int, type[HyperionError]] = {
    error.exit_code: error for error in (RefusedError, ConfigError, CannotCreateError)
}


@dataclass(slots=True, eq=False)
class _Worker:
    """The worker of one server, as far as it matters here."""

    up: bool = False
    listeners: Listeners = NOTHING


class Transparent:
    """The device of ``plan``, and the servers behind it.

    ``hosts``: a hosts file that is to hold their names. ``entry``: the module that tund is.
    """

    def __init__(self, plan: Plan, hosts: Path | None = None, *, entry: str = "hyperion.tund") -> None:
        self._plan = plan
        self._hosts = hosts
        self._addresses = plan.addresses
        self._entry = entry
        self._crew: Crew | None = None
        self._device: DeviceUp | None = None
        self._workers: dict[str, _Worker] = {}
        # Retired, but still with connections; and where servers were that a reload removed.
        self._leaving: dict[str, list[_Worker]] = {}
        self._former: dict[str, tuple[str, ...]] = {}
        self._fault: Fault | None = None
        self._warned = False  # of a firewall that is in the way
        self._is_ending = False

    @property
    def settings(self) -> DeviceSettings:
        """What the device is to be like."""
        return self._plan.settings

    @property
    def is_real(self) -> bool:
        """Under the servers' real addresses, not under fake ones."""
        return self._plan.mark is not None

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
                config=TundConfig(self._plan.settings),
                kind=TUND,
                heard=self._heard_tund,
                ended=self._tund_ended,
            )
        )
        for keeper in self._keepers():
            crew.add(keeper)

    def employ(self, spec: Spec) -> Spec:
        """``spec`` of a worker that is about to be added: from now on it speaks for its server, and no other."""
        name = spec.name
        self._part_with(name)
        worker = self._workers[name] = _Worker()
        return replace(
            spec,
            heard=lambda message: self._heard_worker(name, worker, message),
            ended=lambda: self._worker_ended(name, worker),
        )

    def check(self, plan: Plan) -> None:
        """Raises ``ConfigError`` if ``plan`` wants another device: tund gave up the right to change it."""
        if (plan.settings, plan.rule) != (self._plan.settings, self._plan.rule):
            message = "[tun] and addresses outside its subnet are fixed while the client runs"
            raise ConfigError(message, hint="restart it")

    def retarget(self, plan: Plan) -> None:
        """A reload: servers came, went, or have other addresses."""
        before, self._addresses = self._addresses, plan.addresses
        used = {address for addresses in plan.addresses.values() for address in addresses}
        for name, addresses in {**before, **self._former}.items():
            if name not in plan.addresses:
                self._former[name] = tuple(address for address in addresses if address not in used)
                self._part_with(name)
                self._show_former(name)
            else:
                self._former.pop(name, None)
        for name in self._addresses:
            self._show(name)
        for keeper in self._keepers():
            if self._crew is not None and keeper.name in self._crew.helpers:
                self._crew.update(keeper, keeper.config)

    def turn_away(self) -> None:
        """No new connections any more, from before the workers stop to listen: what becomes of their ports then is not
        ours to say, and the standing connections still need the device."""
        self._is_ending = True
        for name in self._addresses:
            self._show(name)

    def refusal(self, error: ChildError) -> HyperionError:
        """``error`` in tund's own words, if it was tund that could not start."""
        fault = self._fault
        if fault is None or fault.exit_code not in _REFUSALS:
            return error
        return _REFUSALS[fault.exit_code](f"transparent mode: {fault.reason}", hint=fault.hint)

    # --- keepers

    def _keepers(self) -> list[Spec]:
        """Who holds what does not go with the device."""
        keepers = []
        if self._plan.rule is not None:
            keepers.append(self._keeper(RULES_HELPER, "hyperion.tund.rules_keeper", self._plan.rule, RULES_KEEPER))
        if self._hosts is not None:
            pairs = [(name, address) for name, addresses in self._addresses.items() for address in addresses]
            names = tuple((address, known) for name, address in pairs if (known := host_name(name)) is not None)
            order = HostNames(str(self._hosts), names)
            keepers.append(self._keeper(HOSTS_HELPER, "hyperion.tund.hosts_keeper", order, HOSTS_KEEPER))
        return keepers

    def _keeper(self, name: str, entry: str, order: Message, kind: Kind) -> Spec:
        return Spec(
            name=name, process_name=f"hyp-{name}", entry=entry, config=order, kind=kind, heard=self._heard_keeper
        )

    def _heard_keeper(self, message: Message) -> None:
        if isinstance(message, Fault):
            self._fault = message

    # --- tund

    def _heard_tund(self, message: Message) -> None:
        match message:
            case DeviceMade(name=name, addresses=addresses, shortcut=shortcut):
                self._device = DeviceUp(name, addresses)
                fields = {"hyperion.device.name": name, "hyperion.device.addresses": list(addresses)}
                log.event(DEVICE_UP, fields | {"hyperion.device.shortcut": shortcut})
                for server in self._addresses:
                    self._show(server)
                self._tell_workers(self._device)
            case WantListener(name=server, port=port):
                if self._crew is not None and server in self._workers:
                    self._crew.tell(server, WantPort(port))
            case ReflectorCounts(counts=counts):
                self._look_at(counts)
            case Fault():
                self._fault = message
            case _:
                pass

    def _look_at(self, counts: Mapping[str, int]) -> None:
        """Says once in the life of a client what people would otherwise look for in the tunnel."""
        if counts.get("unanswered") and not self._warned and self._device is not None:
            self._warned = True
            message = (
                f"nobody answers connections to fake addresses: this machine's own firewall may drop what comes from "
                f"{self._device.name}; let it in (troubleshooting.md, a fake address does not answer)"
            )
            log.event(DIAGNOSTIC, {"hyperion.device.name": self._device.name}, message=message, level="warning")

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
            up = worker.up and not self._is_ending
            # Of several for one port the last counts, and the others only answer. One that has no other would be led
            # to, as long as new connections are welcome.
            current = {remote for remote, _ in listeners.ports}
            leaving = (pair for pair in self._ports_of_leaving(name) if not up or pair[0] in current)
            self._tell_tund(TargetState(name, addresses, up, listeners.closed, (*leaving, *listeners.ports)))

    def _show_former(self, name: str) -> None:
        """A server that a reload removed is down; its connections go on until its worker has left."""
        ports = self._ports_of_leaving(name)
        if ports and self._former[name]:
            self._tell_tund(TargetState(name, self._former[name], up=False, closed=True, listeners=ports))
        else:
            del self._former[name]
            self._tell_tund(ForgetTarget(name))

    def _part_with(self, name: str) -> None:
        """Its worker drains: nobody new, but its connections stand, and are to hear of their end."""
        worker = self._workers.pop(name, None)
        if worker is not None and worker.listeners.ports:
            self._leaving.setdefault(name, []).append(worker)

    def _ports_of_leaving(self, name: str) -> tuple[tuple[int, int], ...]:
        return tuple(pair for worker in self._leaving.get(name, ()) for pair in worker.listeners.ports)

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
        was_leaving = worker in self._leaving.get(name, ())
        if was_leaving:
            self._leaving[name].remove(worker)
        if name in self._former:
            self._show_former(name)
        elif was_leaving or self._workers.get(name) is worker:
            self._show(name)

    def _tell_workers(self, message: Message) -> None:
        if self._crew is not None:
            for name in self._workers:
                self._crew.tell(name, message)
