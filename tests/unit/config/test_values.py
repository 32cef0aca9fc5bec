from pathlib import Path

import pytest

from hyperion.config.endpoint import Endpoint
from hyperion.config.values import endpoint, is_placeholder, public_key_of_value
from hyperion.errors import ConfigError
from tests.helpers.config_files import ADMIN_SECRET, PSK_TEXT, leaks

FILE = Path("c.toml")


def test_addresses() -> None:
    assert endpoint(FILE, ("listen",), "[::1]:8443") == Endpoint("::1", 8443)
    assert endpoint(FILE, ("forward", 0, "local"), "127.0.0.1:0", lowest_port=0) == Endpoint("127.0.0.1", 0)
    with pytest.raises(ConfigError) as caught:
        endpoint(FILE, ("server", 1, "addr"), "web1:0")
    assert str(caught.value) == (
        'c.toml: [[server]] #2 addr: expected HOST:PORT or [IPV6]:PORT, got "web1:0" '
        "(the port is not between 1 and 65535)"
    )


def test_placeholders() -> None:
    assert is_placeholder(" Change-Me to something of your own")
    assert not is_placeholder("a salt of my own")


def test_public_keys() -> None:
    assert public_key_of_value(FILE, ("k",), str(ADMIN_SECRET.public())) == ADMIN_SECRET.public()
    for text, got in [
        ("<ADMIN_PUBLIC_KEY>", "the placeholder of the example"),
        ("PASTE_THE_KEY", "the placeholder of the example"),
        ("BASE64_ADMIN_KEY", "the placeholder of the example"),
        (PSK_TEXT + "A", "a text that is not one (not canonical base64)"),
    ]:
        with pytest.raises(ConfigError) as caught:
            public_key_of_value(FILE, ("k",), text)
        assert str(caught.value).endswith(f"got {got}")
        assert not leaks(str(caught.value))
