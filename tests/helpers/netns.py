"""Hosts and wires made of network namespaces, for tests that need a network to abuse. Needs root and ``ip``.

``topology()`` gives four hosts: admin, server and attacker, each on a wire of its own to a router that forwards IPv4
and IPv6; names handed to it are further hosts of that kind. Nothing outside the namespaces changes, and they go away
with the ``with`` block; what a killed run left behind goes at the start of the next one.
"""

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.helpers.programs import find_program

Result = TypeVar("Result")

PREFIX = "hyp-"
NAMES = Path("/run/netns")
CLONE_NEWNET = 0x4000_0000
COMMAND_SECONDS = 30.0

_numbers = itertools.count()


@dataclass
class Host:
    """One network namespace. ``ipv4`` and ``ipv6`` are its addresses on its wire, which it calls ``eth0``."""

    role: str
    name: str
    ipv4: str = ""
    ipv6: str = ""
    _children: list[subprocess.Popen[Any]] = field(default_factory=list)

    def run(self, *command: str, check: bool = True, input: str | None = None) -> str:
        """Run a command in here to its end; its standard output."""
        done = subprocess.run(
            self.command(*command), capture_output=True, text=True, timeout=COMMAND_SECONDS, input=input
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}: {done.stderr}")
        return done.stdout

    def command(self, *command: str) -> list[str]:
        """``command`` as an argument vector that runs in here; for ``subprocess`` and asyncio's."""
        return [_ip_program(), "netns", "exec", self.name, *command]

    def popen(self, *command: str, **options: Any) -> "subprocess.Popen[Any]":
        """Start a command in here. It is killed, at the latest, when the host goes."""
        child = subprocess.Popen(self.command(*command), **options)
        self._children.append(child)
        return child

    def call(self, function: Callable[[], Result]) -> Result:
        """Run a function of this process in here, in a thread of its own; sockets that it makes stay in here."""
        outcome: list[Result] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                _enter(self.name)
                outcome.append(function())
            except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
                failure.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in here."""
        return self.call(lambda: socket.socket(family, kind, protocol))

    def ip(self, *arguments: str) -> str:
        """``ip ...`` in here."""
        return _ip("-n", self.name, *arguments)

    def delete(self) -> None:
        """Kill what runs in here and take it away. Idempotent."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait(COMMAND_SECONDS)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        self._children.clear()
        if (NAMES / self.name).exists():
            # Also what a program left behind whose own helper forgot it: it would knock on, into no network, for ever.
            for pid in map(int, _ip("netns", "pids", self.name).split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _ip("netns", "delete", self.name)


@dataclass
class Topology:
    """Three hosts around a router, and ``others``."""

    admin: Host
    server: Host
    attacker: Host
    router: Host
    others: tuple[Host, ...] = ()

    def wire(self, host: Host) -> None:
        """Lay the wire from ``host`` to the router (again, after it was cut), with addresses and routes."""
        number = self.leaves.index(host) + 1
        host.ipv4, host.ipv6 = f"10.77.{number}.2", f"fd77:{number}::2"
        router4, router6 = f"10.77.{number}.1", f"fd77:{number}::1"
        port = f"to-{host.role}"
        _ip("link", "add", "eth0", "netns", host.name, "type", "veth", "peer", port, "netns", self.router.name)
        self._address(self.router, port, router4, router6)
        self._address(host, "eth0", host.ipv4, host.ipv6)
        _batch(host, f"route add default via {router4}", f"route add ::/0 via {router6}")

    def cut(self, host: Host) -> None:
        """Delete the wire of ``host``: its interface is gone."""
        host.ip("link", "delete", "eth0")

    @property
    def leaves(self) -> tuple[Host, ...]:
        """All but the router."""
        return self.admin, self.server, self.attacker, *self.others

    @staticmethod
    def _address(host: Host, link: str, ipv4: str, ipv6: str) -> None:
        # nodad: the address works at once, instead of after a second in which a neighbour might object.
        _batch(
            host,
            f"address add {ipv4}/24 dev {link}",
            f"address add {ipv6}/64 dev {link} nodad",
            f"link set {link} up",
        )


@contextlib.contextmanager
def topology(*others: str) -> Iterator[Topology]:
    """Four hosts and one for each name (8 letters at most), wired, for the length of the ``with`` block."""
    _sweep()
    stem = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
    hosts = [Host(role, f"{stem}-{role}") for role in ("admin", "server", "attacker", "router", *others)]
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
            _batch(host, "link set lo up")
        admin, server, attacker, router, *more = hosts
        network = Topology(admin, server, attacker, router, tuple(more))
        settings = [
            f"net.ipv{version}.conf.default.{name}" for version, name in ((6, "accept_dad=0"), (6, "autoconf=0"))
        ]
        network.router.run("sysctl", "-q", "-w", *settings, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for host in network.leaves:
            network.wire(host)
        yield network
    finally:
        for host in hosts:
            host.delete()


@contextlib.contextmanager
def alone() -> Iterator[Host]:
    """One host without any wire, for the length of the ``with`` block."""
    _sweep()
    host = Host("alone", f"{PREFIX}{os.getpid()}-{next(_numbers)}-alone")
    try:
        _ip("netns", "add", host.name)
        _batch(host, "link set lo up")
        # An address works at once, and its route is there at once.
        host.run("sysctl", "-q", "-w", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        yield host
    finally:
        host.delete()


@contextlib.contextmanager
def inside(host: Host) -> Iterator[None]:
    """This thread, and what it starts, is in there for the length of the block."""
    with open("/proc/thread-self/ns/net", "rb") as home:
        _enter(host.name)
        try:
            yield
        finally:
            _set_namespace(home.fileno())


def _sweep() -> None:
    """Namespaces of test runs that are dead."""
    if not NAMES.exists():
        return
    for path in NAMES.glob(f"{PREFIX}*-*"):
        owner = path.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            # Another run may sweep at the same time.
            subprocess.run([_ip_program(), "netns", "delete", path.name], capture_output=True, timeout=COMMAND_SECONDS)


def _enter(name: str) -> None:
    """Move the calling thread into a namespace."""
    with open(NAMES / name, "rb") as handle:
        _set_namespace(handle.fileno())


def _set_namespace(descriptor: int) -> None:
    """``os.setns`` came with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _batch(host: Host, *lines: str) -> None:
    """Several ``ip`` commands in one process."""
    _ip("-n", host.name, "-batch", "-", input="\n".join(lines))


def _ip(*arguments: str, input: str | None = None) -> str:
    done = subprocess.run(
        [_ip_program(), *arguments], capture_output=True, text=True, timeout=COMMAND_SECONDS, input=input
    )
    if done.returncode:
        raise AssertionError(f"ip {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def _ip_program() -> str:
    program = find_program("ip")
    assert program is not None, "needs ip"
    return program
