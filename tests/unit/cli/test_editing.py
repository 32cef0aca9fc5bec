from pathlib import Path

import pytest

from hyperion import running
from hyperion.cli.editing import editing, put, runs, text_of
from hyperion.errors import ConfigMissingError, InternalError, RefusedError
from hyperion.running import Running


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigMissingError) as caught, editing(tmp_path / "server.toml", "server"):
        pass
    assert caught.value.hint == "hyperion-server init makes one"


def test_text_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes("\ufeffa = 1\r\n".encode())
    with editing(path, "client") as original:
        put(path, original, text_of(original) + "b = 2\r\n", lambda content: content.endswith(b"b = 2\r\n"))
    assert path.read_bytes() == "\ufeffa = 1\r\nb = 2\r\n".encode()


def test_what_says_something_else_is_not_put_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"a = 1\n")
    with editing(path, "client") as original, pytest.raises(InternalError, match="would not say what it should"):
        put(path, original, "b = 2\n", lambda content: False)
    assert path.read_bytes() == b"a = 1\n"


def test_whether_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(program: str, config_file: Path | None) -> Running | None:
        raise RefusedError("no")

    monkeypatch.setattr(running, "find", lambda program, config_file: None)
    assert not runs("server", None)
    monkeypatch.setattr(running, "find", lambda program, config_file: Running(Path("/run"), 1))
    assert runs("server", None)
    monkeypatch.setattr(running, "find", refuse)
    assert runs("server", None)
