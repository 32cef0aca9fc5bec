"""What two newer peers agree on: one MessagePack map in the payload of each handshake message.

An empty payload is a peer of plain version 1, which throws ours away. The initiator's payload can be replayed and is
not bound to the PSK yet: parameters only, nothing with a side effect.

Source: WIRE section 19.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from hyperion.proto.errors import HandshakeError
from hyperion.proto.noise.record import BASE_PLAINTEXT_BYTES, MAX_PLAINTEXT_BYTES

#: Extension level that we speak.
LEVEL = 1
#: Longest encoded map, bytes.
MAX_PAYLOAD_BYTES = 1024
#: Ports told to a client at most: what surely fits beside the other keys, at three bytes each. A longer list is left
#: out.
MAX_PORTS = 256

_TEXT = Meta(max_length=64, pattern=r"^[\x20-\x7e]*\Z")
Text = Annotated[str, _TEXT]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Parameters(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one side says of itself. Every key is optional; unknown keys are ignored."""

    #: extension level of the sender, 0 for a peer of plain version 1
    x: Annotated[int, Meta(ge=0, le=2**31)] = 0
    #: largest record plaintext that the sender takes, bytes
    frame: Annotated[int, Meta(ge=BASE_PLAINTEXT_BYTES, le=MAX_PLAINTEXT_BYTES)] = BASE_PLAINTEXT_BYTES
    #: software and version, for logs and status
    agent: Text | None = None
    #: the server's clock, Unix milliseconds (message 2 only)
    time: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    #: ports that the server lets this client reach (message 2 only); None: not told
    ports: tuple[Port, ...] | None = None
    #: the server's own name (message 2 only)
    name: Text | None = None


#: A peer that said nothing.
PLAIN = Parameters()

_decoder = msgspec.msgpack.Decoder(Parameters)
_encoder = msgspec.msgpack.Encoder()


def encode_parameters(parameters: Parameters) -> bytes:
    """The payload, at most 1,024 bytes. A list of ports that is too long for it is left out."""
    if parameters.ports is not None and len(parameters.ports) > MAX_PORTS:
        parameters = msgspec.structs.replace(parameters, ports=None)
    return _encoder.encode(parameters)


def decode_parameters(payload: bytes) -> Parameters:
    """What the peer said; ``PLAIN`` if nothing. Raises HandshakeError for anything that is no such map."""
    if not payload:
        return PLAIN
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise HandshakeError("the handshake payload is too long", reason="malformed")
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # text that is no UTF-8 leaks out unwrapped
        raise HandshakeError("the handshake payload is not a map of known types", reason="malformed") from None
