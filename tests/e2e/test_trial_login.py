"""A trial of the firewall over real logins: what stays open, who may confirm, who may not."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ssh import AES128_GCM, PRIVILEGE_SEPARATION_DIRECTORY, make_key, sshd_config
from tests.helpers.gate import TUNNEL_PORT, Inside
from tests.helpers.netns import Host, Topology
from tests.helpers.trials import SERVER, Applying
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft", "sshd", "ssh"), pytest.mark.timeout(120)]

PORT = ("--tunnel-port", str(TUNNEL_PORT))
KEPT = (*PORT, "--keep-port", "22", "--yes", "--confirm-within", "60")


class Logins:
    """An sshd on the server, port 22, and the ways to it."""

    def __init__(self, network: Topology, directory: Path) -> None:
        self.network = network
        self.directory = directory
        directory.mkdir(mode=0o700)
        make_key(directory / "host")
        make_key(directory / "user")
        PRIVILEGE_SEPARATION_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        text = sshd_config(directory, 22, AES128_GCM).replace("ListenAddress 127.0.0.1\n", "")
        (directory / "sshd_config").write_text(text)
        network.server.popen("/usr/sbin/sshd", "-D", "-q", "-f", str(directory / "sshd_config"))
        until(self._listens)

    def _listens(self) -> bool:
        with self.network.server.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(("127.0.0.1", 22)) == 0

    def command(self, address: str, *command: str) -> list[str]:
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=2")
        ssh = ["ssh", "-F", "none", "-q", "-i", str(self.directory / "user")]
        return [*ssh, *(part for option in options for part in ("-o", option)), f"root@{address}", shlex.join(command)]

    def run(self, host: Host, address: str, home: Path, *command: str) -> "subprocess.CompletedProcess[str]":
        """A new login that runs ``hyperion-server``."""
        return subprocess.run(
            host.command(*self.command(address, "env", f"HYPERION_HOME={home}", SERVER, *command)),
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture(scope="module")
def logins(network: Topology, tmp_path_factory: pytest.TempPathFactory) -> Logins:
    return Logins(network, tmp_path_factory.mktemp("ssh") / "keys")


@contextlib.contextmanager
def waiting_login(logins: Logins, home: Path, *command: str) -> Iterator["subprocess.Popen[str]"]:
    """A login that runs ``hyperion-server`` when it is sent a line."""
    script = f"read line; HYPERION_HOME={home} exec {SERVER} {shlex.join(command)}"
    admin, server = logins.network.admin, logins.network.server
    child = admin.popen(
        *logins.command(server.ipv4, "sh", "-c", f"echo logged in; {script}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "logged in\n"
    yield child
    child.kill()
    child.communicate()


@pytest.mark.parametrize("version", [4, 6])
def test_a_new_login_confirms_and_an_old_one_does_not(
    logins: Logins, nft: Inside, tmp_path: Path, version: int
) -> None:
    admin, server = logins.network.admin, logins.network.server
    address, source = (server.ipv4, admin.ipv4) if version == 4 else (server.ipv6, admin.ipv6)
    with waiting_login(logins, tmp_path, "confirm-firewall") as old:
        applying = Applying(server, tmp_path, *KEPT).loaded()
        # It is still connected, although conntrack has not seen it begin and it is the client that speaks first.
        _, complaint = old.communicate("\n", timeout=30)
        assert old.returncode == 77
        assert "error: this login is older than the new rules\nhint: log in anew" in complaint
    new = logins.run(admin, address, tmp_path, "confirm-firewall")
    assert new.stderr == ""
    assert new.stdout.startswith(f"confirmed: this login ({source}:" if version == 4 else "confirmed: this login ([")
    assert applying.ended() == 0
    assert applying.out == f"committed: a new login of {source} came through the new rules\n"
    assert "keep-port 22" in nft.list_text("ruleset")
    late = logins.run(admin, address, tmp_path, "confirm-firewall")
    assert late.returncode == 3
    assert "no trial of the firewall is running" in late.stderr


def test_a_login_from_the_host_itself_proves_nothing(logins: Logins, nft: Inside, tmp_path: Path) -> None:
    server = logins.network.server
    applying = Applying(server, tmp_path, *PORT, "--yes", "--confirm-within", "60").loaded()
    for address in ("127.0.0.1", server.ipv4, "::1"):
        login = logins.run(server, address, tmp_path, "confirm-firewall")
        assert login.returncode == 77
        assert "this login comes from this host itself, so it proves nothing" in login.stderr
    applying.send(signal.SIGINT)
    assert applying.ended() == 130
    assert "rolled back" in applying.err
    assert nft.list_text("ruleset") == ""


def test_a_session_is_told_what_would_be_cut_and_lives_to_see_it(logins: Logins, nft: Inside, tmp_path: Path) -> None:
    admin, server = logins.network.admin, logins.network.server
    arguments = (*PORT, "--confirm-within", "4")
    asked = logins.run(admin, server.ipv4, tmp_path, "apply-firewall", *arguments)
    assert asked.returncode == 2
    assert f"warning: you are logged in from {admin.ipv4} at port 22. This session goes on" in asked.stderr
    assert "--keep-port 22 leaves it open" in asked.stderr
    assert "hint: say --yes" in asked.stderr
    assert nft.list_text("ruleset") == ""
    with waiting_login(logins, tmp_path, "apply-firewall", *arguments, "--yes") as session:
        assert session.stdin is not None
        session.stdin.write("\n")
        session.stdin.flush()
        until(lambda: "chain input" in nft.list_text("ruleset"))
        shut_out = logins.run(admin, server.ipv4, tmp_path, "confirm-firewall")
        assert shut_out.returncode == 255  # ssh's own: it timed out
        _, complaint = session.communicate(timeout=30)
        assert session.returncode == 75
        assert "rolled back: nobody got in within 4 s" in complaint
    assert nft.list_text("ruleset") == ""


def test_a_kept_port_is_no_surprise(logins: Logins, nft: Inside, tmp_path: Path) -> None:
    admin, server = logins.network.admin, logins.network.server
    done = logins.run(admin, server.ipv4, tmp_path, "apply-firewall", *KEPT[:-1], "1")
    assert done.returncode == 75
    assert "you are logged in" not in done.stderr
    assert "only confirm-firewall from a new login can" in done.stderr  # no server runs


def test_out_of_tmux_no_answer_is_a_guess(logins: Logins, nft: Inside, tmp_path: Path) -> None:
    """As there, the process is nobody's child that came over the network."""
    applying = Applying(logins.network.server, tmp_path, *KEPT).loaded()
    done = subprocess.run(
        logins.network.server.command("setsid", SERVER, "confirm-firewall"),
        env={name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"}
        | {"HYPERION_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 77
    assert "it cannot be told over which connection you are logged in" in done.stderr
    applying.child.terminate()
    applying.ended()
