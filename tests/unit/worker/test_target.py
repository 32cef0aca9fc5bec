"""A server of the configuration as a connector knows it."""

from ipaddress import IPv4Address

from hyperion.config import Endpoint, KnockSettings, ServerEntry
from hyperion.config.knock import knock_order
from hyperion.proto.keys import PrivateKey, Psk, PublicKey
from hyperion.worker.target import target_of

IDENTITY = PrivateKey.from_entropy(bytes([0x11] * 32))
ENTRY = ServerEntry(
    "web1", Endpoint("192.0.2.1", 8443), PublicKey(bytes([7] * 32)), Psk(bytes(32)), 2, IPv4Address("10.99.0.10")
)


def test_each_key_is_in_its_place() -> None:
    target = target_of(ENTRY, IDENTITY, KnockSettings(enabled=False, port=None, window=0))
    assert (target.name, target.host, target.port) == ("web1", "192.0.2.1", 8443)
    assert (target.server_public, target.static_secret, target.psk) == (bytes([7] * 32), IDENTITY.raw, bytes(32))
    assert target.knock is None


def test_it_is_told_how_to_knock() -> None:
    settings = KnockSettings(enabled=True, port=5353, window=0)
    assert target_of(ENTRY, IDENTITY, settings).knock == knock_order(ENTRY, settings)
