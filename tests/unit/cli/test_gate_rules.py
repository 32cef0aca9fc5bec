from pathlib import Path

import pytest

from hyperion.cli.gate_options import GateFlags
from hyperion.cli.gate_rules import chosen_ruleset
from hyperion.errors import ConfigError, ConfigMissingError, UsageError
from hyperion.firewall.ruleset import Ruleset
from tests.helpers.config_files import server_text

OWN = '\n[firewall]\ntable = "gate"\nset = "known"\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_HOME", str(tmp_path))
    return tmp_path


def write(directory: Path, text: str = "", name: str = "server.toml") -> Path:
    path = directory / name
    path.write_text(server_text(directory) + text)
    return path


def test_without_a_configuration_the_originals_defaults_hold() -> None:
    assert chosen_ruleset(GateFlags(tunnel_port=8443)) == Ruleset(8443, table="hyperion", set="knock_allow")


def test_flags_go_before_the_configuration(home: Path) -> None:
    write(home, OWN)
    assert chosen_ruleset(GateFlags()) == Ruleset(8443, table="gate", set="known")
    assert chosen_ruleset(GateFlags(tunnel_port=1)) == Ruleset(1, table="gate", set="known")
    named = GateFlags(tunnel_port=1, table="t", set_name="s", keep_ports=(22, 22, 80), one_shot=True, dhcpv6=True)
    assert chosen_ruleset(named) == Ruleset(1, "t", "s", (22, 80), one_shot=True, dhcpv6=True)
    many = GateFlags(tunnel_port=1, max_connections=200)
    assert chosen_ruleset(many) == Ruleset(1, "gate", "known", max_connections=200)


def test_a_configuration_that_is_named(home: Path) -> None:
    write(home, OWN)
    other = write(home, name="other.toml")
    assert chosen_ruleset(GateFlags(config_file=other)).table == "hyperion"
    with pytest.raises(ConfigMissingError):
        chosen_ruleset(GateFlags(config_file=home / "none.toml", tunnel_port=1))


def test_nobody_is_asked_for_a_secret(home: Path) -> None:
    path = write(home)
    path.write_text(path.read_text().replace('source = "value"', 'source = "passphrase"'))
    (home / "server.key").unlink()
    assert chosen_ruleset(GateFlags()).tunnel_port == 8443


def test_without_any_port() -> None:
    with pytest.raises(UsageError, match="which port") as caught:
        chosen_ruleset(GateFlags())
    assert caught.value.hint


@pytest.mark.parametrize(
    "flags",
    [
        GateFlags(tunnel_port=1, table="a; flush ruleset"),
        GateFlags(tunnel_port=1, set_name="x }"),
        GateFlags(tunnel_port=1, table="9"),
        GateFlags(tunnel_port=22, keep_ports=(22,)),
    ],
)
def test_flags_that_cannot_be(flags: GateFlags) -> None:
    with pytest.raises(UsageError):
        chosen_ruleset(flags)


@pytest.mark.parametrize("name", ["a; flush ruleset", "a}", "$(id)", "a\\nb", "a b", "{", "", "x" * 32, "1a", "ä"])
@pytest.mark.parametrize("key", ["table", "set"])
def test_a_name_that_would_mean_something_else_to_nft_is_refused_at_load(home: Path, key: str, name: str) -> None:
    write(home, f'\n[firewall]\n{key} = "{name}"\n')
    with pytest.raises(ConfigError, match=rf"\[firewall\] {key}: expected a letter or _"):
        chosen_ruleset(GateFlags(tunnel_port=1))


def test_an_address_without_a_port(home: Path) -> None:
    path = write(home)
    path.write_text(path.read_text().replace("127.0.0.1:8443", "127.0.0.1"))
    with pytest.raises(ConfigError, match="listen: expected HOST:PORT"):
        chosen_ruleset(GateFlags())
