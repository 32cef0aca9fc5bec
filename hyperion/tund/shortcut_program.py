"""The shortcut: a program in the kernel that turns the segments of standing connections round, at the device's way out.

Nearly every packet of transparent mode belongs to a connection that stands. All that ``reflect`` does with it is to
swap two addresses and to change a port; going through a process for that costs two copies of it. So the kernel does it,
on the packet's way to the device, and sends it back in as if it came from there.

It decides nothing: what it is not sure of takes the long way, through ``reflect``. That is every packet that opens a
connection, so whether a server is up, which ports are allowed, what is refused and how, and what waits for a listener
is judged in one place only. Whoever takes the program away loses speed, and nothing else.

Knows the layout of packets and of the map's keys. Refuses to know what is in the map (``shortcut``) and how the
program gets to the device (``device``).

Sources: DESIGN section 6; linux/bpf.h (``struct __sk_buff``); RFC 791, 8200, 9293.
"""

import struct
from dataclasses import dataclass
from typing import Final

from hyperion.tund import bpf
from hyperion.tund.answer import ACK, IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, SYN, TCP, TCP_HEADER_BYTES

#: A key: address (IPv4 in the last four bytes, behind zeros) and port as in the packet, then which of ``TO_IPV4`` ...
#: it is, in the machine's order. A value: the port that takes its place, as in the packet.
KEY: Final = struct.Struct("=16s2sH")
VALUE_BYTES: Final = 2
#: To a server's port, or from the port of a listener; the second of each pair is looked for first.
TO_IPV4, FROM_IPV4, TO_IPV6, FROM_IPV6 = range(4)

#: What the program answers: the packet goes its way, to the device.
_PASS: Final = 0
#: ... or back into the machine (BPF_F_INGRESS).
_INGRESS: Final = 1

# Offsets in ``struct __sk_buff``.
_LENGTH_AT, _MARK_AT, _PROTOCOL_AT, _INDEX_AT, _DATA_AT, _DATA_END_AT = 0, 8, 16, 40, 76, 80
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD

# Registers. The first five are gone after a call.
_ANSWER, _ONE, _TWO, _THREE, _FOUR, _FIVE, _PACKET, _OLD, _FROM, _TO, _STACK = range(11)
#: Places on the stack: the key, and what becomes of addresses and ports.
_KEY_AT: Final = -24
_KEY_PORT_AT, _KEY_KIND_AT = _KEY_AT + 16, _KEY_AT + 18
_TURNED_AT: Final = -64


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are in a packet of one version."""

    header_bytes: int
    addresses_at: int
    address_bytes: int
    length_at: int
    #: What the length leaves out.
    uncounted_bytes: int
    protocol_at: int
    to_kind: int
    from_kind: int


_IPV4: Final = _Layout(IPV4_HEADER_BYTES, 12, 4, 2, 0, 9, TO_IPV4, FROM_IPV4)
_IPV6: Final = _Layout(IPV6_HEADER_BYTES, 8, 16, 4, IPV6_HEADER_BYTES, 6, TO_IPV6, FROM_IPV6)


def shortcut_program(table: int, ipv4: bytes | None, ipv6: bytes | None) -> bytes:
    """For the device with these addresses of its own, packed; ``None`` if it has none of that kind.

    ``table``: descriptor of a map with keys and values as above.
    """
    a = bpf.Assembly()
    a.add(bpf.MOVE, _PACKET, _ONE)
    a.add(bpf.LOAD_WORD, _FIVE, _PACKET, offset=_PROTOCOL_AT)
    if ipv4 is not None:
        a.jump(bpf.IF_EQUAL, "ipv4", _FIVE, value=_swapped(_ETH_P_IP))
    if ipv6 is not None:
        a.jump(bpf.IF_EQUAL, "ipv6", _FIVE, value=_swapped(_ETH_P_IPV6))
    a.place("pass")
    a.add(bpf.MOVE_VALUE, _ANSWER, value=_PASS)
    a.add(bpf.EXIT)
    if ipv4 is not None:
        a.place("ipv4")
        _judge(a, _IPV4, ipv4)
        _turn(a, _IPV4, ipv4, table)
    if ipv6 is not None:
        a.place("ipv6")
        _judge(a, _IPV6, ipv6)
        _turn(a, _IPV6, ipv6, table)
    return a.assemble()


def _judge(a: bpf.Assembly, layout: _Layout, own: bytes) -> None:
    """Goes on with a whole TCP segment from our own address that opens no connection; register 1 is its beginning."""
    a.add(bpf.LOAD_WORD, _ONE, _PACKET, offset=_DATA_AT)
    a.add(bpf.LOAD_WORD, _TWO, _PACKET, offset=_DATA_END_AT)
    a.add(bpf.MOVE, _THREE, _ONE)
    a.add(bpf.ADD_VALUE, _THREE, value=layout.header_bytes + TCP_HEADER_BYTES)
    a.jump(bpf.IF_ABOVE, "pass", _THREE, _TWO)
    a.add(bpf.LOAD_BYTE, _FIVE, _ONE)
    if layout is _IPV4:
        a.jump(bpf.IF_NOT_EQUAL, "pass", _FIVE, value=0x45)  # no options
        a.add(bpf.LOAD_HALF, _FIVE, _ONE, offset=6)
        a.add(bpf.AND_VALUE, _FIVE, value=_swapped(0x3FFF))  # no fragments
        a.jump(bpf.IF_NOT_EQUAL, "pass", _FIVE)
    else:
        a.add(bpf.AND_VALUE, _FIVE, value=0xF0)
        a.jump(bpf.IF_NOT_EQUAL, "pass", _FIVE, value=0x60)
    a.add(bpf.LOAD_BYTE, _FIVE, _ONE, offset=layout.protocol_at)
    a.jump(bpf.IF_NOT_EQUAL, "pass", _FIVE, value=TCP)
    a.add(bpf.LOAD_HALF, _FIVE, _ONE, offset=layout.length_at)
    a.add(bpf.SWAP_HALF, _FIVE, value=16)
    a.add(bpf.ADD_VALUE, _FIVE, value=layout.uncounted_bytes)
    a.add(bpf.LOAD_WORD, _FOUR, _PACKET, offset=_LENGTH_AT)
    a.jump(bpf.IF_REGISTERS_DIFFER, "pass", _FIVE, _FOUR)
    for at, word in _words(own):
        a.add(bpf.LOAD_WORD, _FIVE, _ONE, offset=layout.addresses_at + at)
        a.add(bpf.MOVE_WORD_VALUE, _FOUR, value=word)
        a.jump(bpf.IF_REGISTERS_DIFFER, "pass", _FIVE, _FOUR)
    a.add(bpf.LOAD_BYTE, _FIVE, _ONE, offset=layout.header_bytes + 13)
    a.add(bpf.AND_VALUE, _FIVE, value=SYN | ACK)
    a.jump(bpf.IF_EQUAL, "pass", _FIVE, value=SYN)


def _turn(a: bpf.Assembly, layout: _Layout, own: bytes, table: int) -> None:
    """Looks the port up, and sends the packet back; or goes to "pass"."""
    version = str(layout.to_kind)
    ports_at = layout.addresses_at + 2 * layout.address_bytes
    a.add(bpf.LOAD_HALF, _FROM, _ONE, offset=ports_at)
    a.add(bpf.LOAD_HALF, _TO, _ONE, offset=ports_at + 2)
    _copy_destination(a, layout)
    # A source port that is a listener's can only be its worker's answer, as in ``reflect``.
    _look_up(a, table, _FROM, layout.from_kind)
    a.jump(bpf.IF_EQUAL, "to" + version, _ANSWER)
    a.add(bpf.MOVE, _OLD, _FROM)
    a.add(bpf.LOAD_HALF, _FROM, _ANSWER)
    a.add(bpf.MOVE, _FOUR, _FROM)
    a.jump(bpf.JUMP, "turn" + version)
    a.place("to" + version)
    _look_up(a, table, _TO, layout.to_kind)
    a.jump(bpf.IF_EQUAL, "pass", _ANSWER)
    a.add(bpf.MOVE, _OLD, _TO)
    a.add(bpf.LOAD_HALF, _TO, _ANSWER)
    a.add(bpf.MOVE, _FOUR, _TO)
    a.place("turn" + version)
    # The addresses' part of the sum stays as it is, so only the port touches it; and not where the kernel left the
    # rest to be summed up later, which this call knows.
    a.add(bpf.MOVE, _ONE, _PACKET)
    a.add(bpf.MOVE_VALUE, _TWO, value=layout.header_bytes + 16)
    a.add(bpf.MOVE, _THREE, _OLD)
    a.add(bpf.MOVE_VALUE, _FIVE, value=2)
    a.add(bpf.CALL, value=bpf.L4_CSUM_REPLACE)
    size = 2 * layout.address_bytes
    for at, word in _words(own):
        a.add(bpf.STORE_WORD_VALUE, _STACK, offset=_TURNED_AT + layout.address_bytes + at, value=word)
    a.add(bpf.STORE_HALF, _STACK, _FROM, offset=_TURNED_AT + size)
    a.add(bpf.STORE_HALF, _STACK, _TO, offset=_TURNED_AT + size + 2)
    a.add(bpf.MOVE, _ONE, _PACKET)
    a.add(bpf.MOVE_VALUE, _TWO, value=layout.addresses_at)
    a.add(bpf.MOVE, _THREE, _STACK)
    a.add(bpf.ADD_VALUE, _THREE, value=_TURNED_AT)
    a.add(bpf.MOVE_VALUE, _FOUR, value=size + 4)
    a.add(bpf.MOVE_VALUE, _FIVE, value=0)
    a.add(bpf.CALL, value=bpf.SKB_STORE_BYTES)
    # As a packet that tund writes: without the mark of whoever sent it.
    a.add(bpf.MOVE_VALUE, _FIVE, value=0)
    a.add(bpf.STORE_WORD, _PACKET, _FIVE, offset=_MARK_AT)
    a.add(bpf.LOAD_WORD, _ONE, _PACKET, offset=_INDEX_AT)
    a.add(bpf.MOVE_VALUE, _TWO, value=_INGRESS)
    a.add(bpf.CALL, value=bpf.REDIRECT)
    a.add(bpf.EXIT)


def _copy_destination(a: bpf.Assembly, layout: _Layout) -> None:
    """Into the key, and to where the source will be."""
    at = layout.addresses_at + layout.address_bytes
    if layout is _IPV4:
        for offset in (0, 4, 8):
            a.add(bpf.STORE_WORD_VALUE, _STACK, offset=_KEY_AT + offset)
        a.add(bpf.LOAD_WORD, _FIVE, _ONE, offset=at)
        a.add(bpf.STORE_WORD, _STACK, _FIVE, offset=_KEY_AT + 12)
        a.add(bpf.STORE_WORD, _STACK, _FIVE, offset=_TURNED_AT)
        return
    for offset in range(0, 16, 4):
        a.add(bpf.LOAD_WORD, _FIVE, _ONE, offset=at + offset)
        a.add(bpf.STORE_WORD, _STACK, _FIVE, offset=_KEY_AT + offset)
        a.add(bpf.STORE_WORD, _STACK, _FIVE, offset=_TURNED_AT + offset)


def _look_up(a: bpf.Assembly, table: int, port: int, kind: int) -> None:
    """Where the value is, or zero."""
    a.add(bpf.STORE_HALF, _STACK, port, offset=_KEY_PORT_AT)
    a.add(bpf.STORE_HALF_VALUE, _STACK, offset=_KEY_KIND_AT, value=kind)
    a.load_map(_ONE, table)
    a.add(bpf.MOVE, _TWO, _STACK)
    a.add(bpf.ADD_VALUE, _TWO, value=_KEY_AT)
    a.add(bpf.CALL, value=bpf.MAP_LOOKUP_ELEM)


def _words(address: bytes) -> list[tuple[int, int]]:
    """Offset and value of its words of 32 bits, as the machine reads them."""
    return [(number * 4, word) for number, (word,) in enumerate(struct.iter_unpack("=I", address))]


def _swapped(half: int) -> int:
    """As the machine reads it from a packet."""
    return int(struct.unpack("=H", struct.pack(">H", half))[0])
