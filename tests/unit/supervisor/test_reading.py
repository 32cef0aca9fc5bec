"""Reading that may hang."""

import threading

import pytest

from hyperion.errors import ConfigError, TemporaryError
from hyperion.supervisor import reading
from hyperion.supervisor.reading import read_again


async def test_what_it_says() -> None:
    assert await read_again(lambda: "new") == "new"


async def test_what_is_wrong_with_it() -> None:
    def load() -> None:
        raise ConfigError("it is wrong")

    with pytest.raises(ConfigError, match="it is wrong"):
        await read_again(load)


async def test_a_file_system_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_READ_SECONDS", 0.01)
    with pytest.raises(TemporaryError, match="could not be read within"):
        await read_again(threading.Event().wait)
