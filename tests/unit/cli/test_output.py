import io
import os
import sys

import pytest

from hyperion.cli.output import forget_output, say
from hyperion.errors import CannotCreateError


def test_a_line_is_out_at_once(tmp_path: "os.PathLike[str]", monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.path.join(tmp_path, "out")
    with open(path, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        say("forward a -> b")
        with open(path) as reader:
            assert reader.read() == "forward a -> b\n"


def test_a_line_and_its_end_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's log line must not come between them, with PYTHONUNBUFFERED either."""
    writes: list[bytes] = []

    class Raw(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            writes.extend([bytes(data)] if data else [])  # TextIOWrapper flushes with nothing, too
            return len(data)

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Raw(), encoding="utf-8", write_through=True))  # type: ignore[type-var]
    say("forward a -> b")
    assert writes == [b"forward a -> b\n"]


def test_characters_that_the_terminal_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    say("bücher")
    assert raw.getvalue() == b"b\\xfccher\n"


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(CannotCreateError, match="cannot write the output: no space left on device"):
            say("x")


def test_a_reader_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(BrokenPipeError):
            say("x")
        forget_output()


def test_no_standard_output_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    say("x")
