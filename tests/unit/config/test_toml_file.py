import os
import threading
import time
from pathlib import Path

import pytest

from hyperion.config.schema import ClientFile, ServerFile
from hyperion.config.toml_file import MAX_FILE_BYTES, parse, read
from hyperion.errors import ConfigError, ConfigMissingError
from tests.helpers.config_files import client_text, server_text


def complaint(directory: Path, text: str | bytes, schema: type[ServerFile | ClientFile] = ServerFile) -> str:
    """What is wrong with ``text``, without the file's name."""
    path = directory / "c.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        read(path, schema)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    hint = f" ({caught.value.hint})" if caught.value.hint else ""
    return message.removeprefix(f"{path}: ") + hint


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path / "none" / "c.toml"):
        with pytest.raises(ConfigMissingError, match=r"^no configuration file .*\.toml$"):
            read(path, ServerFile)


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        read(tmp_path, ServerFile)


@pytest.mark.timeout(10)
def test_a_named_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.toml")
    with pytest.raises(ConfigError, match=r"c\.toml: expected a regular file"):
        read(tmp_path / "c.toml", ServerFile)
    with pytest.raises(ConfigError, match="/dev/zero: expected a regular file"):
        read(Path("/dev/zero"), ServerFile)


@pytest.mark.timeout(30)
def test_what_the_caller_has_opened_for_us_is_read_to_its_end(tmp_path: Path) -> None:
    """As ``--config <(...)`` of a shell: it comes in pieces, and later than we look."""
    text = server_text(tmp_path).encode()
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file:
            for piece in (text[:10], text[10:]):
                time.sleep(0.05)
                file.write(piece)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert read(Path(f"/dev/fd/{reader}"), ServerFile) == parse(Path("x"), text, ServerFile)
    finally:
        thread.join()
        os.close(reader)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = \n", "line 1, column 5: expected valid TOML: invalid value"),
        ("a = 1\na = 2\n", "line 2, column 6: expected valid TOML: cannot overwrite a value"),
        ("[a\n", "line 1, column 3: expected valid TOML: expected ']' at the end of a table declaration"),
        ('a = "x', "at the end of the file: expected valid TOML: unterminated string (at end of document)"),
        ("a = 2026-02-31", "line 1, column 5: expected valid TOML: invalid date or datetime"),
        (b"a = 1\nb = '\xff'\n", "line 2, column 6: expected UTF-8 text"),
        (b"\xff", "line 1, column 1: expected UTF-8 text"),
        ("a = " + "[" * 5000 + "]" * 5000, "expected valid TOML of reasonable size"),
        ("a = " + "9" * 5000, "expected valid TOML of reasonable size"),
        ("#" * (MAX_FILE_BYTES + 1), "expected at most 1048576 bytes"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert complaint(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "[egress]",
            "[egres]",
            (
                "expected one of the keys listen, key, identity, admin, egress, limits, knock, firewall, got"
                ' "egres" (did you mean egress?)'
            ),
        ),
        (
            "[egress]",
            "[egress]\nalow = []",
            '[egress]: expected one of the keys allow, got "alow" (did you mean allow?)',
        ),
        ("[egress]", "[egress]\n'a\\u001b' = 1", '[egress]: expected one of the keys allow, got "a\\u001b"'),
        ('"127.0.0.1:8443"', "8443", "listen: expected HOST:PORT or [IPV6]:PORT, got 8443"),
        ("listen", "#", "listen: expected HOST:PORT or [IPV6]:PORT, got nothing"),
        ('source = "value"', "", '[key] source: expected one of "env", "file", "passphrase", "value", got nothing'),
        (
            'source = "value"',
            'source = "vault"',
            '[key] source: expected one of "env", "file", "passphrase", "value", got a text',
        ),
        ("[22, 5432]", "22", "[egress] allow: expected a list, got 22"),
        ("[22, 5432]", "[22, 70000]", "[egress] allow #2: expected a port from 1 to 65535, got 70000"),
        ("[22, 5432]", "[0]", "[egress] allow #1: expected a port from 1 to 65535, got 0"),
        ("[22, 5432]", '["22"]', '[egress] allow #1: expected a port from 1 to 65535, got "22"'),
        ("[22, 5432]", "[true]", "[egress] allow #1: expected a port from 1 to 65535, got true"),
        ("[22, 5432]", "[22.0]", "[egress] allow #1: expected a port from 1 to 65535, got 22.0"),
        (
            "[egress]",
            "[limits]\nhandshake_timeout_ms = 0\n[egress]",
            "[limits] handshake_timeout_ms: expected milliseconds from 1 to 600000, got 0",
        ),
        ("[egress]", "[knock]\nenabled = 1\n[egress]", "[knock] enabled: expected true or false, got 1"),
        ("[egress]", "[knock]\nknock_port = 0\n[egress]", "[knock] knock_port: expected a port from 1 to 65535, got 0"),
        (
            "[egress]",
            "[knock]\nwindow_secs = 3601\n[egress]",
            "[knock] window_secs: expected seconds from 1 to 3600, got 3601",
        ),
        (
            "[egress]",
            "[firewall]\nttl_secs = -1\n[egress]",
            "[firewall] ttl_secs: expected seconds from 1 to 86400, got -1",
        ),
        (
            "[egress]",
            "[firewall]\ntable = 'a; flush ruleset'\n[egress]",
            '[firewall] table: expected a letter or _, then up to 30 letters, digits or _, got "a; flush ruleset"',
        ),
        (
            "[egress]",
            '[firewall]\nset = "a\\n"\n[egress]',
            '[firewall] set: expected a letter or _, then up to 30 letters, digits or _, got "a\\n"',
        ),
        (
            "[egress]",
            "[firewall]\ntable = ''\n[egress]",
            '[firewall] table: expected a letter or _, then up to 30 letters, digits or _, got ""',
        ),
    ],
)
def test_what_is_wrong_with_a_server_file(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert complaint(tmp_path, server_text(tmp_path).replace(old, new)) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'source = "value"',
            'source = "vault"',
            '[key] source: expected one of "env", "file", "passphrase", "value", got a text',
        ),
        (
            "[key]",
            "[key]\nfiles = 'x'",
            (
                "[key]: expected one of the keys source, file, env_var, value, passphrase_env, salt, got"
                ' "files" (did you mean file?)'
            ),
        ),
        ('name = "db1"', "", "[[server]] #2 name: expected a name, got nothing"),
        ('name = "db1"', "name = 5", "[[server]] #2 name: expected a name, got 5"),
        ("[[server]]", "[server]", "server: expected a list of sections, got a section"),
        (
            "[[server]]",
            "[[servers]]",
            (
                "expected one of the keys admin_static_key_file, pool_size, key, knock, tun, server,"
                ' forward, socks, got "servers" (did you mean server?)'
            ),
        ),
        ("[key]", "pool_size = 65\n[key]", "pool_size: expected a number from 1 to 64, got 65"),
        ("[key]", "pool_size = 0\n[key]", "pool_size: expected a number from 1 to 64, got 0"),
        (
            'name = "db1"',
            'name = "db1"\npool_size = 65',
            "[[server]] #2 pool_size: expected a number from 1 to 64, got 65",
        ),
        ("remote_port = 22", "remote_port = 0", "[[forward]] #1 remote_port: expected a port from 1 to 65535, got 0"),
        ("[key]", "[tun]\nprefix = 31\n[key]", "[tun] prefix: expected a prefix length from 1 to 30, got 31"),
        ("[key]", "[tun]\nmtu = 67\n[key]", "[tun] mtu: expected bytes from 68 to 65535, got 67"),
        ("[key]", "[knock]\nport = 65536\n[key]", "[knock] port: expected a port from 1 to 65535, got 65536"),
    ],
)
def test_what_is_wrong_with_a_client_file(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = client_text(tmp_path)
    if old == "[[server]]":
        text = text[: text.index(old)] + new
    assert complaint(tmp_path, text.replace(old, new), ClientFile) == expected


def test_a_secret_of_the_wrong_type_is_not_shown(tmp_path: Path) -> None:
    text = server_text(tmp_path).replace("[key]", "[key]\nsalt = 12345678")
    assert complaint(tmp_path, text) == "[key] salt: expected a text, got a number"


def test_a_missing_section(tmp_path: Path) -> None:
    assert complaint(tmp_path, 'listen = "a:1"') == "key: expected a section [key], got nothing"


def test_a_name_that_imitates_the_parser_stays_one_line(tmp_path: Path) -> None:
    for name in ("x` - at `$.listen", "x` - at `$[0]", "x` - at `$.egress.allow[7]", "` - at `$"):
        assert "expected" in complaint(tmp_path, f'{server_text(tmp_path)}\n["{name}"]\na = 1')


def test_byte_order_mark_and_dos_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf" + server_text(tmp_path).replace("\n", "\r\n").encode())
    assert read(path, ServerFile).listen == "127.0.0.1:8443"
