import subprocess
import sys

import pytest

from hyperion import config


def test_each_name_is_what_its_place_says() -> None:
    """Also those that a type checker sees and the table may have missed."""
    for name in config.__all__:
        found = getattr(config, name)
        assert found.__name__ == name
        assert found.__module__.startswith("hyperion.config.")


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'load_nothing'"):
        config.load_nothing  # noqa: B018


def test_one_name_does_not_load_them_all() -> None:
    script = "import sys; from hyperion.config import read_client; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert "hyperion.config.schema" in loaded
    assert not loaded & {"hyperion.config.keyfile", "hyperion.proto.keys", "cryptography", "argon2"}
