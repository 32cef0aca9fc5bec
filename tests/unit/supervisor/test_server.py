from dataclasses import replace
from pathlib import Path

import pytest

from hyperion.channel import encode
from hyperion.config import Admin, ServerConfig
from hyperion.errors import CannotCreateError, ConfigError
from hyperion.proto.admins import AdminRule
from hyperion.proto.control import LogSettings
from hyperion.supervisor import server
from hyperion.supervisor.server import ServerOptions, admin_rules, server_name, worker_config
from tests.helpers.supervise import key, server_config


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    path = tmp_path / "settings.json"
    path.write_text('{"egress": [443, 22], "admins": 2}', encoding="utf-8")
    return server_config(path)


def test_what_a_worker_is_told(config: ServerConfig) -> None:
    told = worker_config(config, 3, LogSettings("json", "debug"))
    assert told.worker == "3"
    assert told.static_secret == config.identity.raw
    assert told.psk == config.psk.raw
    assert told.handshake_timeout == 3.0
    assert told.log == LogSettings("json", "debug")
    assert told.admins.rules() == admin_rules(config)


def test_each_admin_may_reach_the_sorted_egress_ports(config: ServerConfig) -> None:
    one, two = key(10).public(), key(11).public()
    assert admin_rules(config) == (
        AdminRule(one.raw, one.fingerprint, (22, 443)),
        AdminRule(two.raw, two.fingerprint, (22, 443)),
    )


def test_a_configuration_that_does_not_fit_is_refused(config: ServerConfig) -> None:
    full = replace(config, admins=admins(900))
    assert len(encode(worker_config(full, 0, LogSettings()))) <= 64 * 1024 + 4
    with pytest.raises(ConfigError, match="1100 admins with their ports are too many"):
        worker_config(replace(config, admins=admins(1100)), 0, LogSettings())


def admins(count: int) -> tuple[Admin, ...]:
    keys = (key(number).public() for number in range(count))
    return tuple(Admin(each.fingerprint, each, frozenset({22, 443})) for each in keys)


def test_a_named_admin_has_ports_and_an_end_of_its_own(config: ServerConfig) -> None:
    public = key(10).public()
    named = replace(config, admins=(Admin("alice", public, frozenset({9, 8}), 2e9),))
    assert admin_rules(named) == (AdminRule(public.raw, "alice", (8, 9), 2e9),)


@pytest.mark.parametrize(
    ("hostname", "told"),
    [("web1.example", "web1.example"), ("h\u00f6st\n\x1b[2J\x7f", "hst[2J"), ("x" * 200, "x" * 64), ("", "")],
)
def test_the_name_clients_are_told(hostname: str, told: str) -> None:
    assert server_name(hostname) == told


async def test_an_address_that_cannot_be_had_starts_nothing(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CannotCreateError("no")

    monkeypatch.setattr(server, "listen_shared", refuse)
    with pytest.raises(CannotCreateError):
        await server.run(config, ServerOptions(workers=1, entry="none:none", preload="none"))


def test_secrets_do_not_show(config: ServerConfig) -> None:
    shown = repr(worker_config(config, 0, LogSettings()))
    assert "secret" not in shown
    assert "psk" not in shown
