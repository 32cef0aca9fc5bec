"""The daily path of an admin, with the gate shut to everybody else: both programs as daemons, on two hosts."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import processes
from hyperion.running import holder
from tests.helpers.config_files import PASSPHRASE
from tests.helpers.netns import Host, topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(180)]

PATIENCE = 90.0


class Admin:
    """One host with a home of its own, and the commands typed there."""

    def __init__(self, host: Host, home: Path) -> None:
        self.host, self.home = host, home
        home.mkdir()

    def run(self, program: str, *words: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HYPERION", "XDG", "SUDO"))}
        return subprocess.run(
            self.host.command(sys.executable, "-m", "hyperion.cli", program, *words),
            env=kept | {"HYPERION_HOME": str(self.home), "HYPERION_PASSPHRASE": PASSPHRASE, "TERM": "dumb"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def out(self, program: str, *words: str) -> str:
        """Standard output of a command that must succeed."""
        done = self.run(program, *words)
        assert done.returncode == 0, done
        return done.stdout

    def status(self, program: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run(program, "status", "--json").stdout)
        return document

    def close(self) -> None:
        for program in ("server", "client"):
            pid = holder(self.home / "run" / program)
            self.run(program, "down", "--now")
            assert not pid or processes.in_session(pid) == []


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Admin, Admin]]:
    with topology() as net:
        admin, server = Admin(net.admin, tmp_path / "admin"), Admin(net.server, tmp_path / "server")
        try:
            yield admin, server
        finally:
            admin.close()
            server.close()


def word(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[1]


def test_init_to_status(hosts: tuple[Admin, Admin]) -> None:
    admin, server = hosts
    first = admin.out("client", "init")
    salt, key = word(r"--salt (\S+)", first), word(r"--admin-key (\S+)", first)
    second = server.out("server", "init", "--salt", salt, "--admin-key", key, "--admin-name", "alice", "--allow", "22")
    public = word(r"add-server \S+ \S+ (\S+=)", second)

    # The ruleset is a step of the operator's own: without it nobody gets in, and whoever starts the server is told.
    up = server.run("server", "up", "--workers", "1")
    assert up.returncode == 4, up
    assert "the gate is shut: " in up.stdout
    assert "next: sudo hyperion-server apply-firewall" in up.stdout
    assert server.run("server", "status").returncode == 4
    assert server.run("server", "down").returncode == 0
    rules = server.out("server", "print-firewall")
    server.host.run("nft", "-f", "-", input=rules)
    up = server.run("server", "up", "--workers", "1")
    assert up.returncode == 0, up

    assert admin.run("client", "add-server", "web1", server.host.ipv4, public).returncode == 0
    up = admin.run("client", "up", "--no-tun")
    assert up.returncode == 0, up
    assert up.stdout.splitlines()[-1] == "1 up"

    said = server.status("server")
    deadline = time.monotonic() + 20
    while not said["gate"]["verdicts"].get("accepted"):  # knockd counts aloud once a second
        assert time.monotonic() < deadline
        said = server.status("server")
    assert said["state"] == "up"
    assert said["gate"]["state"] == "ok"
    assert said["gate"]["verdicts"]["accepted"] >= 1
    assert [(line["name"], line["sessions"]) for line in said["admins"]] == [("alice", 2)]
    assert {line["source"] for line in said["sessions"]} == {admin.host.ipv4}
    (grant,) = said["grants"]
    assert grant["source"] == admin.host.ipv4
    assert 0 < grant["remaining_s"] <= 60
    shown = server.run("server", "status").stdout
    assert re.search(r"^knock:  enabled on udp/8443, ok \(\d+ accepted", shown, re.MULTILINE)
    assert re.search(rf"^grants: 1 open: {re.escape(admin.host.ipv4)} \(\d+ s left\)$", shown, re.MULTILINE)
    (line,) = admin.status("client")["servers"]
    assert (line["state"], line["pool_up"], line["ports"]) == ("up", 2, [22])

    # While knockd is away the gate is shut, the tunnels stay, and both are told.
    server_pid = holder(server.home / "run" / "server")
    assert server_pid
    (knockd,) = [each for each in processes.in_session(server_pid) if each.name == "hyp-knockd"]
    os.kill(knockd.pid, 9)
    seen = [server.status("server") for _ in range(3)]
    assert seen[0]["state"] == "degraded" or any(each["gate"]["since"] > said["gate"]["since"] for each in seen)
    assert admin.status("client")["servers"][0]["state"] == "up"
    assert server.run("server", "reload").returncode == 0
    for program, where in (("client", admin), ("server", server)):
        assert where.run(program, "down").returncode == 0
        assert where.run(program, "status").returncode == 3


def test_up_with_a_device(hosts: tuple[Admin, Admin]) -> None:
    admin, server = hosts
    first = admin.out("client", "init")
    salt, key = word(r"--salt (\S+)", first), word(r"--admin-key (\S+)", first)
    second = server.out("server", "init", "--salt", salt, "--admin-key", key, "--allow", "22")
    server.host.run("nft", "-f", "-", input=server.out("server", "print-firewall"))
    assert server.run("server", "up", "--workers", "1").returncode == 0
    public = word(r"add-server \S+ \S+ (\S+=)", second)
    admin.run("client", "add-server", "web1", server.host.ipv4, public)
    up = admin.run("client", "up")
    assert up.returncode == 0, up
    assert up.stdout.splitlines()[-1] == "reach a server by its fake ip: ssh user@10.99.0.10"
    assert "tun device hyperion0 at 10.99.0.1/24" in admin.run("client", "status").stdout
    assert "hyperion0" in admin.host.ip("-br", "link")
    assert admin.run("client", "down", "--now").returncode == 0
    assert "hyperion0" not in admin.host.ip("-br", "link")
