"""The throwaway TCP service as a process: bulk transfers on one port, echo on another, loopback only.

``python -m bench.service`` prints one JSON line ``{"bulk": port, "echo": port}`` and serves until SIGTERM, or until who
started it is gone.
"""

import json
import os
import signal
import socket
import sys
import threading
from types import FrameType

from bench import bulk, echo
from bench.child import Child

#: Seconds until the service has said its ports: it starts a Python and binds two sockets.
START_TIMEOUT = 20.0


def start() -> tuple[Child, dict[str, int]]:
    """Start the service and return it with its ports. Raises ChildError."""
    child = Child("service", [sys.executable, "-m", "bench.service"])
    try:
        ports: dict[str, int] = json.loads(child.wait_line(r"^\{.*\}$", START_TIMEOUT).group())
    except BaseException:
        child.stop()
        raise
    return child, ports


def accept_bulk(listener: socket.socket) -> None:
    """A thread for each connection: there are at most ten, and they sleep in the kernel."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_bulk, args=(connection,), daemon=True).start()


def serve_bulk(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        try:
            bulk.serve(connection)
        except bulk.NothingAskedError:
            return
        except (OSError, bulk.TransferError) as error:
            print(f"transfer ended: {error}", file=sys.stderr, flush=True)


def main() -> None:
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    listener = socket.create_server(("127.0.0.1", 0), backlog=echo.BACKLOG)
    threading.Thread(target=accept_bulk, args=(listener,), daemon=True).start()
    service = echo.EchoService()
    print(json.dumps({"bulk": listener.getsockname()[1], "echo": service.port}), flush=True)
    parent = os.getppid()
    service.run(lambda: stopping.is_set() or os.getppid() != parent)
    service.close()


if __name__ == "__main__":
    main()
