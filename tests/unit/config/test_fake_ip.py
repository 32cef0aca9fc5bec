from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.config.fake_ip import NoFreeAddress, assign, next_free
from hyperion.config.settings import TunSettings

DEFAULT = TunSettings(IPv4Address("10.99.0.1"), 24, 1420)


def given_out(tun: TunSettings, *wanted: str | None) -> list[str]:
    return [str(address) for address in assign(tun, [None if text is None else IPv4Address(text) for text in wanted])]


def test_the_lowest_from_ten_up_in_the_order_of_the_file() -> None:
    assert given_out(DEFAULT, None, None, None) == ["10.99.0.10", "10.99.0.11", "10.99.0.12"]


def test_what_is_asked_for_is_reserved_first() -> None:
    assert given_out(DEFAULT, None, "10.99.0.10", None, "192.168.1.1", "10.99.0.12") == [
        *("10.99.0.11", "10.99.0.10", "10.99.0.13", "192.168.1.1", "10.99.0.12"),
    ]


def test_the_device_keeps_its_own() -> None:
    assert given_out(TunSettings(IPv4Address("10.99.0.10"), 24, 1420), None) == ["10.99.0.11"]


def test_the_subnet_is_that_of_the_device() -> None:
    assert given_out(TunSettings(IPv4Address("10.7.9.1"), 16, 1420), None) == ["10.7.0.10"]


@pytest.mark.parametrize(("prefix", "room"), [(30, 0), (29, 0), (28, 5), (24, 245)])
def test_room(prefix: int, room: int) -> None:
    """Up to the last address before the broadcast address; the 11th host of a /28 would be the last but four."""
    tun = TunSettings(IPv4Address("10.99.0.1"), prefix, 1420)
    assert len(assign(tun, [None] * room)) == room
    with pytest.raises(NoFreeAddress) as caught:
        assign(tun, [None] * (room + 1))
    assert caught.value.place == room


def test_one_more() -> None:
    assert next_free(DEFAULT, []) == IPv4Address("10.99.0.10")
    assert next_free(DEFAULT, [IPv4Address("10.99.0.10"), IPv4Address("10.99.0.12")]) == IPv4Address("10.99.0.11")
    assert next_free(TunSettings(IPv4Address("10.99.0.1"), 30, 1420), []) is None


@given(
    address=st.ip_addresses(v=4).map(lambda address: IPv4Address(int(address))),
    prefix=st.integers(1, 30),
    wanted=st.lists(st.none() | st.integers(0, 40).map(lambda host: IPv4Address(f"10.99.0.{host}")), max_size=30),
)
def test_everybody_has_an_address_of_his_own(
    address: IPv4Address, prefix: int, wanted: list[IPv4Address | None]
) -> None:
    asked = [each for each in wanted if each is not None]
    if len(set(asked)) != len(asked):
        wanted = [*dict.fromkeys(asked), None]
        asked = [each for each in wanted if each is not None]
    try:
        result = assign(TunSettings(address, prefix, 1420), wanted)
    except NoFreeAddress:
        # A /25 has room for more than the 30 that are asked for here.
        assert prefix > 25
        return
    assert len(set(result)) == len(wanted)
    network = IPv4Network((address, prefix), strict=False)
    for one, want in zip(result, wanted, strict=True):
        assert one == want or (want is None and one in network and one != address)
        assert want is not None or 10 <= int(one) - int(network.network_address) < network.num_addresses - 1
