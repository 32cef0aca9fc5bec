import errno
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest

from hyperion import log
from hyperion.capabilities import NONE, Capability, Rights
from hyperion.config import ClientConfig, Endpoint, ForwardEntry, SocksEntry
from hyperion.errors import CannotCreateError, ConfigError
from hyperion.events import CONFIG_RELOADED, STREAMS_UNAVAILABLE, LogEvent
from hyperion.proto.control import ClientWorkerConfig, ForwardRule, LogSettings, SocksConfig, TunnelState
from hyperion.rendezvous import meetings
from hyperion.service_user import ServiceUser
from hyperion.supervisor import stream_sockets
from hyperion.supervisor.client import MAX_FORWARDS, Client, ClientOptions, worker_config
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.forwards import BoundForward
from hyperion.supervisor.plan import Plan, fake_plan
from hyperion.supervisor.socks import SOCKS_NAME
from hyperion.supervisor.spec import Spec
from tests.helpers.calls import reach
from tests.helpers.rig import until
from tests.helpers.supervise import client_config, key
from tests.peer.services import closed_port

FORWARDS = [["127.0.0.1:0", "web1", 22], ["127.0.0.1:0", "db1", 5432]]


@pytest.fixture
def config(tmp_path: Path) -> ClientConfig:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"servers": {"web1": 4, "db1": 2}, "forwards": FORWARDS}), encoding="utf-8")
    return client_config(path)


@pytest.fixture
def bound() -> Iterator[BoundForward]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield BoundForward(ForwardEntry(Endpoint("127.0.0.1", 0), "web1", 22), sock)


def test_what_a_worker_is_told(config: ClientConfig, bound: BoundForward) -> None:
    told = worker_config(config, config.servers[0], [bound], LogSettings("json", "debug"))
    assert (told.server, told.host, told.port, told.pool_size) == ("web1", "127.0.0.1", 9, 4)
    assert told.server_public == key(2).public().raw
    assert told.static_secret == config.identity.raw
    assert told.psk == config.servers[0].psk.raw
    assert told.forwards == (ForwardRule(f"127.0.0.1:{bound.sock.getsockname()[1]}", 22),)
    assert "secret" not in repr(told)


def test_more_forwards_than_a_worker_can_have(config: ClientConfig, bound: BoundForward) -> None:
    worker_config(config, config.servers[0], [bound] * MAX_FORWARDS, LogSettings())
    with pytest.raises(ConfigError, match="too many forwards for web1"):
        worker_config(config, config.servers[0], [bound] * (MAX_FORWARDS + 1), LogSettings())


def test_before_it_runs_it_listens_already(config: ClientConfig) -> None:
    said: list[list[tuple[str, str, int]]] = []
    client = Client(config, ClientOptions(announce=said.append))
    assert client.status() == "0 of 2 servers up"
    assert client.tunnels == {}
    fields = client.started()
    ((web, database),) = said
    assert web[1:] == ("web1", 22)
    assert database[1:] == ("db1", 5432)
    assert fields == {"hyperion.listen": [web[0], database[0]]}
    port = int(web[0].rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), 5).close()
    client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_one_address_that_cannot_be_had_closes_all(config: ClientConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = closed_port()
        entries = tuple(ForwardEntry(Endpoint("127.0.0.1", port), "web1", 1) for port in (free, taken.getsockname()[1]))
        with pytest.raises(CannotCreateError):
            Client(
                ClientConfig(config.path, config.identity, config.servers, entries, config.knock, config.tun),
                ClientOptions(),
            )
        socket.create_server(("127.0.0.1", free)).close()


def test_rights_are_kept_for_what_was_asked_for(config: ClientConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperion.privileges.held", lambda rights: rights)
    other, root = ServiceUser("nobody", 7, 7, (7,)), ServiceUser("root", 0, 0, (0,))
    tun = {Capability.NET_ADMIN, Capability.BPF}
    options = ClientOptions(user=other)
    assert options.rights_needed == NONE
    options = replace(options, transparent=fake_plan)
    assert options.rights_needed == tun
    assert replace(options, hosts=Path("hosts")).rights_needed == tun | {Capability.DAC_OVERRIDE, Capability.CHOWN}
    for user in (root, None):  # the hosts file is root's own, and so is everybody's configuration
        stays = replace(options, user=user, hosts=Path("hosts"))
        assert stays.rights_needed == tun | {Capability.DAC_READ_SEARCH}
        assert replace(stays, transparent=None).rights_needed == {Capability.DAC_READ_SEARCH}


def test_addresses_are_bound_before_rights_go_and_the_rest_is_the_users(config: ClientConfig, tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    kept: list[object] = []

    def settle(rights: Rights) -> None:
        kept.append(rights)
        with pytest.raises(CannotCreateError):
            Client(first, ClientOptions())  # the port is taken by now
        assert not runtime.exists()

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    first = replace(config, forwards=(ForwardEntry(Endpoint("127.0.0.1", port), "web1", 1),))
    client = Client(first, ClientOptions(runtime=runtime, settle=settle))
    assert len(kept) == 1
    assert runtime.exists()
    client.close()


async def test_a_reload_nobody_prepared_is_refused(config: ClientConfig) -> None:
    client = Client(config, ClientOptions())
    with pytest.raises(ConfigError, match="cannot reload"):
        await client.reload()
    client.close()


def test_streams_are_published_and_leave_nothing_behind(config: ClientConfig, tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    client = Client(config, ClientOptions(runtime=runtime))
    found = meetings([str(runtime)])
    assert [(each.name, each.addresses) for each in found] == [
        ("web1", ("10.99.0.10", "127.0.0.1")),
        ("db1", ("10.99.0.11", "127.0.0.1")),
    ]
    reach(Path(found[0].path)).close()
    client.close()
    assert list(runtime.iterdir()) == []


def test_no_place_for_streams_costs_only_them(config: ClientConfig, tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.write_text("a file", encoding="utf-8")
    client = Client(config, ClientOptions(runtime=runtime))
    assert client.started()
    client.close()


class StandInCrew:
    """Takes all and starts nobody."""

    names: tuple[str, ...] = ("web1", "db1")
    tunnels: Mapping[str, TunnelState] = MappingProxyType({})

    def add(self, spec: Spec) -> None: ...

    def retire(self, name: str, timeout: float) -> None: ...


async def test_an_index_that_cannot_be_written_does_not_leave_a_reload_half_done(
    config: ClientConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = replace(config, servers=config.servers[:1], forwards=config.forwards[:1])
    logged: list[LogEvent] = []
    client = Client(config, ClientOptions(runtime=tmp_path / "run", reload=lambda: fewer))
    client.staff(cast(Crew, StandInCrew()))
    with monkeypatch.context() as patch:
        patch.setattr(log, "event", lambda what, *_, **__: logged.append(what))
        patch.setattr(stream_sockets, "_replace", no_room)
        await client.reload()
    assert logged == [STREAMS_UNAVAILABLE, CONFIG_RELOADED]
    assert client.status() == "0 of 1 servers up"
    await client.reload()  # with room again: nothing was left in between
    assert [each.name for each in meetings([str(tmp_path / "run")])] == ["web1"]
    client.close()


async def test_a_reload_looks_up_no_name_on_the_loop(config: ClientConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service that hangs must hang neither the children's supervisor nor its operators."""
    real, askers = socket.getaddrinfo, set()

    def note(*arguments: Any, **named: Any) -> Any:
        askers.add(threading.current_thread() is threading.main_thread())
        return real(*arguments, **named)

    places = ForwardEntry(Endpoint("localhost", 0), "web1", 80), ForwardEntry(Endpoint("127.0.0.1", 0), "web1", 81)
    more = replace(config, forwards=config.forwards + places)
    client = Client(config, ClientOptions(reload=lambda: more))
    client.staff(cast(Crew, StandInCrew()))
    monkeypatch.setattr(socket, "getaddrinfo", note)
    await client.reload()
    assert askers == {False}
    assert len(cast(list[str], client.started()["hyperion.listen"])) == 4
    client.close()


async def test_reloads_leave_no_desk_behind(config: ClientConfig) -> None:
    """Each server has a place where its worker asks for marked sockets: two descriptors."""
    fewer = replace(config, servers=config.servers[:1], forwards=config.forwards[:1])
    too_many = replace(config, forwards=config.forwards[:1] * (MAX_FORWARDS + 1))
    orders = [fewer, config, fewer, too_many]
    client = Client(config, ClientOptions(mark=1, reload=lambda: orders.pop(0)))
    client.marker.open()
    client.staff(cast(Crew, StandInCrew()))
    before = len(os.listdir("/proc/self/fd"))
    for more in (-3, 0, -3):  # its forward is another one
        await client.reload()
        await until(lambda more=more: len(os.listdir("/proc/self/fd")) == before + more)  # type: ignore[misc]
    with pytest.raises(ConfigError, match="too many forwards"):
        await client.reload()
    await until(lambda: len(os.listdir("/proc/self/fd")) == before - 3)
    client.close()


def no_room(path: Path, text: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_plan_that_fails_leaves_nothing_bound(config: ClientConfig) -> None:
    def plan(_: ClientConfig) -> Plan:
        raise ConfigError("no such host")

    with socket.create_server(("127.0.0.1", 0)) as sock:
        free = sock.getsockname()[1]
    entries = (ForwardEntry(Endpoint("127.0.0.1", free), "web1", 1),)
    with pytest.raises(ConfigError):
        Client(replace(config, forwards=entries), ClientOptions(transparent=plan))
    socket.create_server(("127.0.0.1", free)).close()


def test_a_worker_is_handed_its_stream_socket_last(config: ClientConfig, tmp_path: Path) -> None:
    client = Client(config, ClientOptions(runtime=tmp_path / "run"))
    for spec in client._specs.values():
        assert isinstance(spec.config, ClientWorkerConfig)
        assert os.getuid() in spec.config.stream_uids
        assert [sock.family for sock in spec.listeners] == [socket.AF_INET, socket.AF_UNIX]
    client.close()


def test_socks_listens_and_is_told_where_everybody_is_met(config: ClientConfig, tmp_path: Path) -> None:
    said: list[list[str]] = []
    with_socks = replace(config, socks=(SocksEntry(Endpoint("127.0.0.1", 0)),))
    client = Client(with_socks, ClientOptions(runtime=tmp_path / "run", announce_socks=said.append))
    assert client.status() == "0 of 2 servers up"
    spec = client._specs[SOCKS_NAME]
    assert isinstance(spec.config, SocksConfig)
    assert [place.name for place in spec.config.servers] == ["web1", "db1"]
    assert {place.path for place in spec.config.servers} == {each.path for each in meetings([str(tmp_path / "run")])}
    fields = client.started()
    assert said == [list(spec.config.listeners)]
    assert fields["hyperion.listen"][-1] == said[0][0]  # type: ignore[index]
    client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(said[0][0].rpartition(":")[2])), 5)


def test_socks_without_a_place_for_streams_does_not_start(config: ClientConfig, tmp_path: Path) -> None:
    with_socks = replace(config, socks=(SocksEntry(Endpoint("127.0.0.1", 0)),))
    (tmp_path / "run").write_text("a file", encoding="utf-8")
    with pytest.raises(CannotCreateError, match="cannot make stream sockets"):
        Client(with_socks, ClientOptions(runtime=tmp_path / "run"))
    with pytest.raises(ConfigError, match="SOCKS needs stream sockets"):
        Client(with_socks, ClientOptions())
