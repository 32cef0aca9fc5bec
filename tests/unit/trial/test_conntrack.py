import struct
from ipaddress import ip_address

import pytest

from hyperion.trial import conntrack
from hyperion.trial.connections import Connection
from hyperion.trial.conntrack import NLA_F_NESTED, entry, take_over


def connection(remote: str = "198.51.100.7", local: str = "192.0.2.1") -> Connection:
    return Connection(ip_address(remote), 40_000, ip_address(local), 22)


def attributes(data: bytes) -> dict[int, object]:
    found: dict[int, object] = {}
    while data:
        length, kind = struct.unpack_from("=HH", data)
        value = data[4:length]
        found[kind & ~NLA_F_NESTED] = attributes(value) if kind & NLA_F_NESTED else value
        data = data[length + -length % 4 :]
    return found


@pytest.mark.parametrize("incoming", [True, False])
@pytest.mark.parametrize(
    ("remote", "local", "family"), [("198.51.100.7", "192.0.2.1", 2), ("2001:db8::7", "2001:db8::1", 10)]
)
def test_the_message(remote: str, local: str, family: int, incoming: bool) -> None:
    message = entry(connection(remote, local), incoming=incoming)
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", message)
    assert (length, kind, flags) == (len(message), 0x100, 0x605)  # create, and leave alone what is there
    assert message[16] == family
    found = attributes(message[20:])
    theirs, ours = (ip_address(remote).packed, 40_000), (ip_address(local).packed, 22)
    first, second = (theirs, ours) if incoming else (ours, theirs)
    for which, source, target in ((1, first, second), (2, second, first)):
        number = 1 if family == 2 else 3
        assert found[which] == {
            1: {number: source[0], number + 1: target[0]},
            2: {1: b"\6", 2: struct.pack("!H", source[1]), 3: struct.pack("!H", target[1])},
        }
    assert found[3] == struct.pack("!I", 0b1110)
    assert found[4] == {1: {1: b"\3", 4: b"\x08\x08", 5: b"\x08\x08"}}


def test_what_stays_inside_is_left_out_and_failures_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = connection("127.0.0.1", "127.0.0.1")
    assert take_over([inside], {22}) == 0
    monkeypatch.setattr(conntrack, "NETLINK_NETFILTER", 99)  # no such protocol: the socket cannot be had
    assert take_over([inside, connection(), connection("198.51.100.8")], {22}) == 2
