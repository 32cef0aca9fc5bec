"""The buffers that all sockets of a worker share.

A buffer is read into, and nothing else runs until its bytes were handled. So one for all local sockets and one for all
tunnels are enough, one for what came out of records and one for the record that is being sent: they stay in the
processor's cache, and an idle stream or connection owns none. A worker that carries nothing never touches their pages.
"""

from hyperion.proto.noise.record import LENGTH_BYTES, MAX_PLAINTEXT_BYTES, TAG_BYTES
from hyperion.proto.yamux.frame import HEADER_BYTES

#: What one segment carries on the loopback device: its MTU of 65,536 bytes less the headers of IPv6 and of TCP with
#: timestamps. A byte more goes in a segment of its own, which the kernel handles as any other, and wakes the reader
#: a second time; and every local socket goes over this device.
SEGMENT_BYTES = 65_536 - 40 - 20 - 12

#: Largest body of a frame that we send: its record is one segment.
MAX_BODY_BYTES = SEGMENT_BYTES - LENGTH_BYTES - HEADER_BYTES - TAG_BYTES

#: Bytes read from a tunnel at once: four of those records exactly, so that none is read in two parts and copied
#: together. More did not make it faster.
TUNNEL_READ_BYTES = 4 * SEGMENT_BYTES

#: Every tunnel connection reads into this.
tunnel_buffer = memoryview(bytearray(TUNNEL_READ_BYTES))

#: The records of one such read are opened into this.
plain_buffer = memoryview(bytearray(TUNNEL_READ_BYTES))

#: A record with a large body is sealed into this, and sent from here.
record_buffer = memoryview(bytearray(LENGTH_BYTES + MAX_PLAINTEXT_BYTES + TAG_BYTES))

#: Every local socket reads into this, behind room for a frame header: the record is sealed straight from here.
local_buffer = memoryview(bytearray(HEADER_BYTES + MAX_BODY_BYTES))
