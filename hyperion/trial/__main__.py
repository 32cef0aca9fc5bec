"""``python -m hyperion.trial DESCRIPTOR``: started by ``apply-firewall``, which it must outlive.

Knows what ends a trial from outside: the command's end of file, and SIGTERM, which is what a session's end or a service
manager sends; both mean "undo", at once. It has no terminal and wants none, and it says its outcome to the system's
log, because there may be nobody left who listens.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from hyperion import loop
from hyperion.channel import Channel, ChannelError
from hyperion.errors import HyperionError
from hyperion.firewall.nft_program import NftProgram
from hyperion.privileges import set_process_name
from hyperion.proto.control import Message
from hyperion.proto.trial import Abandon, CommandToTrial, Committed, Failed, Order, RolledBack
from hyperion.trial.desk import Desk
from hyperion.trial.guardian import Guardian
from hyperion.trial.record import RecordFile
from hyperion.trial.server import ServerWitness

try:
    import syslog
except ImportError:  # Windows, where there is no nftables either
    syslog = None  # type: ignore[assignment]

Control = Channel[CommandToTrial]


def main(arguments: list[str]) -> int:
    """Returns 0 whatever the trial's outcome: that is in the last message."""
    set_process_name("hyp-trial")
    # A Ctrl-C and a hang-up are the command's business; we hear of its end.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)  # not for an nft that we start
    return loop.run(lambda: _live(control), loop="asyncio")


async def _live(control: socket.socket) -> int:
    channel: Control = await Channel.open(control, msgspec.msgpack.Decoder(CommandToTrial))
    try:
        order = await channel.receive()
    except ChannelError:
        order = None
    if isinstance(order, Order):
        try:
            await _serve(channel, order)
        except HyperionError as error:
            channel.send(Failed(error.message, error.hint, error.exit_code))
    channel.close()
    return 0


async def _serve(channel: Control, order: Order) -> None:
    file = RecordFile(Path(order.directory))
    with file.locked():
        guardian = Guardian(order, NftProgram(), ServerWitness(Path(order.server_directory)), file, _teller(channel))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, guardian.end, "killed")
        desk = Desk(file.confirm_socket, guardian.confirm)
        desk.open()
        watching = asyncio.create_task(_watch(channel, guardian))
        try:
            await guardian.run()
        finally:
            watching.cancel()
            desk.close()


async def _watch(channel: Control, guardian: Guardian) -> None:
    """Whatever comes now is the end, also a bug."""
    reason = "command-gone"
    try:
        if isinstance(await channel.receive(), Abandon):
            reason = "abandoned"
    except ChannelError:
        pass
    finally:
        guardian.end(reason)


def _teller(channel: Control) -> Callable[[Message], None]:
    """Tells the command, if it is still there, and the system's log."""
    if syslog is not None:
        syslog.openlog("hyperion-server")

    def tell(message: Message) -> None:
        with contextlib.suppress(ChannelError):
            channel.send(message)
        line = _line(message)
        if syslog is not None and line is not None:
            syslog.syslog(syslog.LOG_NOTICE, line)

    return tell


def _line(message: Message) -> str | None:
    match message:
        case Committed():
            return f"firewall committed: proven by a {message.by} from {message.source}"
        case RolledBack(exact=True):
            return f"firewall rolled back: {message.reason}"
        case RolledBack():
            return f"firewall could not be rolled back ({message.reason}): {message.detail}"
        case _:
            return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
