"""Whatever a configuration file holds: it loads, or there is one line about it. Never anything else, never a secret."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hyperion.config import Secrets, load_client, load_server
from hyperion.errors import ConfigError
from tests.helpers.config_files import PSK_TEXT, client_text, leaks, server_text

VALUES = st.one_of(
    st.sampled_from(
        ["1", "0", "-1", "70000", "true", "[]", "{}", "[[1]]", "''", "1.5", "nan", "inf", "2026-01-01", "0x" + "f" * 99]
    ),
    st.sampled_from(
        ["", '"', "[", "]]", "= =", "\x00", "\u2028", '"\\u0000"', '"\\u001b[2J"', f'"{PSK_TEXT}"', "{ a = 1 }"]
    ),
    st.text(max_size=20).map(lambda text: "'" + text.replace("'", "") + "'"),
    st.integers().map(str),
)
KEYS = st.one_of(
    st.sampled_from(
        [
            "listen",
            "source",
            "value",
            "salt",
            "file",
            "env_var",
            "passphrase_env",
            "static_key_file",
            "allow",
            "enabled",
            "window_secs",
            "name",
            "addr",
            "server_pubkey",
            "pool_size",
            "virtual_ip",
            "key_env",
            "key_value",
            "local",
            "server",
            "remote_port",
            "prefix",
            "mtu",
            "set",
            "table",
        ]
    ),
    st.text(max_size=10),
)
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    KEYS.map(lambda key: f"[{key}]"),
    KEYS.map(lambda key: f"[[{key}]]"),
    st.text(max_size=30),
)


def judge(text: str | bytes, *, server: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "c.toml"
        (server_text if server else client_text)(Path(name))
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        try:
            (load_server if server else load_client)(path, Secrets(None, {"HYPERION_PASSPHRASE": "fuzz"}))
        except ConfigError as error:
            told = f"{error} {error.hint}"
            assert told.isprintable()
            assert len(told) < 1000
            assert not leaks(told)


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, bool]:
    """A good file with one to three lines replaced, dropped, doubled or put in."""
    server = draw(st.booleans())
    # The key file's name is fixed in judge; here it only has to be the same text each time.
    lines = (SERVER if server else CLIENT).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        new = draw(LINES)
        old = lines[place]
        if "=" in old and draw(st.booleans()):
            new = f"{old.split('=')[0]}= {draw(VALUES)}"
        lines[place : place + draw(st.integers(0, 1))] = [new]
    return "\n".join(lines), server


def _text(server: bool) -> str:
    with tempfile.TemporaryDirectory() as name:
        text = (server_text if server else client_text)(Path(name))
        # A value that cannot be a file name of a key, so that a spoilt file never gets as far as reading one.
        return text.replace(name, "\\u0000")


SERVER, CLIENT = _text(True), _text(False)


@settings(max_examples=500)
@given(spoilt())
def test_spoilt_files(case: tuple[str, bool]) -> None:
    text, server = case
    judge(text, server=server)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(content: bytes, server: bool) -> None:
    judge(content, server=server)


@settings(max_examples=200)
@given(st.lists(LINES, max_size=12).map("\n".join), st.booleans())
def test_any_lines(text: str, server: bool) -> None:
    judge(text, server=server)
