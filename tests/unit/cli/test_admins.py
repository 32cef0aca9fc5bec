import datetime
import json
from pathlib import Path

import pytest

from hyperion import running
from hyperion.cli.admins import parse_end
from hyperion.cli.border import run_program
from hyperion.cli.server import program
from hyperion.config import Admin, Secrets, load_server
from hyperion.config.name import NAME_RULE
from hyperion.errors import UsageError
from hyperion.proto.keys import PrivateKey
from hyperion.running import Running
from tests.helpers.config_files import ADMIN_SECRET, leaks, server_text

ALICE = PrivateKey(b"\x44" * 32).public()
BARE = ADMIN_SECRET.public()
#: 32 zero bytes: whoever has any private key shares the same secret with it.
NOBODY = "A" * 43 + "="
ADD = ("add-admin", "alice", str(ALICE))
NOW = datetime.datetime(2026, 11, 26, 18, 0, 0, 500, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    (tmp_path / "server.toml").write_text("# mine\n" + server_text(tmp_path))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program("hyperion-server", program, arguments)
    out, err = capsys.readouterr()
    assert not leaks(out + err)
    return code, out, err


def text(home: Path) -> str:
    return (home / "server.toml").read_text()


def listed(home: Path) -> tuple[Admin, ...]:
    return load_server(home / "server.toml", Secrets(None, {})).admins


def test_one_more(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    before = text(home)
    assert run(capsys, *ADD) == (0, f"added admin alice ({ALICE.fingerprint}; ports 22,5432; until no end)\n", "")
    assert text(home) == before + f'\n[[admin]]\nname = "alice"\npubkey = "{ALICE}"\n'
    assert listed(home)[1] == Admin("alice", ALICE, frozenset({22, 5432}))


def test_ports_and_an_end_of_its_own(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, out, _ = run(capsys, *ADD, "--allow", "80,443", "--expires", "2999-01-31T18:00:00Z", "--json")
    end = datetime.datetime(2999, 1, 31, 18, tzinfo=datetime.UTC).timestamp()
    assert code == 0
    assert listed(home)[1] == Admin("alice", ALICE, frozenset({80, 443}), end)
    assert json.loads(out) == {
        "schema": "hyperion.add-admin/1",
        "config": str(home / "server.toml"),
        "running": False,
        "admin": {
            "name": "alice",
            "fingerprint": ALICE.fingerprint,
            "pubkey": str(ALICE),
            "allow": [80, 443],
            "expires": "2999-01-31T18:00:00Z",
            "expired": False,
        },
    }


def test_no_port_at_all(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert run(capsys, *ADD, "--allow", "")[0] == 0
    assert listed(home)[1].allow == frozenset()


@pytest.mark.parametrize("who", ["alice", ALICE.fingerprint, str(ALICE)])
def test_one_less(capsys: pytest.CaptureFixture[str], home: Path, who: str) -> None:
    before = text(home)
    run(capsys, *ADD)
    code, out, _ = run(capsys, "rm-admin", who)
    assert (code, out.split(" (")[0]) == (0, "removed admin alice")
    assert text(home) == before


def test_a_bare_key_goes_by_its_fingerprint(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    run(capsys, *ADD)
    assert run(capsys, "rm-admin", BARE.fingerprint)[0] == 0
    assert [admin.name for admin in listed(home)] == ["alice"]
    assert text(home).startswith("# mine\n")


def test_the_last_one_stays(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    before = text(home)
    code, out, err = run(capsys, "rm-admin", BARE.fingerprint)
    assert (code, out) == (2, "")
    assert err == (
        f"hyperion-server: error: {BARE.fingerprint} is the last admin\n"
        "hint: add another one first: nobody could come in\n"
    )
    assert text(home) == before


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("add-admin", "a b", str(ALICE)), 2, f"NAME: expected {NAME_RULE}"),
        (("add-admin", "--", "-a", str(ALICE)), 2, f"NAME: expected {NAME_RULE}"),
        (("add-admin", "alice", NOBODY), 65, "PUBKEY: a point of small order, which is nobody's key"),
        (("add-admin", "--dry-run", "alice", NOBODY), 65, "PUBKEY: a point of small order, which is nobody's key"),
        (("add-admin", "alice", "x"), 65, "PUBKEY: not canonical base64"),
        (("add-admin", "alice", str(BARE)), 2, f"that is the key of {BARE.fingerprint}"),
        ((*ADD, "--allow", "x"), 2, "--allow: x is not a port from 1 to 65535"),
        ((*ADD, "--expires", "soon"), 2, "--expires: expected a date, a date and time, or a time from now"),
        ((*ADD, "--expires", "2020-01-01"), 2, "--expires: that is past"),
        (("rm-admin", "nobody"), 2, "no admin nobody in "),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], home: Path, arguments: tuple[str, ...], code: int, error: str
) -> None:
    before = text(home)
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith(f"hyperion-server: error: {error}")
    assert err.splitlines()[1].startswith("hint: ")
    assert text(home) == before


def test_a_second_one_of_the_same_name(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *ADD)
    code, _, err = run(capsys, "add-admin", "alice", str(PrivateKey(b"\x45" * 32).public()))
    assert code == 2
    assert err == (
        "hyperion-server: error: there is an admin alice already\nhint: hyperion-server rm-admin alice removes it\n"
    )


def test_the_list(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    past = f"""
[[admin]]
name = "old"
pubkey = "{ALICE}"
allow = []
expires = 2020-01-01T00:00:00Z
"""
    (home / "server.toml").write_text(text(home) + past)
    code, out, err = run(capsys, "admins")
    assert (code, err) == (0, "")
    assert (
        out
        == f"""\
name  key                      ports    until
-     {BARE.fingerprint}  22,5432  no end
old   {ALICE.fingerprint}  none     2020-01-01T00:00:00Z (over)
"""
    )
    document = json.loads(run(capsys, "admins", "--json")[1])
    assert document["schema"] == "hyperion.admins/1"
    assert [(each["name"], each["expired"]) for each in document["admins"]] == [
        (BARE.fingerprint, False),
        ("old", True),
    ]


def test_nobody_yet(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / "server.toml").write_text(text(home).replace(f'["{BARE}"]', "[]"))
    assert run(capsys, "admins")[1] == "nobody may come in yet; add somebody: hyperion-server add-admin NAME PUBKEY\n"
    assert run(capsys, *ADD)[0] == 0


def test_dry_run(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    before = text(home)
    assert '+name = "alice"' in run(capsys, *ADD, "--dry-run")[1].splitlines()
    assert text(home) == before
    run(capsys, *ADD)
    before = text(home)
    assert '-name = "alice"' in run(capsys, "rm-admin", "alice", "--dry-run")[1].splitlines()
    assert text(home) == before


def test_a_server_that_runs_is_to_be_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "find", lambda program, config_file: Running(Path("/run"), 17))
    assert run(capsys, *ADD)[1].endswith("next: sudo hyperion-server reload\n")
    assert run(capsys, "rm-admin", "alice")[1].endswith("next: sudo hyperion-server reload\n")


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("2027-01-31", datetime.date(2027, 1, 31)),
        ("2027-01-31T18:00:00Z", datetime.datetime(2027, 1, 31, 18, tzinfo=datetime.UTC)),
        ("2027-01-31 18:00", datetime.datetime(2027, 1, 31, 18)),
        ("30m", datetime.datetime(2026, 11, 26, 18, 30, tzinfo=datetime.UTC)),
        ("12h", datetime.datetime(2026, 11, 27, 6, tzinfo=datetime.UTC)),
        ("90d", datetime.datetime(2027, 2, 24, 18, tzinfo=datetime.UTC)),
        ("2w", datetime.datetime(2026, 12, 10, 18, tzinfo=datetime.UTC)),
    ],
)
def test_ends(written: str, end: datetime.date) -> None:
    assert parse_end(written, NOW) == end


@pytest.mark.parametrize(
    "written", ["", "x", "1", "90", "d", "-1d", "12345d", "2027-02-30", "18:00", "0d", "2020-01-01", "99999-01-01"]
)
def test_no_ends(written: str) -> None:
    with pytest.raises(UsageError, match="--expires: "):
        parse_end(written, NOW)
