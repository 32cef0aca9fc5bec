from ipaddress import IPv4Address

from hyperion.config import Endpoint, KnockSettings, ServerEntry
from hyperion.config.knock import knock_order
from hyperion.proto.control import KnockOrder
from hyperion.proto.keys import Psk, PublicKey
from hyperion.proto.knock import derive_knock_key

PSK = bytes(range(32))
SERVER = ServerEntry(
    "web1", Endpoint("192.0.2.1", 8443), PublicKey(bytes([7] * 32)), Psk(PSK), 2, IPv4Address("10.99.0.10")
)


def test_who_does_not_knock_has_no_order() -> None:
    assert knock_order(SERVER, KnockSettings(enabled=False, port=5353, window=0)) is None


def test_the_key_is_derived_and_the_port_is_the_tunnels_unless_named() -> None:
    key = derive_knock_key(PSK)
    assert knock_order(SERVER, KnockSettings(enabled=True, port=None, window=0)) == KnockOrder(key, 8443)
    assert knock_order(SERVER, KnockSettings(enabled=True, port=5353, window=0)) == KnockOrder(key, 5353)


def test_it_does_not_show_its_key() -> None:
    order = KnockOrder(bytes([0xAB] * 32), 8443, -5)
    assert repr(order) == "KnockOrder(port=8443, skew_ms=-5)"
    assert dict(order.__rich_repr__()) == {"port": 8443, "skew_ms": -5}
