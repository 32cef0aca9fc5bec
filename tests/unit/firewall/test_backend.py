import pytest

from hyperion.firewall import backend as backend_module
from hyperion.firewall.backend import open_backend
from hyperion.firewall.nft import NftMissingError


def test_auto_takes_the_library_else_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise NftMissingError

    monkeypatch.setattr(backend_module, "NftLibrary", lambda: "library")
    monkeypatch.setattr(backend_module, "NftProgram", lambda: "program")
    assert (str(open_backend()), str(open_backend("program"))) == ("library", "program")
    monkeypatch.setattr(backend_module, "NftLibrary", missing)
    assert str(open_backend()) == "program"
    with pytest.raises(NftMissingError):
        open_backend("library")
