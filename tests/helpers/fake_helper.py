"""A fake helper: ``python -m tests.helpers.fake_helper``, executed as knockd is. It speaks knockd's language.

Becomes ready and says what it found: an ``Admitted`` whose source is JSON. Then it obeys until it is told to stop.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from hyperion.channel import FrameReader, encode
from hyperion.proto.control import Message
from hyperion.proto.control_knockd import Admitted, Fault, KnockdConfig, Ready, Revoke, Stop, SupervisorToKnockd
from hyperion.supervisor.execute import CONTROL_FD


def facts() -> dict[str, object]:
    """What this process was given."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        **{name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb", "SigBlk")},
        "uid": os.geteuid(),
        "descriptors": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
        "stdin": os.readlink("/proc/self/fd/0"),
        "environment": dict(os.environ),
        "path": sys.path[0],
        "group": os.getpgrp() == os.getpid(),
        "pipe": signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN,
    }


def main() -> NoReturn:
    channel = socket.socket(fileno=CONTROL_FD)
    reader = FrameReader(msgspec.msgpack.Decoder(SupervisorToKnockd))

    def say(message: Message) -> None:
        channel.sendall(encode(message))

    while data := channel.recv(65_536):
        for message in reader.receive_data(data):
            match message:
                case KnockdConfig(table="early"):
                    say(Admitted("too early", 1))
                case KnockdConfig(table="refused"):
                    say(Fault("it may not", 77))
                    sys.exit(77)
                case KnockdConfig(table="stillborn"):
                    os.kill(os.getpid(), signal.SIGKILL)
                case KnockdConfig(table="crash"):
                    say(Ready(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
                case KnockdConfig():
                    say(Ready(os.getpid()))
                    say(Admitted(json.dumps(facts()), 1))
                case Revoke(source):
                    say(Admitted(source, 0))
                case Stop():
                    sys.exit(0)
                case _:
                    raise AssertionError(message)
    sys.exit(0)


if __name__ == "__main__":
    main()
