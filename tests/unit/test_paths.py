from pathlib import Path

import pytest

from hyperion.paths import config_directory, expand_home


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HYPERION_HOME": "/h", "XDG_CONFIG_HOME": "/x", "HOME": "/home/a"}, "/h"),
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/home/a"}, "/x/hyperion"),
        ({"APPDATA": "/data", "HOME": "/home/a"}, "/data/hyperion"),
        ({"HOME": "/home/a"}, "/home/a/.config/hyperion"),
        ({"HYPERION_HOME": "", "XDG_CONFIG_HOME": "", "HOME": "/home/a"}, "/home/a/.config/hyperion"),
        ({}, "hyperion"),
    ],
)
def test_config_directory(environ: dict[str, str], expected: str) -> None:
    assert config_directory(environ) == Path(expected)


@pytest.mark.parametrize(
    ("name", "environ", "expected"),
    [
        ("~/a.key", {"HOME": "/home/a"}, "/home/a/a.key"),
        ("~/a.key", {"USERPROFILE": "/users/a"}, "/users/a/a.key"),
        ("~/a.key", {}, "~/a.key"),
        ("~b/a.key", {"HOME": "/home/a"}, "~b/a.key"),
        ("a.key", {"HOME": "/home/a"}, "a.key"),
        ("/etc/a.key", {"HOME": "/home/a"}, "/etc/a.key"),
    ],
)
def test_expand_home(name: str, environ: dict[str, str], expected: str) -> None:
    assert expand_home(name, environ) == Path(expected)


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_HOME", "/elsewhere")
    monkeypatch.setenv("HOME", "/home/a")
    assert config_directory() == Path("/elsewhere")
    assert expand_home("~/k") == Path("/home/a/k")
