import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.firewall.nft import FirewallError, NftMissingError, NoSuchObjectError
from hyperion.firewall.nft_library import NftLibrary, find_module

STAND_IN = """
class Nftables:
    dry = False
    def __init__(self): self.flags = {}
    def set_json_output(self, on): self.flags["json"] = on
    def set_stateless_output(self, on): self.flags["stateless"] = on
    def set_terse_output(self, on): self.flags["terse"] = on
    def set_handle_output(self, on): self.flags["handle"] = on
    def set_dry_run(self, on): self.dry = on
    def cmd(self, text):
        if text == "missing": return 1, "", "Error: No such file or directory"
        return 0, repr((text, sorted(name for name, on in self.flags.items() if on), self.dry)), ""
"""


@pytest.fixture(autouse=True)
def no_module() -> Iterator[None]:
    """As if nobody had loaded it yet; the real one comes back for other tests."""
    real = sys.modules.pop("nftables", None)
    yield
    sys.modules.pop("nftables", None)
    if real is not None:
        sys.modules["nftables"] = real


def stand_in(tmp_path: Path, text: str = STAND_IN) -> list[str]:
    (tmp_path / "nftables").mkdir(exist_ok=True)
    (tmp_path / "nftables" / "__init__.py").write_text(text)
    return ["/nowhere", str(tmp_path)]


def test_lists_are_asked_for_with_their_flags(tmp_path: Path) -> None:
    nft = NftLibrary(stand_in(tmp_path))
    assert nft.list_text("table", "inet", "a") == repr(("list table inet a", ["stateless", "terse"], False))
    with_handles = nft.list_text("table", "inet", "a", handles=True)
    assert with_handles == repr(("list table inet a", ["handle", "stateless", "terse"], False))
    assert nft.list_whole("set", "inet", "a", "b") == repr(("list set inet a b", [], False))
    assert nft.list_json("ruleset") == repr(("list ruleset", ["json"], False))
    assert nft.name == "libnftables"


def test_failures_are_errors_and_a_failed_check_does_not_stay_dry(tmp_path: Path) -> None:
    nft = NftLibrary(stand_in(tmp_path))
    for call in (nft.load, nft.check):
        with pytest.raises(NoSuchObjectError):
            call("missing")
    nft.load("x")
    assert nft.list_json("x").endswith("False)")


def test_no_module(tmp_path: Path) -> None:
    with pytest.raises(NftMissingError, match="not installed") as caught:
        find_module(["/nowhere", str(tmp_path)])
    assert "python3-nftables" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import not_a_module_of_anybody", "cannot be loaded: ModuleNotFoundError"),
        ("def", "cannot be loaded: SyntaxError"),
        ("x = 1", "cannot be used"),
        ("class Nftables:\n  def __init__(self): raise OSError('no libnftables.so.1')", "no libnftables"),
        (STAND_IN.replace("set_terse_output", "other"), "cannot be used"),
    ],
)
def test_a_module_that_does_not_work(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(FirewallError, match=words):
        NftLibrary(stand_in(tmp_path, text))


def test_it_is_loaded_once(tmp_path: Path) -> None:
    assert find_module(stand_in(tmp_path)) is find_module([])
