"""``python -m hyperion.tund``: started by the supervisor, with the control socket as descriptor 3.

Two interpreters, one after the other, in one process. The first has CAP_NET_ADMIN and all the code that needs it: it
hears the configuration, makes the device and the shortcut through the kernel (where that is to be had), gives up every
right, and executes the second, which has neither and only turns packets round (``pump``). That also gives back the
15 MB of the code that talks to the kernel about routes.

Knows the order of these steps. Whichever way it ends, nothing is undone: the kernel removes the device with the
process.
"""

import os
import signal
import socket
import sys

import msgspec

from hyperion.errors import HyperionError
from hyperion.framing import LENGTH, encode
from hyperion.privileges import harden_worker, set_process_name
from hyperion.proto.control import MAX_MESSAGE_BYTES
from hyperion.proto.control_tund import DeviceSettings, Fault, TundConfig
from hyperion.tund import shortcut
from hyperion.tund.device import attach, check_free, configure, open_device
from hyperion.tund.orphans import break_connections

CONTROL_FD = 3
EXIT_OK = 0
EXIT_BUG = 70

PROCESS_NAME = "hyp-tund"


def main() -> None:
    """Never returns."""
    set_process_name(PROCESS_NAME)
    # The supervisor says when to stop; a Ctrl-C on its terminal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=CONTROL_FD) as control:
        try:
            config = _first_message(control)
            if config is None:
                sys.exit(EXIT_OK)
            device, ipv6 = _set_up(config)
            table = _make_shortcut(config.device, ipv6=ipv6)
            harden_worker()
        except HyperionError as error:
            control.sendall(encode(Fault(error.message, error.exit_code, error.hint)))
            sys.exit(error.exit_code)
        except (msgspec.DecodeError, ValueError, OSError) as error:
            control.sendall(encode(Fault(f"the device cannot be set up: {type(error).__name__}", EXIT_BUG)))
            sys.exit(EXIT_BUG)
        _become_pump(control, device, table, config.device, ipv6=ipv6)


def _first_message(control: socket.socket) -> TundConfig | None:
    """Not a byte more than it: what comes after is the second interpreter's."""
    control.setblocking(True)
    head = control.recv(LENGTH.size, socket.MSG_WAITALL)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(length)
    return msgspec.msgpack.decode(control.recv(length, socket.MSG_WAITALL), type=TundConfig)


def _set_up(config: TundConfig) -> tuple[int, bool]:
    if config.exclusive:
        check_free(config.device)
    device = open_device(config.device)
    break_connections([address for address in _own_texts(config.device) if address])  # of a device before this one
    return device, configure(config.device)


def _make_shortcut(settings: DeviceSettings, *, ipv6: bool) -> int | None:
    """The descriptor of its map. ``None``, and all packets take the long way: the kernel has no such thing for us.

    A device without offload has none either: there, every packet is to be seen as a wire would carry it.
    """
    if not settings.offload:
        return None
    ipv4_text, ipv6_text = _own_texts(settings, ipv6=ipv6)
    packed6 = socket.inet_pton(socket.AF_INET6, ipv6_text) if ipv6_text else None
    try:
        table, program = shortcut.make(socket.inet_pton(socket.AF_INET, ipv4_text), packed6)
        try:
            attach(settings.name, program)
        finally:
            os.close(program)  # the device has it
    except OSError:
        return None
    return table


def _own_texts(settings: DeviceSettings, *, ipv6: bool = True) -> tuple[str, str]:
    """The device's addresses, without their prefixes; empty: it has none of that kind."""
    ipv4, six = (text.partition("/")[0] for text in (settings.ipv4, settings.ipv6 or ""))
    return ipv4, six if ipv6 else ""


def _become_pump(
    control: socket.socket, device: int, table: int | None, settings: DeviceSettings, *, ipv6: bool
) -> None:
    inherited = [control.fileno(), device, *([] if table is None else [table])]
    for descriptor in inherited:
        os.set_inheritable(descriptor, True)
    words = [str(device), "" if table is None else str(table), settings.name, *_own_texts(settings, ipv6=ipv6)]
    # -I, as we were started: neither the environment nor the current directory decides which code runs.
    os.execv(sys.executable, [sys.executable, "-I", "-m", "hyperion.tund.second", *words])  # noqa: S606 - no shell: meant


if __name__ == "__main__":
    main()
