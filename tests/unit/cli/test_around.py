"""Where an address leads; with a real device, ``tests/e2e/test_real_addresses.py``."""

from dataclasses import replace
from pathlib import Path

import pytest

from hyperion.cli import around
from hyperion.cli.around import leads_into, mark_needed, sockets_around
from hyperion.config import Endpoint, ServerEntry
from hyperion.errors import RefusedError
from hyperion.supervisor.plan import TUNNEL_MARK
from tests.helpers.supervise import client_config


@pytest.fixture
def servers(tmp_path: Path) -> list[ServerEntry]:
    path = tmp_path / "settings.json"
    path.write_text('{"servers": {"web1": 1, "db1": 1}, "forwards": []}', encoding="utf-8")
    web, database = client_config(path).servers
    return [web, replace(database, endpoint=Endpoint("192.0.2.7", 8443))]


@pytest.fixture
def into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A client runs under real addresses, and one of db1 leads into its device."""
    (tmp_path / "hyperion9").touch()
    monkeypatch.setattr(around, "DEVICE", tmp_path / "hyperion9")
    monkeypatch.setattr(around, "leads_into", lambda device, host, port: (device, host) == ("hyperion9", "192.0.2.7"))


def test_without_a_device_nobody_looks(
    servers: list[ServerEntry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(around, "DEVICE", tmp_path / "none")
    monkeypatch.setattr(around, "leads_into", None)
    assert mark_needed(servers) is None
    assert sockets_around(servers) is None


@pytest.mark.usefixtures("into")
def test_a_server_in_it_is_reached_with_the_mark(servers: list[ServerEntry], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    monkeypatch.setattr(around, "held", lambda rights: rights)
    monkeypatch.setattr(around, "make_marked", lambda *words: made.append(words))
    assert mark_needed(servers[:1]) is None
    assert mark_needed(servers) == TUNNEL_MARK
    make = sockets_around(servers)
    assert make is not None
    make(2, 1)
    assert made == [(2, 1, TUNNEL_MARK)]


@pytest.mark.usefixtures("into")
def test_without_the_right_it_is_told_and_not_tried(
    servers: list[ServerEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "held", lambda _: frozenset())
    assert sockets_around(servers[:1]) is None
    with pytest.raises(RefusedError, match="the address of db1 leads into it") as caught:
        sockets_around(servers)
    assert "sudo" in str(caught.value.hint)


def test_the_way_to_this_machine_leads_over_no_other_device() -> None:
    assert not leads_into("no-such-device", "127.0.0.1", 9)
    assert not leads_into("no-such-device", "no such host", 9)
