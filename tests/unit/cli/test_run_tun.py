"""``tun``: what its options mean for the device."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hyperion.cli import run_tun as module
from hyperion.cli.run_tun import RealMode, run_tun
from hyperion.config import Endpoint
from hyperion.config.settings import TunSettings
from hyperion.errors import UsageError
from tests.helpers.supervise import client_config


def test_options_go_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"servers": {"web1": 1}, "forwards": []}', encoding="utf-8")
    made = client_config(path)
    config = replace(
        made,
        servers=(replace(made.servers[0], endpoint=Endpoint("192.0.2.7", 1)),),
        tun=TunSettings(IPv4Address("10.99.0.1"), 24, 65_535),
    )
    assert RealMode().plan(config).settings.ipv4 == "10.99.0.1/24"
    plan = RealMode("10.1.0.1", 16, 1_500, apply=True).plan(config)
    assert (plan.settings.ipv4, plan.settings.mtu) == ("10.1.0.1/16", 1_500)
    assert plan.addresses == {"web1": ("192.0.2.7",)}


def test_an_address_that_is_none() -> None:
    with pytest.raises(UsageError, match="--tun-addr here"):
        run_tun(RealMode("here"), {})


def test_what_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, object] = {}
    monkeypatch.setattr(module, "check_reverse_path", lambda: None)
    monkeypatch.setattr(module, "run_client", lambda *_, **given: told.update(given) or 7)
    given = {
        "config_file": None,
        "hosts": True,
        "hosts_file": Path("h"),
        "drain_timeout": 1.0,
        "log_format": "json",
        "log_level": "info",
        "user": "bob",
    }
    mode = RealMode(apply=True)
    assert run_tun(mode, given) == 7
    assert (told["tun"], told["hosts"], told["plan"], told["user"]) == (True, Path("h"), mode.plan, "bob")
