import json
import os
import stat
import threading
from pathlib import Path

import pytest

from hyperion import running
from hyperion.cli import servers
from hyperion.cli.border import run_program
from hyperion.cli.client import program
from hyperion.cli.servers import parse_address
from hyperion.config import Secrets, load_client
from hyperion.config.name import NAME_RULE
from hyperion.errors import UsageError
from hyperion.running import Running
from tests.helpers.config_files import SERVER_SECRET, client_text, leaks

KEY = str(SERVER_SECRET.public())
#: 32 zero bytes: whoever has any private key shares the same secret with it.
NOBODY = "A" * 43 + "="
ADD = ("add-server", "new", "203.0.113.10", KEY)
#: Half of an address in brackets: the other half may be what was meant.
HALF_BRACKETS = ("[::1", "::1]", "[[::1]", "[::1]]", "[2001:db8::1", "[2001:db8::1:443")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    (tmp_path / "hyperion.toml").write_text("# mine\n" + client_text(tmp_path))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-client", program, arguments)
    out, err = capsys.readouterr()
    assert not leaks(out + err)
    return code, out, err


def text(home: Path) -> str:
    return (home / "hyperion.toml").read_text()


def names(home: Path) -> list[str]:
    return [server.name for server in load_client(home / "hyperion.toml", Secrets(None, {})).servers]


def test_one_more(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    before = text(home)
    assert run(capsys, *ADD) == (
        0,
        """\
added server new (203.0.113.10:8443) as 10.99.0.12
next: sudo hyperion-client up
then: ssh user@10.99.0.12
      (without root: hyperion-client ssh-config --write, then ssh new)
""",
        "",
    )
    assert text(home) == before + (
        f'\n[[server]]\nname = "new"\naddr = "203.0.113.10:8443"\nserver_pubkey = "{KEY}"\nvirtual_ip = "10.99.0.12"\n'
    )
    assert names(home) == ["web1", "db1", "new"]
    assert sorted(os.listdir(home)) == ["admin.key", "hyperion.toml"]


def test_one_less(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    before = text(home)
    run(capsys, *ADD)
    assert run(capsys, "rm-server", "db1") == (0, "removed server db1\n", "")
    assert names(home) == ["web1", "new"]
    assert run(capsys, "rm-server", "new")[0] == 0
    gone = before[before.index('[[server]]\nname = "db1"') : before.index("[[forward]]")]
    assert text(home) == before.replace(gone, "")


def test_forwards_go_only_if_they_may(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    before = text(home)
    assert run(capsys, "rm-server", "web1") == (
        2,
        "",
        "hyperion-client: error: forwards lead to web1: 127.0.0.1:2201\nhint: --forwards removes them as well\n",
    )
    assert text(home) == before
    assert run(capsys, "rm-server", "web1", "--forwards") == (0, "removed server web1 and 1 forward\n", "")
    assert "[[forward]]" not in text(home)


def test_a_client_that_runs_is_to_be_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "find", lambda program, config_file: Running(Path("/run"), 17))
    assert "\nnext: hyperion-client reload\n" in run(capsys, *ADD)[1]
    assert run(capsys, "rm-server", "new")[1] == "removed server new\nnext: hyperion-client reload\n"


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("add-server", "web1", "h", KEY), 2, "there is a server web1 already"),
        (("add-server", "WEB1", "h", KEY), 2, "there is a server web1 already"),
        (("add-server", "Web1.hyperion", "h", KEY), 2, "there is a server web1 already"),
        (("add-server", "a b", "h", KEY), 2, f"NAME: expected {NAME_RULE}"),
        (("add-server", "--", "-web", "h", KEY), 2, f"NAME: expected {NAME_RULE}"),
        (("add-server", "new", "h", NOBODY), 65, "PUBKEY: a point of small order, which is nobody's key"),
        (("add-server", "--dry-run", "new", "h", NOBODY), 65, "PUBKEY: a point of small order, which is nobody's key"),
        (
            ("add-server", "new", "h:0", KEY),
            2,
            "HOST: expected HOST, HOST:PORT or [IPV6]:PORT: the port is not",
        ),
        (("add-server", "new", "h", "x"), 65, "PUBKEY: not canonical base64"),
        (("add-server", "new", "h", KEY[:40]), 65, "PUBKEY: key must be 32 bytes"),
        (("add-server", "new", "h"), 2, "missing argument 'PUBKEY'"),
        (("rm-server", "web2"), 2, "no server web2 in "),
        (("rm-server",), 2, "missing argument 'NAME'"),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], home: Path, arguments: tuple[str, ...], code: int, error: str
) -> None:
    before = text(home)
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith(f"hyperion-client: error: {error}")
    assert text(home) == before


def test_no_file_and_a_bad_file(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / "hyperion.toml").write_text("nonsense")
    for arguments in (ADD, ("rm-server", "web1")):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (78, "")
        assert "hyperion.toml: " in err
    os.unlink(home / "hyperion.toml")
    for arguments in (ADD, ("rm-server", "web1")):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (66, "")
        assert err.endswith("hint: hyperion-client init makes one\n")


def test_dry_run_shows_the_difference_and_writes_nothing(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    before = text(home)
    code, out, _ = run(capsys, *ADD, "--dry-run")
    assert code == 0
    assert '+virtual_ip = "10.99.0.12"' in out.splitlines()
    code, out, _ = run(capsys, "rm-server", "db1", "--dry-run")
    assert code == 0
    assert '-name = "db1"' in out.splitlines()
    assert text(home) == before


def test_json(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert json.loads(run(capsys, *ADD, "--json")[1]) == {
        "schema": "hyperion.add-server/1",
        "name": "new",
        "addr": "203.0.113.10:8443",
        "server_pubkey": KEY,
        "virtual_ip": "10.99.0.12",
        "config": str(home / "hyperion.toml"),
        "running": False,
    }
    assert json.loads(run(capsys, "rm-server", "new", "--json")[1]) == {
        "schema": "hyperion.rm-server/1",
        "name": "new",
        "forwards": 0,
        "config": str(home / "hyperion.toml"),
        "running": False,
    }


def test_mode_and_link_stay(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    real = tmp_path_factory.mktemp("repository") / "client.toml"
    (home / "hyperion.toml").rename(real)
    real.chmod(0o640)
    (home / "hyperion.toml").symlink_to(real)
    assert run(capsys, *ADD)[0] == 0
    assert (home / "hyperion.toml").is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert names(home)[-1] == "new"


def test_a_subnet_without_room(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / "hyperion.toml").write_text(text(home).replace("[key]", "[tun]\nprefix = 28\n[key]"))
    for place in range(3):
        assert run(capsys, "add-server", f"new{place}", "h", KEY)[0] == 0
    code, _, err = run(capsys, *ADD)
    assert code == 78
    assert "no free virtual IP left in the tun subnet" in err


def test_an_edit_that_would_say_something_else_is_not_made(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = text(home)
    monkeypatch.setattr(servers, "add_section", lambda old, kind, new: old.replace("db1", "db2"))
    code, out, err = run(capsys, *ADD)
    assert (code, out) == (70, "")
    assert "the edit would not say what it should\nhint: nothing was changed" in err
    assert text(home) == before


def test_many_at_once_lose_nothing(home: Path) -> None:
    codes: list[int] = []

    def add(number: int) -> None:
        codes.append(servers.run_add(None, f"new{number}", "h", KEY, dry_run=False, as_json=True))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert codes == [0] * 8
    assert sorted(names(home)[2:]) == [f"new{number}" for number in range(8)]
    addresses = [server.virtual_ip for server in load_client(home / "hyperion.toml", Secrets(None, {})).servers]
    assert len(set(addresses)) == 10


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("h", "h:8443"),
        ("h:1", "h:1"),
        ("203.0.113.10", "203.0.113.10:8443"),
        ("2001:db8::1", "[2001:db8::1]:8443"),
        ("[2001:DB8::1]", "[2001:db8::1]:8443"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
    ],
)
def test_addresses(written: str, meant: str) -> None:
    assert str(parse_address(written)) == meant


@pytest.mark.parametrize(
    "written", ["", ":", "h:", "h:x", "10.0.0.256", "a b", "2001:db8::1:443:9:9:9:9:9", *HALF_BRACKETS]
)
def test_no_addresses(written: str) -> None:
    with pytest.raises(UsageError):
        parse_address(written)
