"""The server's side of SOCKS 5, against the bytes of RFC 1928."""

from ipaddress import IPv6Address

import pytest

from hyperion.proto.socks import (
    NEGOTIATION_TIMEOUT,
    ConnectWanted,
    NegotiationFailed,
    Reply,
    SocksNegotiation,
    encode_reply,
)

HELLO = b"\x05\x01\x00"
TO_NAME = b"\x05\x01\x00\x03\x04web1\x00\x16"


def machine(*sent: bytes) -> SocksNegotiation:
    made = SocksNegotiation(0.0)
    for data in sent:
        made.receive_data(data, 0.0)
    return made


@pytest.mark.parametrize("methods", [b"\x00", b"\x02\x00", bytes(range(1, 255)) + b"\x00"])
def test_no_authentication_is_chosen_wherever_it_stands(methods: bytes) -> None:
    made = machine(b"\x05", bytes((len(methods),)), methods)
    assert made.data_to_send() == b"\x05\x00"
    assert made.next_event() is None
    assert made.wanted == 4


@pytest.mark.parametrize("methods", [b"", b"\x02", b"\x01\x02\xff"])
def test_a_client_that_wants_to_be_asked_is_told_no(methods: bytes) -> None:
    made = machine(b"\x05" + bytes((len(methods),)) + methods)
    assert made.data_to_send() == b"\x05\xff"
    assert made.next_event() == NegotiationFailed("method")
    assert made.wanted == 0


@pytest.mark.parametrize("first", [b"\x04", b"GET / HTTP/1.1", b"\x16\x03\x01", b"SSH-2.0-", b"\x00"])
def test_another_protocol_is_left_at_its_first_byte(first: bytes) -> None:
    made = machine(first)
    assert made.data_to_send() == b""
    assert made.next_event() == NegotiationFailed("not-socks5")


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (b"\x01\x0a\x63\x00\x0a", "10.99.0.10"),
        (b"\x03\x04WEB1", "WEB1"),
        (b"\x03\x01a", "a"),
        (b"\x03\xff" + b"a" * 255, "a" * 255),
        (b"\x03\x06" + "äöü".encode(), "äöü"),
        (b"\x04" + IPv6Address("2001:db8::1").packed, "2001:db8::1"),
        (b"\x04" + IPv6Address("::ffff:192.0.2.1").packed, "192.0.2.1"),
    ],
)
def test_where_to(address: bytes, host: str) -> None:
    made = machine(HELLO, b"\x05\x01\x00" + address + b"\x14\xeb")
    assert made.data_to_send() == b"\x05\x00"  # the rest is said by whoever connects
    assert made.next_event() == ConnectWanted(host, 5355)
    assert made.next_event() is None
    assert made.next_timeout() is None


@pytest.mark.parametrize(
    ("request_", "reply", "reason"),
    [
        (b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00", Reply.COMMAND_NOT_SUPPORTED, "command"),
        (b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", Reply.COMMAND_NOT_SUPPORTED, "command"),
        (b"\x05\x00\x00\x01", Reply.COMMAND_NOT_SUPPORTED, "command"),
        (b"\x05\x01\x00\x02", Reply.ADDRESS_TYPE_NOT_SUPPORTED, "address-type"),
        (b"\x05\x01\x01\x01", Reply.GENERAL_FAILURE, "malformed"),
        (b"\x04\x01\x00\x01", Reply.GENERAL_FAILURE, "malformed"),
        (b"\x05\x01\x00\x03\x00\x00\x16", Reply.GENERAL_FAILURE, "malformed"),
        (b"\x05\x01\x00\x03\x02\xff\xfe\x00\x16", Reply.GENERAL_FAILURE, "malformed"),
        (b"\x05\x01\x00\x03\x03a\x00b\x00\x16", Reply.GENERAL_FAILURE, "malformed"),
        (b"\x05\x01\x00\x03\x03a\nb\x00\x16", Reply.GENERAL_FAILURE, "malformed"),
        (b"\x05\x01\x00\x03\x03a b\x00\x16", Reply.GENERAL_FAILURE, "malformed"),
    ],
)
def test_what_cannot_be_is_answered(request_: bytes, reply: Reply, reason: str) -> None:
    made = machine(HELLO)
    made.data_to_send()
    made.receive_data(request_, 0.0)
    assert made.data_to_send() == bytes((5, reply, 0, 1)) + bytes(6)
    assert made.next_event() == NegotiationFailed(reason)
    made.receive_data(b"more", 0.0)
    assert made.trailing_data == b""


def test_what_comes_behind_the_request_is_kept() -> None:
    made = machine(HELLO + TO_NAME + b"SSH-2.0")
    assert made.next_event() == ConnectWanted("web1", 22)
    made.receive_data(b"-x", 0.0)
    assert made.trailing_data == b"SSH-2.0-x"


def test_who_dawdles_is_left() -> None:
    made = SocksNegotiation(100.0)
    assert made.next_timeout() == 100.0 + NEGOTIATION_TIMEOUT
    made.receive_data(b"\x05", 105.0)
    made.handle_timeout(109.9)
    assert made.next_event() is None
    made.handle_timeout(110.0)
    assert made.next_event() == NegotiationFailed("timeout")
    assert (made.wanted, made.data_to_send(), made.next_timeout()) == (0, b"", None)
    made.fail("again", Reply.GENERAL_FAILURE)
    assert (made.next_event(), made.data_to_send()) == (None, b"")


def test_the_replies_are_those_of_the_rfc() -> None:
    assert [int(reply) for reply in Reply] == [0, 1, 2, 4, 5, 7, 8]
    assert encode_reply(Reply.SUCCEEDED) == b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
