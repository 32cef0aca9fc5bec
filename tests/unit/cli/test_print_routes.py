"""The script that leads real addresses to the device."""

import json
import subprocess
from pathlib import Path

import pytest

from hyperion.cli.print_routes import Routing, run_print_routes, script
from hyperion.errors import ConfigError

ADDRESSES = {"web1": ("192.0.2.1", "2001:db8::1"), "db1": ("192.0.2.2",)}
PLAIN = Routing()


def test_the_script() -> None:
    lines = script(ADDRESSES, PLAIN).splitlines()
    assert lines[0] == "#!/bin/sh"
    assert "set -e" in lines
    for line in (
        "ip -4 route add 192.0.2.1/32 dev hyperion0 table 26745",
        "ip -6 route add 2001:db8::1/128 dev hyperion0 table 26745",
        "ip -4 route add 192.0.2.2/32 dev hyperion0 table 26745",
        "ip -4 rule add not fwmark 0x6879 lookup 26745 priority 100",
        "ip -6 rule add not fwmark 0x6879 lookup 26745 priority 100",
    ):
        assert lines.count(line) == 1


def test_what_may_be_chosen() -> None:
    text = script({"web1": ("192.0.2.1",)}, Routing("tun7", 1, 7, 5))
    assert "ip -4 route add 192.0.2.1/32 dev tun7 table 7" in text
    assert "ip -4 rule add not fwmark 0x1 lookup 7 priority 5" in text
    assert "ip -6 rule add" not in text


def test_down_only_takes_away() -> None:
    text = script({}, PLAIN, down=True)
    assert " add " not in text
    assert "ip -6 rule del priority 100 lookup 26745" in text
    assert "ip -4 route flush table 26745" in text


@pytest.mark.parametrize("down", [False, True])
def test_a_shell_reads_it(down: bool) -> None:
    subprocess.run(["sh", "-n"], input=script(ADDRESSES, PLAIN, down=down), text=True, check=True, timeout=10)


def test_it_needs_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hyperion.toml"
    file.write_text(
        'admin_static_key_file = "/none"\n[key]\nsource = "passphrase"\nsalt = "12345678"\n'
        '[[server]]\nname = "web1"\naddr = "[2001:db8::7]:8443"\n'
        'server_pubkey = "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM="\n',
        encoding="utf-8",
    )
    file.chmod(0o600)
    assert run_print_routes(file, PLAIN, down=False) == 0
    assert "2001:db8::7/128 dev hyperion0" in capsys.readouterr().out
    assert run_print_routes(file, PLAIN, down=False, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["addresses"] == {"web1": ["2001:db8::7"]}
    assert "2001:db8::7/128 dev hyperion0" in document["script"]


def test_two_servers_at_one_address_are_refused_as_by_tun(tmp_path: Path) -> None:
    """A second route to the same address would end the script half-way, without the rule."""
    file = tmp_path / "hyperion.toml"
    file.write_text(
        'admin_static_key_file = "/none"\n'
        + "".join(
            f'[[server]]\nname = "{name}"\naddr = "192.0.2.1:{port}"\n'
            'server_pubkey = "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM="\n'
            for name, port in (("web1", 8443), ("db1", 8444))
        )
    )
    with pytest.raises(ConfigError, match=r"web1 and db1 both have the address 192\.0\.2\.1"):
        run_print_routes(file, PLAIN, down=False)
    assert run_print_routes(file, PLAIN, down=True) == 0


def test_a_name_writes_no_line_of_the_script(tmp_path: Path) -> None:
    file = tmp_path / "hyperion.toml"
    file.write_text(
        'admin_static_key_file = "/none"\n[[server]]\nname = "a\\nreboot"\naddr = "192.0.2.1:8443"\n'
        'server_pubkey = "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM="\n'
    )
    with pytest.raises(ConfigError, match="name: expected"):
        run_print_routes(file, PLAIN, down=False)
