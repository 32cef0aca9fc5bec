"""``python -m hyperion.knockd``: started by the supervisor, with the control socket as descriptor 3.

Knows the order of a life: hear the configuration, open the packet sockets, give up every right but one, take over the
replay memory, say ready, work until told to stop or until the supervisor is gone. Whichever way it ends, nothing is
undone: grants end by themselves, and the table that stays keeps everybody else out.
"""

import asyncio
import errno
import os
import signal
import socket
import time
from collections.abc import Callable

import msgspec

from hyperion import log, loop
from hyperion.channel import Channel, ChannelError
from hyperion.errors import HyperionError, RefusedError, TemporaryError
from hyperion.events import DIAGNOSTIC, INTERNAL_ERROR
from hyperion.firewall.backend import open_backend
from hyperion.firewall.ruleset import Ruleset
from hyperion.knockd.capture import CaptureSocket, open_capture
from hyperion.knockd.door import Door
from hyperion.knockd.firewall import Firewall
from hyperion.knockd.guard import Guard
from hyperion.knockd.late_backend import LateBackend
from hyperion.knockd.overdue import Overdue
from hyperion.knockd.replay_file import ReplayFile
from hyperion.knockd.rights import keep_only_net_admin
from hyperion.knockd.server import Knockd, check
from hyperion.knockd.watch import TableWatch
from hyperion.privileges import set_process_name
from hyperion.proto.control_knockd import (
    KNOCKD_PULSE_SECONDS,
    Fault,
    Held,
    Hold,
    InheritedTable,
    KnockdConfig,
    KnockdToSupervisor,
    Pulse,
    Ready,
    Revoke,
    Stop,
    SupervisorToKnockd,
)

CONTROL_FD = 3
EXIT_OK = 0
EXIT_BUG = 70

Control = Channel[SupervisorToKnockd]


def main() -> None:
    """Never returns."""
    set_process_name("hyp-knockd")
    # The supervisor says when to stop; a Ctrl-C on its terminal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # No uvloop: one library less beside the right to change the firewall, and nothing here would be faster for it.
    loop.run(_live, loop="asyncio")


async def _live() -> None:
    control = socket.socket(fileno=CONTROL_FD)
    control.set_inheritable(False)  # not for an nft that we start
    channel: Control = await Channel.open(control, msgspec.msgpack.Decoder(SupervisorToKnockd))
    code = await _serve(channel)
    channel.close()
    log.close()
    # Not a return: Python would wait for a thread in which nftables may hang.
    os._exit(code)


async def _serve(channel: Control) -> int:
    try:
        config = await channel.receive()
        if not isinstance(config, KnockdConfig):
            return EXIT_OK if config is None else EXIT_BUG
        return await _work(channel, config)
    except ChannelError as error:
        log.event(INTERNAL_ERROR, log.error_fields(error))
        return EXIT_BUG
    except HyperionError as error:
        channel.send(Fault(error.message, error.exit_code, error.hint))
        return error.exit_code


async def _work(channel: Control, config: KnockdConfig) -> int:
    check(config)
    rules = Ruleset(config.tunnel_port, table=config.table, set=config.set, one_shot=config.one_shot)
    captures = _open(config)
    # After this there may be threads: each has the rights of the one that started it.
    log.configure(
        "hyperion-server", format=config.log.format, level=config.log.level, worker="knockd", path=config.log.path
    )
    backend = LateBackend(open_backend)
    firewall = Firewall(backend, rules)
    knockd = Knockd(config, firewall, ReplayFile(config.replay_path), _sender(channel))
    await knockd.remember()
    watch = _watch(rules.table)
    guard = Guard(firewall, watch, knockd.on_table, _sender(channel), successor=config.successor)
    channel.send(Ready(pid=os.getpid()))
    tasks = [
        asyncio.create_task(_obey(channel, knockd, guard)),
        asyncio.create_task(knockd.run(captures)),
        asyncio.create_task(guard.run()),
        asyncio.create_task(Overdue(backend, knockd.on_overdue).run()),
        asyncio.create_task(_beat(channel)),
    ]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    codes = [result for task in done if type(result := task.result()) is int]
    return max(codes, default=EXIT_BUG)


async def _obey(channel: Control, knockd: Knockd, guard: Guard) -> int:
    """Until told to stop, or the supervisor is gone, or says what may not be said now."""
    holds: set[asyncio.Task[None]] = set()
    while (message := await channel.receive()) is not None:
        if isinstance(message, Revoke):
            knockd.door.revoke(message.source)
        elif isinstance(message, InheritedTable):
            guard.follow(message)
        elif isinstance(message, Hold):
            # A task: nftables may hang, and orders are heard all the same.
            task = asyncio.create_task(_hold(channel, guard, knockd.door, message.seconds))
            holds.add(task)
            task.add_done_callback(holds.discard)
        else:
            return EXIT_OK if isinstance(message, Stop) else EXIT_BUG
    return EXIT_OK


async def _hold(channel: Control, guard: Guard, door: Door, seconds: float) -> None:
    await guard.hold(seconds)
    # Whoever tries new rules waits for a knock that went through them.
    door.doubt(time.monotonic())
    _sender(channel)(Held())


async def _beat(channel: Control) -> None:
    send = _sender(channel)
    while True:
        await asyncio.sleep(KNOCKD_PULSE_SECONDS)
        send(Pulse())


def _open(config: KnockdConfig) -> tuple[CaptureSocket, CaptureSocket]:
    """The packet sockets; with them the right to make more of them goes."""
    try:
        captures = open_capture(config.knock_port)
    except OSError as error:
        raise _no_rights(error, "packets cannot be captured", "CAP_NET_RAW and CAP_NET_ADMIN") from None
    try:
        keep_only_net_admin()
    except OSError as error:
        raise _no_rights(error, "the firewall cannot be changed", "CAP_NET_ADMIN") from None
    return captures


def _no_rights(error: OSError, what: str, needed: str) -> HyperionError:
    """Nobody will get more rights, but memory (ENOMEM, ENOBUFS) or descriptors there may be again."""
    message = f"{what}: {error.strerror}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return RefusedError(message, hint=f"knockd needs {needed}")
    return TemporaryError(message, hint="it is tried again")


def _watch(table: str) -> TableWatch | None:
    """Without it the guard looks every few seconds."""
    try:
        return TableWatch(table)
    except OSError as error:
        log.event(DIAGNOSTIC, log.error_fields(error), message="changes of the firewall are not heard", level="warning")
        return None


def _sender(channel: Control) -> Callable[[KnockdToSupervisor], None]:
    """A supervisor that reads nothing for a mebibyte is as good as gone, and we with it."""

    def send(message: KnockdToSupervisor) -> None:
        try:
            channel.send(message)
        except ChannelError:
            channel.abort()

    return send


if __name__ == "__main__":
    main()
