"""SOCKS negotiation: any cut of the bytes, any bytes at all, and an independent client."""

from ipaddress import ip_address

import socksio
from hypothesis import given
from hypothesis import strategies as st

from hyperion.proto.socks import ConnectWanted, NegotiationFailed, Reply, SocksNegotiation, encode_reply

#: A greeting and a request are no longer than this, whatever the client does.
LONGEST = 2 + 255 + 4 + 1 + 255 + 2

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
hosts = names | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
ports = st.integers(0, 0xFFFF)


def ask(host: str, port: int) -> tuple[socksio.SOCKS5Connection, bytes, bytes]:
    """What socksio, which shares no line with us, says: greeting, then request."""
    client = socksio.SOCKS5Connection()
    client.send(socksio.SOCKS5AuthMethodsRequest([socksio.SOCKS5AuthMethod.NO_AUTH_REQUIRED]))
    greeting = client.data_to_send()
    client.receive_data(b"\x05\x00")
    client.send(socksio.SOCKS5CommandRequest.from_address(socksio.SOCKS5Command.CONNECT, (host.encode(), port)))
    return client, greeting, client.data_to_send()


@given(hosts, ports, st.data())
def test_a_client_of_others_is_understood_however_it_is_cut(host: str, port: int, data: st.DataObject) -> None:
    _, greeting, request = ask(host, port)
    sent = greeting + request + b"early"
    machine = SocksNegotiation(0.0)
    out = b""
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        machine.receive_data(sent[:size], 0.0)
        out += machine.data_to_send()
        sent = sent[size:]
    wanted = machine.next_event()
    assert isinstance(wanted, ConnectWanted)
    assert wanted.port == port
    try:
        address = ip_address(host)
    except ValueError:
        assert wanted.host == host
    else:
        mapped = getattr(address, "ipv4_mapped", None)
        assert ip_address(wanted.host) == (mapped or address)
    assert machine.trailing_data == b"early"
    assert out == b"\x05\x00"
    for reply in Reply:
        heard, _, _ = ask(host, port)
        answer = heard.receive_data(encode_reply(reply))
        assert isinstance(answer, socksio.SOCKS5Reply)
        assert answer.reply_code.value == bytes((reply,))


@given(hosts, ports)
def test_a_reader_that_takes_what_is_wanted_takes_nothing_too_much(host: str, port: int) -> None:
    _, greeting, request = ask(host, port)
    sent = greeting + request
    machine, left = SocksNegotiation(0.0), sent
    while size := machine.wanted:
        assert size <= len(left)
        machine.receive_data(left[:size], 0.0)
        left = left[size:]
    assert left == b""
    assert isinstance(machine.next_event(), ConnectWanted)


@given(st.lists(st.binary(max_size=600), max_size=6), st.booleans())
def test_random_bytes_never_raise_and_come_to_an_end(parts: list[bytes], polite: bool) -> None:
    machine = SocksNegotiation(0.0)
    if polite:
        machine.receive_data(b"\x05\x01\x00", 0.0)
    for part in parts:
        machine.receive_data(part, 0.0)
    out, event = machine.data_to_send(), machine.next_event()
    assert len(out) <= 2 + len(encode_reply(Reply.SUCCEEDED))
    if sum(map(len, parts)) > LONGEST:
        assert event is not None
    machine.handle_timeout(1e9)
    assert machine.wanted == 0
    assert (event is None) == isinstance(machine.next_event(), NegotiationFailed)


@given(st.binary(max_size=600), st.data())
def test_a_cut_changes_nothing(sent: bytes, data: st.DataObject) -> None:
    whole, cut = SocksNegotiation(0.0), SocksNegotiation(0.0)
    sent = b"\x05\x01\x00\x05\x01\x00" + sent
    whole.receive_data(sent, 0.0)
    where = data.draw(st.integers(0, len(sent)))
    cut.receive_data(sent[:where], 0.0)
    cut.receive_data(sent[where:], 0.0)
    assert cut.data_to_send() == whole.data_to_send()
    assert cut.next_event() == whole.next_event()
    assert cut.wanted == whole.wanted
