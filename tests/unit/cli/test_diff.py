from pathlib import Path

from hyperion.cli.diff import diff

FILE = Path("/h/a.toml")


def test_only_what_changes() -> None:
    assert diff(FILE, "a\nb\nc\n", "a\nx\nc\n").splitlines() == [
        *("--- /h/a.toml (now)", "+++ /h/a.toml (then)", "@@ -2 +2 @@", "-b", "+x"),
    ]
    assert diff(FILE, "a\n", "a\n") == "/h/a.toml stays as it is"


def test_no_key() -> None:
    before = 'salt = "s"\n  key_value = "secret"\nvalue="secret"\n'
    assert diff(FILE, before, "").splitlines()[3:] == ['-salt = "s"', "-  key_value = (hidden)", "-value= (hidden)"]
