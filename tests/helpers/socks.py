"""A client of SOCKS 5 with socksio, which shares no line with ours, on plain sockets."""

import socket
from typing import NamedTuple

import socksio

TIMEOUT = 20.0


class Answered(NamedTuple):
    """The connection, and the code of the reply."""

    sock: socket.socket
    code: int


def dial(proxy: tuple[str, int], host: str, port: int, *, early: bytes = b"") -> Answered:
    """Asks for a connection; ``early`` is sent behind the request, before any answer."""
    sock = socket.create_connection(proxy, TIMEOUT)
    client = socksio.SOCKS5Connection()
    client.send(socksio.SOCKS5AuthMethodsRequest([socksio.SOCKS5AuthMethod.NO_AUTH_REQUIRED]))
    sock.sendall(client.data_to_send())
    client.receive_data(exactly(sock, 2))
    client.send(socksio.SOCKS5CommandRequest.from_address(socksio.SOCKS5Command.CONNECT, (host.encode(), port)))
    sock.sendall(client.data_to_send() + early)
    reply = client.receive_data(exactly(sock, 10))
    assert isinstance(reply, socksio.SOCKS5Reply)
    return Answered(sock, reply.reply_code.value[0])


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        assert more, f"the end after {len(data)} of {count} bytes"
        data += more
    return data


def to_the_end(sock: socket.socket) -> bytes:
    data = bytearray()
    while more := sock.recv(1 << 16):
        data += more
    return bytes(data)
