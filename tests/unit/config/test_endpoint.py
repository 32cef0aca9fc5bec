import pytest

from hyperion.config.endpoint import Endpoint


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:8443", "192.0.2.1", 8443),
        ("0.0.0.0:1", "0.0.0.0", 1),
        ("host.name:65535", "host.name", 65535),
        ("localhost:22", "localhost", 22),
        ("my_host-1.example.:22", "my_host-1.example.", 22),
        ("xn--bcher-kva.example:22", "xn--bcher-kva.example", 22),
        ("[::1]:8443", "::1", 8443),
        ("[::]:8443", "::", 8443),
        ("[2001:db8::1]:8443", "2001:db8::1", 8443),
        ("[fe80::1%eth0]:8443", "fe80::1%eth0", 8443),
    ],
)
def test_there_and_back(text: str, host: str, port: int) -> None:
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port) == (host, port)
    assert str(endpoint) == text


def test_ipv6_is_written_in_one_way() -> None:
    assert Endpoint.parse("[2001:DB8:0::0:1]:1") == Endpoint.parse("[2001:db8::1]:1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no port"),
        ("192.0.2.1", "no port"),
        (":", "not a number"),
        (":80", "host name is not valid"),
        ("a:", "not a number"),
        ("a:b", "not a number"),
        ("a:-1", "not a number"),
        ("a:+1", "not a number"),
        ("a: 1", "not a number"),
        ("a:1_0", "not a number"),
        ("a:\u0661", "not a number"),
        ("a:0", "not between 1 and 65535"),
        ("a:65536", "not between 1 and 65535"),
        ("a:100000", "not a number"),
        ("::1:80", "needs brackets"),
        ("2001:db8::1:80", "needs brackets"),
        ("[]:80", "between the brackets"),
        ("[192.0.2.1]:80", "between the brackets"),
        ("[::1:80", "needs brackets"),
        ("[::1]80:1", "needs brackets"),
        ("256.0.0.1:80", "IPv4 address is not valid"),
        ("1.2.3:80", "IPv4 address is not valid"),
        ("010.0.0.1:80", "IPv4 address is not valid"),
        ("a..b:80", "host name"),
        ("-a:80", "host name"),
        ("a b:80", "host name"),
        ("a\n:80", "host name"),
        ("b\u00fccher:80", "host name"),
        ("a/b:80", "host name"),
        (f"{'a' * 64}:80", "host name"),
        (f"{'a.' * 127}a:80", "host name"),
    ],
)
def test_bad_addresses(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Endpoint.parse(text)


def test_port_0_where_allowed() -> None:
    assert Endpoint.parse("127.0.0.1:0", lowest_port=0) == Endpoint("127.0.0.1", 0)


def test_port_0_never_collides() -> None:
    assert Endpoint("localhost", 80).collides(Endpoint("LOCALHOST", 80))
    assert not Endpoint("localhost", 80).collides(Endpoint("localhost", 81))
    assert not Endpoint("::1", 0).collides(Endpoint("::1", 0))
