"""What stands in the way of transparent mode."""

import pytest

from hyperion.cli import transparent_mode
from hyperion.cli.transparent_mode import obstacle


def test_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transparent_mode, "held", lambda rights: rights)
    assert obstacle() is None


def test_no_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transparent_mode, "held", lambda _: frozenset())
    found = obstacle()
    assert found is not None
    assert (found.exit_code, "CAP_NET_ADMIN" in str(found), "root" in str(found.hint)) == (77, True, True)


@pytest.mark.parametrize(("absent", "words"), [(("pytun",), "pytun, which is"), (("pytun", "pyroute2"), "which are")])
def test_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch, absent: tuple[str, ...], words: str) -> None:
    monkeypatch.setattr(transparent_mode, "find_spec", lambda name: None if name in absent else name)
    found = obstacle()
    assert found is not None
    assert words in str(found)
    assert found.hint == "pip install 'hyperion[tun]'"


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    found = obstacle()
    assert found is not None
    assert "Linux" in str(found)
