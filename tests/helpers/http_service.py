"""An HTTP server as a process: the standard library's, threaded, with bodies both ends can work out.

``python -m tests.helpers.http_service`` prints its port on loopback and serves until it is ended.
"""

import hashlib
import random
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Sizes of bodies, bytes: around a record's and a window's, and what web pages weigh.
SIZES = (0, 1, 999, 16_384, 16_385, 40_000, 65_519, 65_536)


def body(number: int) -> bytes:
    """What ``GET /number`` answers."""
    return random.Random(number).randbytes(SIZES[number % len(SIZES)])


class Handler(BaseHTTPRequestHandler):
    """GET answers ``body``; POST answers the SHA-256 of what was sent."""

    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True  # else each answer of two writes waits for a delayed acknowledgement
    timeout = 60

    def do_GET(self) -> None:
        self._answer(body(int(self.path[1:])))

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(hashlib.sha256(sent).hexdigest().encode())

    def log_message(self, *_arguments: object) -> None:
        """Nobody reads it."""

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """The standard library's backlog of 5 would refuse a burst."""

    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
