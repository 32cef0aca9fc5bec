"""Bytes of the knock: every datagram gets a verdict, and only the right one is accepted."""

import pytest

from hyperion.proto.errors import LocalProtocolError
from hyperion.proto.knock import (
    KNOCK_BYTES,
    Knock,
    KnockTable,
    Verdict,
    derive_knock_key,
    open_knock,
    seal,
)

PSK, SERVER, NONCE = bytes(range(32)), bytes([7] * 32), bytes(range(0xA0, 0xAC))
KEY = derive_knock_key(PSK)
TABLE = KnockTable(SERVER, {"fleet": KEY})
NOW = 1_700_000_000
PORT = 8443


def sealed(timestamp: int = NOW, port: int = PORT, nonce: bytes = NONCE) -> bytes:
    return seal(KEY, SERVER, timestamp, port, nonce)


def test_a_knock_says_who_when_and_where() -> None:
    assert len(sealed()) == KNOCK_BYTES
    assert open_knock(sealed(), TABLE) == (Verdict.ACCEPTED, Knock("fleet", NOW, PORT, NONCE))


def test_every_flipped_bit_is_refused() -> None:
    verdicts = []
    for bit in range(8 * KNOCK_BYTES):
        datagram = bytearray(sealed())
        datagram[bit // 8] ^= 1 << bit % 8
        verdicts.append(open_knock(bytes(datagram), TABLE))
    assert len(verdicts) == 352
    assert verdicts[:32] == [(Verdict.WRONG_MAGIC, None)] * 32
    assert verdicts[32:] == [(Verdict.NOT_AUTHENTIC, None)] * 320


@pytest.mark.parametrize("length", [n for n in range(101) if n != KNOCK_BYTES])
def test_any_other_length_is_refused(length: int) -> None:
    datagram = (sealed() + bytes(100))[:length]
    assert open_knock(datagram, TABLE) == (Verdict.WRONG_LENGTH, None)


def test_another_server_does_not_open_it() -> None:
    assert open_knock(sealed(), KnockTable(bytes(32), {"fleet": KEY})) == (Verdict.NOT_AUTHENTIC, None)


def test_another_psk_does_not_open_it() -> None:
    table = KnockTable(SERVER, {"fleet": derive_knock_key(bytes(32))})
    assert open_knock(sealed(), table) == (Verdict.NOT_AUTHENTIC, None)


def test_the_table_names_the_holder() -> None:
    other = derive_knock_key(bytes([1] * 32))
    table = KnockTable(SERVER, {"fleet": KEY, "anna": other})
    for key, holder in ((KEY, "fleet"), (other, "anna")):
        _, knock = open_knock(seal(key, SERVER, NOW, PORT, NONCE), table)
        assert knock is not None
        assert knock.holder == holder


def test_an_empty_table_opens_nothing() -> None:
    assert open_knock(sealed(), KnockTable(SERVER, {})) == (Verdict.NOT_AUTHENTIC, None)


@pytest.mark.parametrize("version", [0, 2, 256, 65_535])
def test_another_version_is_refused(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperion.proto.knock.KNOCK_VERSION", version)
    datagram = sealed()
    monkeypatch.undo()
    assert open_knock(datagram, TABLE) == (Verdict.WRONG_VERSION, None)


def test_only_the_tunnel_port_is_opened() -> None:
    knock = Knock("fleet", NOW, PORT, NONCE)
    assert knock.verdict_for(PORT) is Verdict.ACCEPTED
    verdicts = {knock.verdict_for(port) for port in range(65_536) if port != PORT}
    assert verdicts == {Verdict.WRONG_PORT}


@pytest.mark.parametrize("port", [0, 1, 65_535])
@pytest.mark.parametrize("timestamp", [0, 1, 2**63, 2**64 - 1])
def test_extreme_values_survive(timestamp: int, port: int) -> None:
    assert open_knock(sealed(timestamp, port), TABLE)[1] == Knock("fleet", timestamp, port, NONCE)


@pytest.mark.parametrize(
    ("timestamp", "port", "nonce"),
    [(-1, PORT, NONCE), (2**64, PORT, NONCE), (NOW, -1, NONCE), (NOW, 65_536, NONCE), (NOW, PORT, NONCE[1:])],
)
def test_what_does_not_fit_is_not_sealed(timestamp: int, port: int, nonce: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        sealed(timestamp, port, nonce)
