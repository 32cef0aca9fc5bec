"""What can go wrong in a protocol machine, and whose fault it is.

::

    ProtocolError
    ├── LocalProtocolError      we called the machine wrongly, or a limit of ours was reached
    │   ├── StreamLimitError    as many streams are open as one connection may carry
    │   └── StreamStateError    the stream cannot do that any more
    └── RemoteProtocolError     the peer broke the protocol; the connection ends
        ├── HandshakeError      a Noise handshake message was refused
        ├── RecordError         a transport record was malformed or did not authenticate
        └── YamuxError          a frame broke the rules of yamux; carries the go-away code to send, if any

Hostile bytes never surface as exceptions from ``receive_data``: the machine stores the error and fails. Messages hold
facts of our own (numbers, names of rules), never bytes of the peer.
"""


class ProtocolError(Exception):
    """Abstract: raise one of its two children."""

    def __init__(self, message: str) -> None:
        if type(self) is ProtocolError:
            raise TypeError("ProtocolError is abstract")
        super().__init__(message)


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the protocol, or a limit of ours, does not allow."""


class StreamLimitError(LocalProtocolError):
    """No further stream can be opened on this connection now; another connection may have room."""


class StreamStateError(LocalProtocolError):
    """The stream is closed for what was asked."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol."""

    #: short stable word for logs (``event.reason``)
    reason = "protocol-error"


class HandshakeError(RemoteProtocolError):
    """A handshake message was refused; nothing tells the peer why."""

    reason = "handshake-failed"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class RecordError(RemoteProtocolError):
    """A transport record had a forbidden length or did not authenticate."""

    reason = "decrypt-failed"


class YamuxError(RemoteProtocolError):
    """A frame broke a rule of yamux. ``go_away`` is the code to send before hanging up, ``None`` for none."""

    reason = "mux-error"

    def __init__(self, message: str, *, go_away: int | None) -> None:
        super().__init__(message)
        self.go_away = go_away
