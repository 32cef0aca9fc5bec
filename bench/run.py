"""One run: all peers up, each repetition of each suite on all of them in turn; then what needs fresh processes."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

from bench import machine, memory, service, start
from bench.bare import BareWorkers
from bench.bulk import TransferError
from bench.child import ChildError
from bench.peers import Peer, Ports, Raw, TwoRelays, stop_all
from bench.plan import Plan, Results, Values
from bench.ssh import AES128_GCM, CHACHA20_POLY1305, SSHD, SshForward
from bench.suites import SUITES, Load, Suite
from bench.targets import HYPERION, RELAY, SSH_AES, SSH_CHACHA
from bench.tunnel import HyperionTunnel, Options

#: Suites beside those of ``bench.suites``: they start processes of their own.
IDLE_STREAMS, CLIENT_WORKERS, WORKER_START = "idle-streams", "client-workers", "worker-start"
SUITE_NAMES = (*(suite.name for suite in SUITES), IDLE_STREAMS, CLIENT_WORKERS, WORKER_START)

#: A peer for work on the worker alone; takes part only when asked for.
BARE = "two bare workers"

#: How to make a peer, given a directory of its own that does not exist yet.
Makers = dict[str, Callable[[Path], Peer]]

#: What a measurement may fail with; anything else is a bug of ours and ends the run.
MEASUREMENT_ERRORS = (ChildError, TransferError, OSError, TimeoutError, BrokenExecutor, LookupError)

Report = Callable[[str], None]


def makers(options: Options) -> Makers:
    """The peers, by name, in the order in which they take turns."""
    return {
        "raw loopback": lambda _directory: Raw(),
        RELAY: lambda _directory: TwoRelays(),
        SSH_CHACHA: lambda directory: SshForward(SSH_CHACHA, CHACHA20_POLY1305, directory),
        SSH_AES: lambda directory: SshForward(SSH_AES, AES128_GCM, directory),
        HYPERION: lambda directory: HyperionTunnel(directory, options, HYPERION),
        BARE: lambda _directory: BareWorkers(log_level=options.log_level),
    }


def missing_programs(peers: Iterable[str]) -> list[str]:
    """Why a peer cannot run here, in words; empty if all can."""
    if not {SSH_CHACHA, SSH_AES} & set(peers):
        return []
    programs = {"ssh": shutil.which("ssh"), "ssh-keygen": shutil.which("ssh-keygen"), "sshd": SSHD.exists()}
    return [
        f"{name} is not installed (Debian: openssh-client, openssh-server)" for name, at in programs.items() if not at
    ]


class Run:
    """Collects the results of one run. ``report`` gets a line for each thing done."""

    def __init__(self, plan: Plan, options: Options, directory: Path, report: Report) -> None:
        self.results = Results(machine.facts(), {**dataclasses.asdict(plan), **dataclasses.asdict(options)})
        self._plan = plan
        self._options = options
        self._directory = directory
        self._report = report
        self._used = 0

    def run(self, suites: Sequence[str], peers: Sequence[str]) -> Results:
        """Measure. Raises ChildError when a peer does not start at all."""
        self.results.settings["load before"] = f"{machine.load_average():.1f}"
        child, ports = service.start()
        with child:
            side_by_side = [suite for suite in SUITES if suite.name in suites]
            if side_by_side:
                self._side_by_side(side_by_side, peers, ports)
            if IDLE_STREAMS in suites:
                self._idle_streams(peers, ports)
            if HYPERION in peers:
                self._hyperion_alone(suites, ports)
        return self.results

    def _side_by_side(self, suites: Sequence[Suite], names: Sequence[str], ports: Ports) -> None:
        peers = [makers(self._options)[name](self._new_directory()) for name in names]
        with contextlib.ExitStack() as stack:
            stack.callback(stop_all, peers)
            for peer in peers:
                peer.start(ports)
            load = stack.enter_context(Load())
            for suite in suites:
                for number in range(self._plan.repetitions):
                    self._report(f"{suite.name} {number + 1}/{self._plan.repetitions}")
                    for peer in peers:
                        self._measure(suite.name, peer.name, partial(suite.measure, self._plan, load, peer))

    def _idle_streams(self, names: Sequence[str], ports: Ports) -> None:
        fresh: Makers = {
            **makers(self._options),
            HYPERION: lambda directory: memory.idle_tunnel(directory, self._plan),
        }
        for number in range(self._plan.memory_repetitions):
            self._report(f"{IDLE_STREAMS} {number + 1}/{self._plan.memory_repetitions}")
            for name in names:
                peer = fresh[name](self._new_directory())
                self._measure(IDLE_STREAMS, name, partial(memory.measure_idle_streams, self._plan, peer, ports))

    def _hyperion_alone(self, suites: Sequence[str], ports: Ports) -> None:
        if CLIENT_WORKERS in suites:
            self._report(CLIENT_WORKERS)
            directory = self._new_directory()
            self._measure(
                CLIENT_WORKERS, HYPERION, partial(memory.measure_client_workers, self._plan, directory, ports)
            )
        if WORKER_START in suites:
            self._report(WORKER_START)
            self._worker_starts(ports)

    def _worker_starts(self, ports: Ports) -> None:
        try:
            for milliseconds in start.measure_worker_starts(self._plan, self._new_directory(), ports):
                self.results.add(HYPERION, {"worker-start": milliseconds})
        except MEASUREMENT_ERRORS as error:
            self._failed(WORKER_START, HYPERION, error)

    def _measure(self, suite: str, peer: str, measure: Callable[[], Values]) -> None:
        try:
            self.results.add(peer, measure())
        except MEASUREMENT_ERRORS as error:
            self._failed(suite, peer, error)

    def _failed(self, suite: str, peer: str, error: BaseException) -> None:
        self.results.failures.append(f"{suite}, {peer}: {type(error).__name__} {error}")
        self._report(self.results.failures[-1])
        for line in getattr(error, "tail", [])[-10:]:
            self._report(f"    {line}")

    def _new_directory(self) -> Path:
        self._used += 1
        return self._directory / str(self._used)
