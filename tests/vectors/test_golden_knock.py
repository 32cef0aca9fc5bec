"""The golden knock, by ``hyperion.proto.knock`` and by hand."""

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto.knock import Knock, KnockTable, Verdict, derive_knock_key, open_knock, seal
from tests.peer.noise import hkdf
from tests.vectors.numbers import GOLDEN, golden

KNOCK_KEY, NONCE, PAYLOAD, PACKET = (
    bytes.fromhex(GOLDEN["knock"][name]) for name in ("key", "nonce", "payload", "packet")
)
TIMESTAMP, PORT = int(GOLDEN["knock"]["timestamp"]), int(GOLDEN["knock"]["port"])


def test_key() -> None:
    assert derive_knock_key(golden("psk")) == KNOCK_KEY
    assert hkdf(b"hyperion-vpn knock key v1", golden("psk"), 2)[0] == KNOCK_KEY


def test_packet_by_hand() -> None:
    aead = ChaCha20Poly1305(KNOCK_KEY)
    sealed = aead.encrypt(NONCE, PAYLOAD, b"HVPK" + golden("server_public"))
    assert b"HVPK" + NONCE + sealed == PACKET


def test_packet_by_hyperion() -> None:
    assert seal(KNOCK_KEY, golden("server_public"), TIMESTAMP, PORT, NONCE) == PACKET
    table = KnockTable(golden("server_public"), {"fleet": KNOCK_KEY})
    assert open_knock(PACKET, table) == (Verdict.ACCEPTED, Knock("fleet", TIMESTAMP, PORT, NONCE))
