"""The two receive buffers that all sockets of a worker share.

A loop hands out a buffer right before it reads into it, and nothing else runs until the protocol was told of the bytes.
So one buffer for all local sockets and one for all tunnels are enough, and an idle stream or connection owns none.
"""

from hyperion.proto.noise.record import MAX_PLAINTEXT_BYTES
from hyperion.proto.yamux.frame import HEADER_BYTES

#: Bytes read from a tunnel at once: four of the largest records. More did not make it faster.
TUNNEL_READ_BYTES = 256 * 1024

#: Every tunnel connection reads into this.
tunnel_buffer = memoryview(bytearray(TUNNEL_READ_BYTES))

#: Every local socket reads into this, behind room for a frame header: the record is sealed straight from here.
local_buffer = memoryview(bytearray(MAX_PLAINTEXT_BYTES))

#: Largest body that the local buffer can hold.
MAX_BODY_BYTES = MAX_PLAINTEXT_BYTES - HEADER_BYTES
