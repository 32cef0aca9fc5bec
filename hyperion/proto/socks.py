"""The server's side of SOCKS 5, up to the moment where it is known where the client wants to go.

No authentication, CONNECT only: who may connect at all is decided by the address that is listened on. The machine
asks for exactly the bytes that are missing (``wanted``), so that what a hasty client sends behind its request is left
for whoever serves it.

Source: RFC 1928.
"""

import enum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

#: Seconds from the connection to its whole request. A program sends it at once; a person typing is no client.
NEGOTIATION_TIMEOUT = 10.0

VERSION = 5
NO_AUTHENTICATION = 0x00
NO_ACCEPTABLE_METHOD = 0xFF
CONNECT = 1

_GREETING_BYTES = 2
_REQUEST_BYTES = 4
_PORT_BYTES = 2


class AddressType(enum.IntEnum):
    """How the destination is written."""

    IPV4 = 1
    DOMAIN = 3
    IPV6 = 4


class Reply(enum.IntEnum):
    """RFC 1928 section 6. Those that we have a use for."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class ConnectWanted(NamedTuple):
    """The client's whole request. ``host``: a name as it was sent, or the text of an address."""

    host: str
    port: int


class NegotiationFailed(NamedTuple):
    """It is over; ``reason`` is a short stable word. What the client is to be told waits in ``data_to_send``."""

    reason: str


SocksEvent = ConnectWanted | NegotiationFailed


def encode_reply(reply: Reply) -> bytes:
    """The address bound for the client is left empty, as the RFC's CONNECT has no use for it."""
    return bytes((VERSION, reply, 0, AddressType.IPV4)) + bytes(IPv4Address(0).packed) + bytes(_PORT_BYTES)


class _Stage(enum.Enum):
    GREETING = enum.auto()
    REQUEST = enum.auto()
    OVER = enum.auto()


class SocksNegotiation:
    """One client. ``now`` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._stage = _Stage.GREETING
        self._buffer = bytearray()
        self._out = bytearray()
        self._event: SocksEvent | None = None
        self._failed = False
        self._deadline: float | None = now + NEGOTIATION_TIMEOUT

    @property
    def wanted(self) -> int:
        """How many bytes are missing at least; 0 when it is over. Reading no more than that reads nothing too much."""
        return 0 if self._stage is _Stage.OVER else max(self._needed() - len(self._buffer), 0)

    @property
    def trailing_data(self) -> bytes:
        """What came behind the request, for a reader that took more than was wanted."""
        return bytes(self._buffer) if self._stage is _Stage.OVER else b""

    def receive_data(self, data: bytes, now: float) -> None:
        """Takes what the client sent; after a failure it is thrown away."""
        if self._failed:
            return
        self._buffer += data
        while self._stage is not _Stage.OVER and len(self._buffer) >= self._needed():
            message = bytes(self._buffer[: self._needed()])
            del self._buffer[: len(message)]
            if self._stage is _Stage.GREETING:
                self._on_greeting(message)
            else:
                self._on_request(message)

    def next_event(self) -> SocksEvent | None:
        """What happened; there is one event in all."""
        event, self._event = self._event, None
        return event

    def data_to_send(self) -> bytes:
        """What must go to the client."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def next_timeout(self) -> float | None:
        """When the client has run out of time."""
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        """Time is over, if it is."""
        if self._deadline is not None and now >= self._deadline:
            self.fail("timeout", None)

    def fail(self, reason: str, reply: Reply | None) -> None:
        """The one exit; without ``reply`` the client is just left."""
        if self._stage is _Stage.OVER:
            return
        if reply is not None:
            self._out += encode_reply(reply)
        self._failed = True
        self._buffer.clear()
        self._end(NegotiationFailed(reason))

    # --- inside

    def _needed(self) -> int:
        """Length of the message that begins in the buffer, as far as one can tell yet."""
        if self._stage is _Stage.GREETING:
            if self._buffer and self._buffer[0] != VERSION:
                return 1  # another protocol, of which more would be no help
            return _GREETING_BYTES + (self._buffer[1] if len(self._buffer) >= _GREETING_BYTES else 0)
        if len(self._buffer) < _REQUEST_BYTES or self._head_is_wrong():
            return _REQUEST_BYTES
        return _REQUEST_BYTES + self._address_bytes() + _PORT_BYTES

    def _head_is_wrong(self) -> bool:
        version, command, reserved, kind = self._buffer[:_REQUEST_BYTES]
        return version != VERSION or command != CONNECT or reserved != 0 or kind not in set(AddressType)

    def _address_bytes(self) -> int:
        match self._buffer[3]:
            case AddressType.IPV4:
                return 4
            case AddressType.IPV6:
                return 16
            case _:  # a name, behind the byte of its length
                return 1 + (self._buffer[_REQUEST_BYTES] if len(self._buffer) > _REQUEST_BYTES else 0)

    def _on_greeting(self, message: bytes) -> None:
        if message[0] != VERSION:
            self.fail("not-socks5", None)
        elif NO_AUTHENTICATION not in message[_GREETING_BYTES:]:
            self._out += bytes((VERSION, NO_ACCEPTABLE_METHOD))
            self.fail("method", None)
        else:
            self._out += bytes((VERSION, NO_AUTHENTICATION))
            self._stage = _Stage.REQUEST

    def _on_request(self, message: bytes) -> None:
        version, command, reserved, kind = message[:_REQUEST_BYTES]
        if version != VERSION or reserved != 0:
            self.fail("malformed", Reply.GENERAL_FAILURE)
        elif command != CONNECT:
            self.fail("command", Reply.COMMAND_NOT_SUPPORTED)
        elif kind not in set(AddressType):
            self.fail("address-type", Reply.ADDRESS_TYPE_NOT_SUPPORTED)
        else:
            host = _host(AddressType(kind), message[_REQUEST_BYTES:-_PORT_BYTES])
            if host is None:
                self.fail("malformed", Reply.GENERAL_FAILURE)
            else:
                self._end(ConnectWanted(host, int.from_bytes(message[-_PORT_BYTES:], "big")))

    def _end(self, event: SocksEvent) -> None:
        self._stage = _Stage.OVER
        self._deadline = None
        self._event = event


def _host(kind: AddressType, data: bytes) -> str | None:
    """``None`` for a name that is none."""
    match kind:
        case AddressType.IPV4:
            return str(IPv4Address(data))
        case AddressType.IPV6:
            address = IPv6Address(data)
            return str(address.ipv4_mapped or address)
        case AddressType.DOMAIN:
            try:
                name = data[1:].decode("utf-8")
            except UnicodeDecodeError:
                return None
            return name if name and name.isprintable() and " " not in name else None
