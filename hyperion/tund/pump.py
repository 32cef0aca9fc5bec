"""The loop of tund: packets from the device through the reflector and back, and the supervisor's word in between.

Knows descriptors, time, and what is told to whom. Holds no right: it runs in a fresh interpreter that was started after
they were given up, which also has none of the code that needed them. No asyncio: there are two descriptors, and one of
them wants all the time there is.
"""

import errno
import os
import select
import socket
from time import monotonic

import msgspec

from hyperion.framing import FrameReader, encode
from hyperion.proto.control import Message
from hyperion.proto.control_tund import (
    Fault,
    ForgetTarget,
    ReflectorCounts,
    Stop,
    SupervisorToTund,
    TargetState,
    WantListener,
)
from hyperion.tund.mapping import Target
from hyperion.tund.reflect import MAX_FRAME_BYTES, Reflector
from hyperion.tund.shortcut import Shortcut

#: Packets in a row before the supervisor is listened to.
BURST = 256
#: Seconds between two reports of the counters.
REPORT_INTERVAL = 5.0
#: Seconds that a first SYN waits for a worker to listen. Then it is reset: no application waits for longer.
HOLD_SECONDS = 0.8
#: Seconds that packets still go round when the supervisor is gone: the workers go at the same time, and the resets of
#: their sockets must find home, or the applications would wait for ever. Nobody new gets in.
LAST_WORDS_SECONDS = 0.5
#: What may wait for a supervisor that does not read; further words are lost. The reports repeat themselves.
MAX_UNSENT_BYTES = 64 * 1024
#: Milliseconds without a packet until the clock is looked at: while somebody waits, and while nobody does.
HASTE, LEISURE = 50, 1_000

EXIT_OK = 0
EXIT_BUG = 70


class Pump:
    """``run`` returns the exit code. ``device`` does not block; ``control`` is connected to the supervisor.

    ``shortcut`` is told what the reflector knows.
    """

    def __init__(
        self, device: int, control: socket.socket, ipv4: bytes | None, ipv6: bytes | None, shortcut: Shortcut
    ) -> None:
        self._device = device
        self._control = control
        self._shortcut = shortcut
        self._targets: dict[bytes, Target] = {}
        self._names: dict[str, Target] = {}
        self._reflector = Reflector(ipv4, ipv6, self._targets)
        self._reader = FrameReader(msgspec.msgpack.Decoder(SupervisorToTund))
        self._frame = bytearray(MAX_FRAME_BYTES)
        self._view = memoryview(self._frame)
        self._awaited: dict[tuple[str, int], float] = {}
        self._report_at = 0.0
        self._due = 0.0  # something is due then, or later
        self._refused = 0
        self._unsent = bytearray()
        self._poll = select.poll()
        self._ends_at: float | None = None  # the supervisor is gone
        self._code: int | None = None

    def run(self) -> int:
        """Until told to stop, or the supervisor has been gone for ``LAST_WORDS_SECONDS``, or the device is gone."""
        self._control.setblocking(False)
        # In this order: what the supervisor said before an application acted holds for what it did.
        self._poll.register(self._control.fileno(), select.POLLIN)
        self._poll.register(self._device, select.POLLIN)
        while self._code is None:
            hurried = self._awaited or self._unsent or self._ends_at is not None
            for descriptor, _ in self._poll.poll(HASTE if hurried else LEISURE):
                if descriptor == self._device:
                    self._turn_packets()
                else:
                    self._hear()
            now = monotonic()
            if now >= self._due:
                self._tick(now)
        return self._code

    # --- packets

    def _turn_packets(self) -> None:
        reflect, frame, view, device = self._reflector.reflect, self._frame, self._view, self._device
        buffers = [frame]
        try:
            for _ in range(BURST):
                size = reflect(frame, os.readv(device, buffers))
                if size:
                    self._write(view[:size])
        except BlockingIOError:
            pass
        except OSError as error:  # somebody deleted the device
            self._fail(f"the device is gone: {error.strerror}")
        if self._reflector.wanted:
            self._ask_for_listeners()

    def _write(self, packet: memoryview | bytes) -> None:
        try:
            os.write(self._device, packet)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise
            self._refused += 1  # the device is down, or the kernel has no room: TCP sends again

    def _ask_for_listeners(self) -> None:
        until = monotonic() + HOLD_SECONDS
        for name, port in self._reflector.wanted:
            self._awaited[name, port] = until
            self._due = min(self._due, until)
            self._say(WantListener(name, port))
        self._reflector.wanted.clear()

    # --- the supervisor

    def _hear(self) -> None:
        try:
            data = self._control.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._supervisor_is_gone()
            return
        for message in self._reader.receive_data(data):
            try:
                self._obey(message)
            except OSError as error:  # somebody deleted the device, or the shortcut's map takes no changes any more
                self._fail(f"packets cannot be turned any more: {error.strerror}")
        if self._reader.error is not None:
            self._code = EXIT_BUG

    def _obey(self, message: Message) -> None:
        match message:
            case TargetState():
                self._set(message)
            case ForgetTarget(name=name):
                self._forget(name)
            case Stop():
                self._code = EXIT_OK
            case _:
                self._code = EXIT_BUG

    def _set(self, state: TargetState) -> None:
        target = self._names.setdefault(state.name, Target(state.name))
        for address in [address for address, known in self._targets.items() if known is target]:
            del self._targets[address]
        addresses = [
            socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in state.addresses
        ]
        self._targets.update(dict.fromkeys(addresses, target))
        target.up = state.up
        target.set_listeners(state.listeners, closed=state.closed)
        self._shortcut.set(addresses, target)
        for held in self._reflector.release(state.name):
            self._again(held)
        if self._reflector.wanted:
            self._ask_for_listeners()

    def _forget(self, name: str) -> None:
        target = self._names.pop(name, None)
        self._shortcut.forget(name)
        for address in [address for address, known in self._targets.items() if known is target]:
            del self._targets[address]

    def _again(self, held: bytes) -> None:
        self._frame[: len(held)] = held
        size = self._reflector.reflect(self._frame, len(held))
        if size:
            self._write(self._view[:size])

    def _say(self, message: Message) -> None:
        """Never waits: a supervisor that reads nothing hears nothing new, and packets go on."""
        if self._ends_at is not None:
            return
        if len(self._unsent) < MAX_UNSENT_BYTES:
            self._unsent += encode(message)
        self._flush()

    def _flush(self) -> None:
        try:
            del self._unsent[: self._control.send(self._unsent)]
        except BlockingIOError:
            self._due = 0.0
        except OSError:
            self._supervisor_is_gone()

    def _supervisor_is_gone(self) -> None:
        """The device goes with us, after the last words of the workers."""
        if self._ends_at is None:
            self._ends_at = monotonic() + LAST_WORDS_SECONDS
            self._poll.unregister(self._control.fileno())
            self._unsent.clear()
            self._awaited = dict.fromkeys(self._awaited, 0.0)  # nobody will listen any more
            for target in self._names.values():
                target.up = False
            self._due = 0.0

    def _fail(self, reason: str) -> None:
        self._say(Fault(reason, EXIT_BUG))
        self._code = EXIT_BUG

    # --- time

    def _tick(self, now: float) -> None:
        for key in [key for key, until in self._awaited.items() if until <= now]:
            del self._awaited[key]
            answer = self._reflector.refuse(*key)
            if answer is not None:
                self._write(answer)
        if self._unsent:
            self._flush()
        if self._report_at <= now:
            self._report_at = now + REPORT_INTERVAL
            self._say(ReflectorCounts(dict(self._reflector.counts) | {"write-failed": self._refused}))
        if self._ends_at is not None:
            self._due = self._ends_at
            if now >= self._ends_at:
                self._code = EXIT_OK
            return
        self._due = min([self._report_at, *self._awaited.values(), *([now] if self._unsent else [])])
