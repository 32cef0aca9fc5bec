"""The client's supervisor with real children: forwards, announcement, and what a reload touches."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from bench.ports import free_port
from hyperion.supervisor.client import MAX_FORWARDS
from tests.helpers.supervised import Supervised, ask, open_pidfds, supervised, wait_until_ended

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
BOTH: dict[str, Any] = {
    "servers": {"web1": 4, "db1": 2},
    "forwards": [["127.0.0.1:0", "web1", 22], ["127.0.0.1:0", "db1", 5432], ["[::1]:0", "web1", 80]],
}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def announced(program: Supervised) -> list[list[Any]]:
    line = program.wait_for(lambda line: "announced" in line)[0]
    found: list[list[Any]] = line["announced"]
    return found


def ports(program: Supervised) -> list[int]:
    return [int(local.rpartition(":")[2]) for local, _, _ in announced(program)]


def pids_by_name(program: Supervised, count: int) -> dict[str, int]:
    lines = program.wait_for("HYP4001I", count)
    return {line["hyperion"]["worker"]["id"]: line["process"]["pid"] for line in lines}


@LOOPS
def test_announces_what_listens_when_the_workers_are_ready(settings: Path, loop: str) -> None:
    with supervised("client", settings, BOTH, "--loop", loop) as program:
        made = announced(program)
        assert [(server, port) for _, server, port in made] == [("web1", 22), ("db1", 5432), ("web1", 80)]
        assert [local.rpartition(":")[0] for local, _, _ in made] == ["127.0.0.1", "127.0.0.1", "[::1]"]
        pids = pids_by_name(program, 2)
        places = zip(ports(program), ("127.0.0.1", "127.0.0.1", "::1"), strict=True)
        answers = [int(ask(port, host)[0]) for port, host in places]
        assert answers == [pids["web1"], pids["db1"], pids["web1"]]
        assert Path(f"/proc/{pids['db1']}/comm").read_text(encoding="utf-8") == "hyp-db1\n"
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.members() == []


def test_a_killed_worker_leaves_its_listener_and_the_others_alone(settings: Path) -> None:
    with supervised("client", settings, BOTH) as program:
        web, database, _ = ports(program)
        pids = pids_by_name(program, 2)
        os.kill(pids["web1"], signal.SIGKILL)
        # Connects at once, and is answered by the successor.
        assert int(ask(web)[0]) not in pids.values()
        assert int(ask(database)[0]) == pids["db1"]


@LOOPS
def test_a_reload_touches_only_what_changed(settings: Path, loop: str) -> None:
    first, second, third = free_port(), free_port(), free_port()
    before = {
        "servers": {"same": 1, "changed": 1, "removed": 1},
        "forwards": [
            [f"127.0.0.1:{first}", "same", 1],
            [f"127.0.0.1:{second}", "changed", 2],
            ["127.0.0.1:0", "removed", 3],
        ],
    }
    after = {
        "servers": {"added": 1, "changed": 3, "same": 1},
        "forwards": [
            [f"127.0.0.1:{second}", "changed", 2],
            [f"127.0.0.1:{first}", "same", 1],
            [f"127.0.0.1:{third}", "added", 9],
        ],
    }
    with supervised("client", settings, before, "--loop", loop) as program:
        removed = ports(program)[2]
        old = pids_by_name(program, 3)
        leaving = open_pidfds([old["changed"], old["removed"]])
        program.rewrite(after)
        reloaded = program.wait_for("HYP5001N")[0]
        assert sorted(reloaded["hyperion"]["config"]["changed"]) == ["added", "changed", "removed"]
        wait_until_ended(leaving)
        new = pids_by_name(program, 5)
        assert set(new) == {"same", "changed", "removed", "added"}
        assert new["same"] == old["same"] == int(ask(first)[0])
        assert new["changed"] == int(ask(second)[0]) != old["changed"]
        assert new["added"] == int(ask(third)[0])
        with pytest.raises(ConnectionRefusedError):
            ask(removed)


def test_free_ports_are_kept_over_a_reload(settings: Path) -> None:
    with supervised("client", settings, BOTH) as program:
        web, database, _ = ports(program)
        program.rewrite({"servers": {"web1": 4}, "forwards": [BOTH["forwards"][2], BOTH["forwards"][0]]})
        program.wait_for("HYP5001N")
        program.worker_pids(3)
        ask(web)
        with pytest.raises(ConnectionRefusedError):
            ask(database)


def test_a_drained_worker_finishes_while_its_successor_serves(settings: Path) -> None:
    with supervised("client", settings, BOTH, "--entry", "busy", "--drain-timeout", "0.5", "--grace", "0.2") as program:
        web = ports(program)[0]
        old = pids_by_name(program, 2)
        program.rewrite({**BOTH, "servers": {"web1": 5, "db1": 2}})
        new = pids_by_name(program, 3)
        assert new["web1"] != old["web1"]
        pidfds = open_pidfds([old["web1"]])  # it is still there: its streams never end
        wait_until_ended(pidfds)
        # "busy" does not stop accepting, so either may have answered before; now only the new one is left.
        assert int(ask(web)[0]) == new["web1"]
        assert program.wait_for("HYP4004I")[0]["process"] == {"pid": old["web1"], "exit_code": -9}


@pytest.mark.parametrize("what", ["error", "address"])
def test_a_refused_reload_changes_nothing(settings: Path, what: str) -> None:
    with supervised("client", settings, BOTH) as program, socket.create_server(("127.0.0.1", 0)) as taken:
        web = ports(program)[0]
        old = pids_by_name(program, 2)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = free_port()
        forwards = [[f"127.0.0.1:{free}", "web1", 1], [address, "web1", 1]]
        program.rewrite({"error": "no"} if what == "error" else {"servers": {"web1": 1}, "forwards": forwards})
        refused = program.wait_for("HYP5002E")[0]
        assert refused["error"]["message"] == (
            "no" if what == "error" else f"cannot listen on {address}: the address is in use"
        )
        assert int(ask(web)[0]) == old["web1"]
        with pytest.raises(ConnectionRefusedError):
            ask(free)
        assert len(program.events("HYP4001I")) == 2


def test_a_local_address_in_use_is_an_error_at_the_start(settings: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with supervised("client", settings, {**BOTH, "forwards": [[address, "web1", 1]]}) as program:
            assert program.wait() == 73
            assert program.lines[-1]["failed"] == f"cannot listen on {address}: the address is in use"
            assert program.events("HYP4001I") == []


def test_too_many_forwards_for_one_worker_are_an_error_at_the_start(settings: Path) -> None:
    forwards = [["127.0.0.1:0", "web1", 1]] * (MAX_FORWARDS + 1)
    with supervised("client", settings, {**BOTH, "forwards": forwards}) as program:
        assert program.wait() == 78
        assert "too many forwards for web1" in program.lines[-1]["failed"]


def test_as_many_forwards_as_one_worker_can_have(settings: Path) -> None:
    forwards = [["127.0.0.1:0", "web1", 1]] * MAX_FORWARDS
    with supervised("client", settings, {**BOTH, "forwards": forwards}) as program:
        ask(ports(program)[-1])


def test_the_service_manager_sees_how_many_servers_are_up(settings: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        with supervised("client", settings, BOTH, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}):
            told = {manager.recv(4096).decode()}
            while "STATUS=2 of 2 servers up" not in "\n".join(told):
                told.add(manager.recv(4096).decode())
            assert any(text.startswith("READY=1") for text in told) or manager.recv(4096).startswith(b"READY=1")
