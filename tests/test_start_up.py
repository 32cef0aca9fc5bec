"""What a command loads before it answers. Modules are counted, because a clock would measure the machine.

How long it takes is measured by ``bench.startup``; docs/benchmarks.md has the figures.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.config_files import client_text, server_text

#: Each costs a tenth of a start at least, and no command below has a need of it.
SLOW = frozenset(
    {
        *("argon2", "asyncio", "concurrent", "cryptography", "ctypes", "logging", "multiprocessing", "noise"),
        *("rich", "shutil", "ssl", "structlog", "subprocess", "tomlkit", "uvloop"),
    }
)
#: What only a command needs that reads the configuration, or asks a program that runs. (click asks shutil how wide a
#: terminal is.)
NOT_FOR_WORDS = (SLOW - {"shutil"}) | {"msgspec", "socket", "tomllib", "dataclasses", "hashlib", "traceback"}

#: One command a process, as a shell starts it; says what it loaded, after its own output, on standard error.
SCRIPT = """
import atexit, sys
program, sys.argv = sys.argv[1], sys.argv[1:]
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
if program == "hyperion-client":
    from hyperion.cli.entry import client as main
else:
    from hyperion.cli.server import main
main()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "hyperion.toml").write_text(client_text(tmp_path))
    (tmp_path / "server.toml").write_text(server_text(tmp_path))
    return tmp_path


def loaded(home: Path, line: str, code: int, **environ: str) -> tuple[set[str], str]:
    """Top-level modules, and standard output."""
    environment = {**os.environ, "HYPERION_HOME": str(home), **environ}
    environment.pop("COVERAGE_PROCESS_START", None)
    command = [sys.executable, "-c", SCRIPT, *line.split()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    everything = done.stderr.splitlines()[-1].split()
    # Messages of the supervisor's children: two dozen classes that no command here has a use for.
    assert "hyperion.proto.control" not in everything
    # What opens keys and writes files.
    assert not {"hyperion.config.keyfile", "hyperion.config.safe_file", "hyperion.service_user"} & {*everything}
    return {name.partition(".")[0] for name in everything}, done.stdout


@pytest.mark.parametrize("program", ["hyperion-client", "hyperion-server"])
@pytest.mark.parametrize("arguments", ["--version", "--help", "status --help", "up --help", "completion bash"])
def test_words(home: Path, program: str, arguments: str) -> None:
    modules, said = loaded(home, f"{program} {arguments}", 0)
    assert program in said
    assert not modules & NOT_FOR_WORDS


@pytest.mark.parametrize("arguments", ["doctor --help", "nc --help", "run --help", "ssh-config --help"])
def test_more_words(home: Path, arguments: str) -> None:
    modules, said = loaded(home, f"hyperion-client {arguments}", 0)
    assert "Usage" in said
    assert not modules & (NOT_FOR_WORDS - {"socket"} if arguments.startswith("nc") else NOT_FOR_WORDS)


@pytest.mark.parametrize("program", ["hyperion-client", "hyperion-server"])
@pytest.mark.parametrize("option", ["", "--json", "--verbose"])
def test_the_status_of_what_does_not_run(home: Path, program: str, option: str) -> None:
    modules, said = loaded(home, f"{program} status {option}", 3)
    assert "down" in said
    assert not modules & SLOW


@pytest.mark.parametrize("option", ["", "--json"])
def test_the_list_of_servers(home: Path, option: str) -> None:
    modules, said = loaded(home, f"hyperion-client ls {option}", 0)
    assert "web1" in said
    assert not modules & SLOW


@pytest.mark.parametrize(("command", "word"), [("doctor", "web1"), ("nc", "db1"), ("status", "web1")])
def test_the_tab_key(home: Path, command: str, word: str) -> None:
    words = f"hyperion-client {command} {word[:1]}"
    environ = {"_HYPERION_CLIENT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "2"}
    modules, said = loaded(home, "hyperion-client", 0, **environ)
    assert word in said
    assert not modules & (NOT_FOR_WORDS - {"tomllib"})
