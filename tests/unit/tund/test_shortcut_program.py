"""Whether the kernel takes the program; what it does with packets is in ``tests/e2e/test_shortcut.py``."""

import os
import socket

import pytest

from hyperion.tund import bpf
from hyperion.tund.shortcut_program import FROM_IPV4, KEY, TO_IPV6, VALUE_BYTES, shortcut_program
from tests.helpers.ebpf import needs_ebpf

OWN4 = socket.inet_aton("10.99.0.1")
#: The top bit of each word is set: values are signed, addresses are not.
HIGH4 = socket.inet_aton("254.255.255.254")
OWN6 = socket.inet_pton(socket.AF_INET6, "fd68:7970:6572::a63:1")
HIGH6 = bytes([0xFF, 0xFE, 0xFD, 0xFC] * 4)


def test_keys_are_plain_bytes() -> None:
    key = KEY.pack(OWN4.rjust(16, b"\0"), (22).to_bytes(2, "big"), FROM_IPV4)
    assert key == bytes(12) + OWN4 + b"\0\x16" + FROM_IPV4.to_bytes(2, "little")
    assert len(KEY.pack(OWN6, b"\0\x16", TO_IPV6)) == KEY.size == 20


@needs_ebpf
@pytest.mark.parametrize(
    ("ipv4", "ipv6"), [(OWN4, OWN6), (OWN4, None), (None, OWN6), (None, None), (HIGH4, HIGH6)], ids=repr
)
def test_the_kernel_finds_it_harmless(ipv4: bytes | None, ipv6: bytes | None) -> None:
    table = bpf.create_map(KEY.size, VALUE_BYTES, 16)
    os.close(bpf.load_program(shortcut_program(table, ipv4, ipv6), "test"))
    os.close(table)
