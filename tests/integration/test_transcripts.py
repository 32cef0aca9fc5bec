"""What a person sees: each command of the daemon's life, in each situation, word for word, with its exit code.

The transcripts are in ``transcripts.txt``. After a change that is meant, ``python -m
tests.integration.test_transcripts`` writes them anew, and the difference is to be read.
"""

import re
import tempfile
from pathlib import Path

import pytest

from hyperion.paths import Program
from tests.helpers.home import Home, home, normal
from tests.peer.services import closed_port

FILE = Path(__file__).with_name("transcripts.txt")
TITLES: dict[Program, str] = {"server": "hyperion-server", "client": "hyperion-client"}

#: Commands by program, in the order in which they do not disturb each other.
COMMANDS: dict[Program, tuple[str, ...]] = {
    "server": ("status", "status --json", "reload", "reload --dry-run", "up --dry-run", "up", "down --dry-run", "down"),
    "client": ("status", "reload", "ls", "doctor", "up --dry-run", "up", "down --dry-run", "down"),
}
SITUATIONS = ("no configuration", "bad configuration", "not running", "running")


def prepare(made: Home, situation: str) -> None:
    if situation == "no configuration":
        made.server_file.unlink()
        made.client_file.unlink()
    elif situation == "bad configuration":
        made.server_file.write_text(made.server_file.read_text().replace("listen", "lisen"))
        made.client_file.write_text(made.client_file.read_text().replace("addr", "adr"))
    elif situation == "running":
        # So that nothing depends on who is quicker: the one server of this client is not there.
        made.client_file.write_text(made.client_file.read_text().replace(str(made.port), str(closed_port())))
        assert made.run("server", "up", "--workers", "1").returncode == 0
        assert made.run("client", "up").returncode == 4


def transcript(program: Program, situation: str) -> str:
    """All commands of one program in one situation."""
    with tempfile.TemporaryDirectory() as directory, home(Path(directory)) as made:
        prepare(made, situation)
        blocks = [f"## {TITLES[program]}, {situation}"]
        for words in COMMANDS[program]:
            if situation == "not running" and words in ("up", "doctor"):
                continue  # that is the beginning of another situation
            done = made.run(program, *words.split())
            lines = [f"$ {TITLES[program]} {words}", *done.stdout.splitlines()]
            lines += [f"! {line}" for line in done.stderr.splitlines()]
            blocks.append(settled("\n".join([*lines, f"= {done.returncode}"]), made))
        return "\n\n".join(blocks)


def settled(text: str, made: Home) -> str:
    """Without what differs from run to run."""

    text = normal(text, made)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"(?<=\S)  +", "  ", text)  # how wide a column is hangs on what is in it
    text = re.sub(r"(?m)^(0 +up +)\d+ .*$", r"\1...", text)  # the worker's line
    text = re.sub(r"(?m)^(web1 +\w+ +[\d.]+ +0/2).*$", r"\1 ...", text)
    return re.sub(r'"(pid|at|started_at|heard_s|version)":("[^"]*"|[\d.]+)', r'"\1":...', text)


def expected(program: Program, situation: str) -> str:
    title = f"## {TITLES[program]}, {situation}\n"
    text = FILE.read_text(encoding="utf-8")
    start = text.index(title)
    end = text.find("\n## ", start)
    return text[start : end if end >= 0 else len(text)].strip()


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("program", ["server", "client"])
def test_word_for_word(program: Program, situation: str) -> None:
    assert transcript(program, situation) == expected(program, situation)


def test_each_error_says_what_to_do() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("! hyperion-") and ": error: " in line]
    assert len(errors) > 10
    without = [lines[number] for number in errors if not lines[number + 1].startswith("! hint: ")]
    # What is wrong with a file is said by the line itself: which key, what was expected, what is there.
    assert [line for line in without if "expected" not in line] == []


if __name__ == "__main__":
    parts = [transcript(program, situation) for program in COMMANDS for situation in SITUATIONS]
    FILE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
