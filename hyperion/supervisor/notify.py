"""Tells the service manager how we are: the protocol of sd_notify(3), by hand: it is a datagram with a few lines.

Knows the variables NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Without them everything here does nothing.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping

#: Longest status line, characters: it is shown in one line by ``systemctl status``.
MAX_STATUS_CHARS = 200

MICROSECONDS = 1_000_000


class Notifier:
    """The connection to the service manager, if there is one."""

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        """``address``: path of a datagram socket, or a name in the abstract namespace behind an ``@``."""
        self._address = address
        self.watchdog_seconds = watchdog_seconds
        self._socket: socket.socket | None = None
        if address is not None and hasattr(socket, "AF_UNIX"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            # The loop never waits for the service manager.
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None) -> "Notifier":
        """Reads and removes the variables: no child must speak for the service."""
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", None)
        microseconds = environ.pop("WATCHDOG_USEC", "")
        for_us = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if address is None or not address.startswith(("/", "@")) or len(address) == 1:
            return cls(None)
        valid = for_us and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
        return cls(address, int(microseconds) / MICROSECONDS if valid else None)

    def ready(self, status: str) -> None:
        """Started, or done with reloading."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={_one_line(text)}")

    def reloading(self) -> None:
        """A reload begins; ``ready`` ends it. Without the time in the same datagram systemd waits for ever."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    async def watchdog(self, alive: Callable[[], bool]) -> None:
        """For ever: says that all is well, twice in each period, while ``alive()`` holds."""
        while self.watchdog_seconds is not None:
            if alive():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def close(self) -> None:
        """No more news."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A service manager that is gone or busy is no reason to fail: it finds out by itself.
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), address)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:MAX_STATUS_CHARS]
