"""The buffers that all sockets of a worker share.

A buffer is read into, and nothing else runs until its bytes were handled. So one for all local sockets and one for all
tunnels are enough, one for what came out of records and one for the record that is being sent: they stay in the
processor's cache, and an idle stream or connection owns none. A worker that carries nothing never touches their pages.
"""

from hyperion.proto.noise.record import LENGTH_BYTES, MAX_PLAINTEXT_BYTES, TAG_BYTES
from hyperion.proto.yamux.frame import HEADER_BYTES

#: Bytes read from a tunnel at once: four of the largest records. More did not make it faster.
TUNNEL_READ_BYTES = 256 * 1024

#: Every tunnel connection reads into this.
tunnel_buffer = memoryview(bytearray(TUNNEL_READ_BYTES))

#: The records of one such read are opened into this.
plain_buffer = memoryview(bytearray(TUNNEL_READ_BYTES))

#: A record with a large body is sealed into this, and sent from here.
record_buffer = memoryview(bytearray(LENGTH_BYTES + MAX_PLAINTEXT_BYTES + TAG_BYTES))

#: Every local socket reads into this, behind room for a frame header: the record is sealed straight from here.
local_buffer = memoryview(bytearray(MAX_PLAINTEXT_BYTES))

#: Largest body that the local buffer can hold.
MAX_BODY_BYTES = MAX_PLAINTEXT_BYTES - HEADER_BYTES
