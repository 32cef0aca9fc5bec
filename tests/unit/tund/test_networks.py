"""Which networks clash, and where there is room."""

import random
from ipaddress import IPv4Network

import pytest

from hyperion.tund.networks import Network, clash, free_network, parse


def networks(*texts: str) -> list[Network]:
    return [parse(text) for text in texts]


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("10.99.0.1/24", "10.99.0.0/24"),
        ("10.99.0.1/24", "10.99.0.200/32"),
        ("10.99.0.1/24", "10.96.0.0/11"),
        ("10.99.0.1/24", "10.0.0.0/8"),
        ("fd68::1/96", "fd68::/16"),
    ],
)
def test_an_overlap_is_a_clash(wanted: str, taken: str) -> None:
    assert clash(parse(wanted), networks("192.0.2.0/24", taken)) == parse(taken)


@pytest.mark.parametrize("taken", ["0.0.0.0/0", "0.0.0.0/1", "8.0.0.0/5", "10.99.1.0/24", "::/0", "fd68::/16"])
def test_what_is_no_clash(taken: str) -> None:
    assert clash(parse("10.99.0.1/24"), networks(taken)) is None


def test_a_free_network_is_free_whatever_is_taken() -> None:
    chance = random.Random(1)
    for _ in range(200):
        prefix = chance.randrange(9, 31)
        taken = [
            IPv4Network(
                (int(IPv4Network("10.0.0.0/8").network_address) + chance.randrange(1 << 24), length), strict=False
            )
            for length in (chance.randrange(8, 31) for _ in range(chance.randrange(6)))
        ]
        found = free_network(prefix, taken)
        if found is not None:
            assert found.is_private
            assert found.prefixlen == prefix
            assert clash(found, taken) is None


def test_everything_private_is_taken() -> None:
    taken = networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")
    assert free_network(24, taken) is None
    assert free_network(24, taken[:2]) is not None
    assert free_network(4, []) is None
