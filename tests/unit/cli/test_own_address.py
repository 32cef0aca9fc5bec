import socket

import pytest

from hyperion.cli import own_address
from hyperion.cli.own_address import guess_address, guess_admin, guess_name, is_public
from hyperion.config import Endpoint


@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7", "vpn.example.com"])
def test_what_it_listens_on(host: str) -> None:
    assert guess_address(Endpoint(host, 8443)) == Endpoint(host, 8443)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_everywhere_is_no_address(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {socket.AF_INET: None, socket.AF_INET6: "2001:db8::9"}
    monkeypatch.setattr(own_address, "_source_towards", lambda family, far: own[family])
    assert guess_address(Endpoint(host, 8443)) == Endpoint("2001:db8::9", 8443)
    monkeypatch.setattr(own_address, "_source_towards", lambda family, far: None)
    assert guess_address(Endpoint(host, 8443)) == Endpoint("THIS-SERVER", 8443)


def test_the_kernel_is_asked() -> None:
    assert own_address._source_towards(socket.AF_INET, "127.0.0.1") == "127.0.0.1"
    assert own_address._source_towards(socket.AF_INET, "no address") is None


@pytest.mark.parametrize(
    ("host", "public"),
    [("9.9.9.9", True), ("192.168.1.5", False), ("::1", False), ("vpn.example.com", True), ("THIS-SERVER", False)],
)
def test_who_reaches_it(host: str, public: bool) -> None:
    assert is_public(host) is public


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("Web1.example.com", "web1"),
        ("localhost", "server1"),
        ("", "server1"),
        ("h\u00f6st", "server1"),
        ("a b", "server1"),
    ],
)
def test_names(hostname: str, name: str) -> None:
    assert guess_name(hostname) == name


def test_the_name_of_an_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    assert guess_admin("laptop.example.com") == "alice@laptop"
    assert guess_admin("a b") is None  # no name that a server would take
    assert guess_admin("x" * 64) is None

    def nobody() -> str:
        raise OSError("no such user")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert guess_admin("laptop") is None
