from pathlib import Path

import pytest

from hyperion.config.key_source import (
    identity_of_file,
    psk_of_section,
    psk_of_value,
    psk_of_variable,
)
from hyperion.config.schema import KeySection
from hyperion.config.secrets import Secrets
from hyperion.errors import BadKeyError, ConfigError, HyperionError
from hyperion.proto.keys import Psk
from tests.helpers.config_files import ADMIN_SECRET, PASSPHRASE, PSK_TEXT, leaks, write_key

FILE = Path("c.toml")
PSK = Psk.parse(PSK_TEXT)


def server_psk(secrets: Secrets | None = None, **section: str) -> Psk:
    key = KeySection(**section)  # type: ignore[arg-type]
    return psk_of_section(FILE, key, secrets or Secrets(None, {}), "question: ")


def refusal(kind: type[HyperionError], secrets: Secrets | None, **section: str) -> str:
    with pytest.raises(kind) as caught:
        server_psk(secrets, **section)
    assert not leaks(f"{caught.value} {caught.value.hint}")
    return str(caught.value)


def test_value() -> None:
    assert server_psk(source="value", value=PSK_TEXT) == PSK


def test_env() -> None:
    environ = {"MY_PSK": f" {PSK_TEXT}\n"}
    assert server_psk(Secrets(None, environ), source="env", env_var="MY_PSK") == PSK
    assert environ == {}


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "psk"
    path.write_text(PSK_TEXT + "\n")
    path.chmod(0o600)
    assert server_psk(source="file", file=str(path)) == PSK


def test_a_file_whose_name_has_the_form_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of 43 characters without a dot do, by chance."""
    monkeypatch.chdir(tmp_path)
    write_key(tmp_path / ("k" * 43), ADMIN_SECRET)
    assert identity_of_file(FILE, ("k",), "k" * 43) == ADMIN_SECRET
    with pytest.raises(ConfigError, match="what looks like the key itself"):
        identity_of_file(FILE, ("k",), "l" * 43)


def test_file_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_key(tmp_path / "a.key", ADMIN_SECRET)
    assert identity_of_file(FILE, ("k",), "~/a.key") == ADMIN_SECRET


def test_passphrase_from_the_variable_or_the_terminal() -> None:
    expected = Psk.from_passphrase(PASSPHRASE, "saltsalt")
    for secrets, extra in [
        (Secrets(None, {"HYPERION_PASSPHRASE": PASSPHRASE}), {}),
        (Secrets(None, {"OTHER": PASSPHRASE}), {"passphrase_env": "OTHER"}),
        (Secrets(lambda _: PASSPHRASE, {}), {}),
    ]:
        assert server_psk(secrets, source="passphrase", salt="saltsalt", **extra) == expected


def test_client_sections_work_alike() -> None:
    section = KeySection(source="value", value=PSK_TEXT)
    assert psk_of_section(FILE, section, Secrets(None, {}), "question: ") == PSK


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"source": "passphrase"}, '[key] salt: expected a salt, because source is "passphrase", got nothing'),
        (
            {"source": "passphrase", "salt": "change-me-shared-salt"},
            "[key] salt: expected a salt of your own, got the placeholder of the example",
        ),
        ({"source": "passphrase", "salt": "1234567"}, "[key] salt: expected at least 8 bytes, got fewer"),
        (
            {"source": "passphrase", "salt": "saltsalt", "passphrase_env": f"{PASSPHRASE} !"},
            "[key] passphrase_env: expected the name of a variable (letters, digits, _), got something else",
        ),
        ({"source": "env"}, '[key] env_var: expected the name of a variable, because source is "env", got nothing'),
        (
            {"source": "env", "env_var": PSK_TEXT},
            "[key] env_var: expected the name of a variable (letters, digits, _), got something else",
        ),
        ({"source": "value"}, '[key] value: expected a psk in base64, because source is "value", got nothing'),
        (
            {"source": "value", "value": "BASE64_OF_32_BYTES"},
            "[key] value: expected a psk of your own, got the placeholder of the example",
        ),
        (
            {"source": "value", "value": PSK_TEXT[:-1]},
            "[key] value: expected a psk of 32 bytes in base64, got a text that is not one (not canonical base64)",
        ),
        (
            {"source": "value", "value": PSK_TEXT[:40]},
            "[key] value: expected a psk of 32 bytes in base64, got a text that is not one (psk must be 32 bytes)",
        ),
        ({"source": "file"}, "[key] file: expected a file name, got nothing"),
        (
            {"source": "file", "file": PSK_TEXT},
            "[key] file: expected the name of a file that holds the key, got what looks like the key itself",
        ),
        ({"source": "file", "file": "a\0b"}, "[key] file: expected a file name, got a text with a NUL in it"),
    ],
)
def test_what_the_file_says_wrong(section: dict[str, str], expected: str) -> None:
    assert refusal(ConfigError, None, **section) == f"c.toml: {expected}"


def test_what_the_file_points_to(tmp_path: Path) -> None:
    environ = {"BAD": PSK_TEXT[:-1], "EMPTY": ""}
    bad = tmp_path / "bad.key"
    bad.write_text(PSK_TEXT[:-1])
    bad.chmod(0o600)
    secrets = Secrets(None, environ)
    assert refusal(BadKeyError, secrets, source="env", env_var="BAD") == (
        "variable BAD does not hold a psk: not canonical base64"
    )
    assert refusal(BadKeyError, secrets, source="env", env_var="EMPTY").startswith("variable EMPTY is not set")
    assert refusal(BadKeyError, secrets, source="env", env_var="NONE").startswith("variable NONE is not set")
    assert refusal(BadKeyError, None, source="file", file=str(bad)) == f"key file {bad}: not canonical base64"
    assert refusal(BadKeyError, None, source="passphrase", salt="saltsalt").startswith(
        "no passphrase: variable HYPERION_PASS"
    )
    with pytest.raises(BadKeyError) as caught:
        identity_of_file(FILE, ("identity", "static_key_file"), str(bad))
    assert not leaks(f"{caught.value} {caught.value.hint}")


def test_errors_name_the_place_in_a_list() -> None:
    with pytest.raises(ConfigError, match=r"^c\.toml: \[\[server\]\] #2 key_value: expected a psk"):
        psk_of_value(FILE, ("server", 1, "key_value"), "x")
    with pytest.raises(ConfigError, match=r"^c\.toml: \[\[server\]\] #2 key_env: expected the name of a variable"):
        psk_of_variable(FILE, ("server", 1, "key_env"), "a b", Secrets(None, {}))
