"""The fast path: each command as it is typed, or as the command before it printed it, on two machines.

The machines are network namespaces; the last line is ssh to the fake address, as any program would use it.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.peers import write_private
from bench.ssh import AES128_GCM, PRIVILEGE_SEPARATION_DIRECTORY, SSHD, make_key, sshd_config
from tests.helpers.gate import gets_in
from tests.helpers.netns import Host, Topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft", "sshd", "ssh", "ssh-keygen"), pytest.mark.timeout(180)]

PASSPHRASE = "canary-passphrase of four words"
SECONDS = 60


@dataclass
class Machine:
    """A host with a home of its own and the programs in its PATH; root there, so that ``sudo`` changes nothing."""

    host: Host
    home: Path
    programs: Path

    def __post_init__(self) -> None:
        self.programs.mkdir()
        for name in ("hyperion-server", "hyperion-client"):
            (self.programs / name).symlink_to(Path(sys.executable).parent / name)
        sudo = self.programs / "sudo"
        sudo.write_text('#!/bin/sh\nexec "$@"\n')
        sudo.chmod(0o755)

    def type(self, line: str, code: int = 0) -> str:
        """What a person types, and what the terminal then shows."""
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "HYPERION_HOME": str(self.home),
            "HYPERION_PASSPHRASE": PASSPHRASE,
            "LC_ALL": "C.UTF-8",
        }
        command = self.host.command("sh", "-c", line)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
        shown = f"{done.stdout}{done.stderr}"
        assert done.returncode == code, f"{line}: {done.returncode}\n{shown}"
        assert PASSPHRASE not in shown
        return shown


@pytest.fixture
def machines(network: Topology, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """The admin's machine and the server; whatever still runs on them is ended."""
    admin = Machine(network.admin, tmp_path / "admin", tmp_path / "admin-programs")
    server = Machine(network.server, tmp_path / "server", tmp_path / "server-programs")
    try:
        yield admin, server
    finally:
        for machine, program in ((admin, "client"), (server, "server")):
            machine.type(f"hyperion-{program} down || true")


def printed(shown: str, start: str) -> str:
    """The command that begins so, as it was printed for the next step."""
    lines = [line.strip() for line in shown.splitlines() if line.strip().startswith(start)]
    assert len(lines) == 1, shown
    return lines[0]


def serve_ssh(host: Host, directory: Path) -> list[str]:
    """An sshd on port 22 in ``host``; how ssh is called to reach it."""
    directory.mkdir(mode=0o700)
    make_key(directory / "host")
    make_key(directory / "user")
    write_private(directory / "sshd_config", sshd_config(directory, 22, AES128_GCM))
    PRIVILEGE_SEPARATION_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    sshd = host.popen(str(SSHD), "-D", "-e", "-f", str(directory / "sshd_config"), stderr=subprocess.PIPE)
    assert sshd.stderr is not None
    assert b"Server listening" in sshd.stderr.readline()
    settings = ("BatchMode=yes", "StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={directory / 'known_hosts'}")
    return ["ssh", "-F", "none", "-i", str(directory / "user"), *(word for each in settings for word in ("-o", each))]


def test_from_init_to_ssh(network: Topology, machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    admin, server = machines
    ssh = serve_ssh(network.server, tmp_path / "ssh")
    address = network.server.ipv4

    # On the admin's machine.
    first = admin.type("hyperion-client init")
    assert first.startswith(f"hyperion initialized.\nconfig: {admin.home}/hyperion.toml\n")

    # On the server, the line that the client printed; then the lines that this one prints.
    shown = server.type(printed(first, "hyperion-server init --salt "))
    assert shown.startswith(f"hyperion-server initialized.\nconfig: {server.home}/server.toml\n")
    add_server = printed(shown, "hyperion-client add-server ")
    server.type(printed(shown, "hyperion-server print-firewall "))
    assert not gets_in(network.attacker, address)
    assert re.match(r"hyperion-server up \(pid \d+\)\.\n", server.type(printed(shown, "sudo hyperion-server up")))
    assert server.type("hyperion-server status").startswith("hyperion-server: UP (pid ")

    # On the admin's machine again, the line that the server printed.
    name = add_server.split()[2]
    assert admin.type(add_server).startswith(f"added server {name} ({address}:8443) as 10.99.0.10\n")
    admin.type("hyperion-client doctor")
    admin.type(printed(first, "sudo hyperion-client up"))
    assert "hyperion: UP (pid " in admin.type("hyperion-client ls")
    admin.type("hyperion-client status")

    # From now on every program reaches the server by its fake address.
    began = time.monotonic()
    assert "through" in admin.type(" ".join([*ssh, "root@10.99.0.10", "echo", "through"])).splitlines()
    print(f"ssh to the fake address: {time.monotonic() - began:.1f} s")
    assert not gets_in(network.attacker, address)

    # One more server and one more admin, while both run.
    other = admin.type("hyperion-client keygen").splitlines()[1]
    shown = server.type(f"hyperion-server add-admin bob {other} --allow 22 --expires 1h")
    server.type(printed(shown, "next: ").removeprefix("next: "))
    assert "bob" in server.type("hyperion-server admins")
    shown = admin.type(f"hyperion-client add-server absent 192.0.2.1 {other}")
    admin.type(printed(shown, "next: ").removeprefix("next: "))
    admin.type("hyperion-client status", code=4)
    assert "through" in admin.type(" ".join([*ssh, "root@10.99.0.10", "echo", "through"])).splitlines()

    assert admin.type("sudo hyperion-client down").startswith("hyperion down (stopped pid ")
    assert server.type("sudo hyperion-server down").startswith("hyperion-server down (stopped pid ")
    admin.type("hyperion-client status", code=3)
    server.type("hyperion-server status", code=3)


def test_the_printed_order_locks_nobody_out(network: Topology, machines: tuple[Machine, Machine]) -> None:
    """As ``init`` prints it: the server, then the firewall on trial, and the admin comes in while it waits."""
    admin, server = machines
    network.server.run("nft", "delete", "table", "inet", "hyperion", check=False)  # of another test
    first = admin.type("hyperion-client init")
    shown = server.type(printed(first, "hyperion-server init --salt "))
    up, trial = printed(shown, "sudo hyperion-server up"), printed(shown, "sudo hyperion-server apply-firewall ")
    assert shown.index(up) < shown.index(trial) < shown.index(printed(shown, "hyperion-server print-firewall "))

    # The gate is shut, because nobody has loaded a table; what to do then is the next line of init.
    said = server.type(up, code=4)
    assert "apply-firewall" in said, said
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(server.type, f"{trial} --yes")  # no terminal here that could be asked
        deadline = time.monotonic() + SECONDS
        while "table inet hyperion\n" not in network.server.run("nft", "list", "tables") and not trying.done():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert not trying.done(), trying.result()
        admin.type(printed(shown, "hyperion-client add-server "))
        admin.type(printed(first, "sudo hyperion-client up"))
        assert "committed: a knock and a handshake of " in trying.result()
    assert not gets_in(network.attacker, network.server.ipv4)
    # Who pipes another ruleset now is told that it will not stay.
    assert "note: a server runs (pid " in server.type("hyperion-server print-firewall --keep-port 22")
