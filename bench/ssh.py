"""``ssh -L`` as a peer: an sshd of our own on a loopback port, with keys that live as long as the run.

Nothing of the system's SSH set-up is read or changed. sshd wants its empty directory /run/sshd when started by root:
the one thing made outside the run's own directory.
"""

import getpass
import os
import subprocess
from pathlib import Path

from bench.bulk import Address
from bench.child import Child
from bench.peers import LOOPBACK, START_TIMEOUT, Ports, wait_for_port, write_private
from bench.ports import free_port
from bench.processes import family

#: The ciphers issue 3 names as the measure.
CHACHA20_POLY1305 = "chacha20-poly1305@openssh.com"
AES128_GCM = "aes128-gcm@openssh.com"

#: sshd refuses to start by a relative name: it starts itself anew for each connection.
SSHD = Path("/usr/sbin/sshd")

#: Where sshd, started by root, locks up its helper process.
PRIVILEGE_SEPARATION_DIRECTORY = Path("/run/sshd")

#: Seconds for making one Ed25519 key.
KEYGEN_TIMEOUT = 20


def sshd_config(directory: Path, port: int, cipher: str, address: str = LOOPBACK) -> str:
    """A configuration that lets in one key and forwards; nothing else. UsePAM no: no session set-up of the system's."""
    return "\n".join(
        [
            f"ListenAddress {address}",
            f"Port {port}",
            f"HostKey {directory / 'host'}",
            f"AuthorizedKeysFile {directory / 'user.pub'}",
            f"PidFile {directory / 'sshd.pid'}",
            f"Ciphers {cipher}",
            "UsePAM no",
            "StrictModes no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "AllowTcpForwarding local",
            "Compression no",
            "UseDNS no",
            "",
        ]
    )


def ssh_command(directory: Path, port: int, cipher: str, forwards: Ports, local: Ports) -> list[str]:
    """``ssh -N -L ...``: reads no configuration file, asks nothing, fails if it cannot forward."""
    options = [
        "BatchMode=yes",
        "Compression=no",
        "ControlMaster=no",
        "ExitOnForwardFailure=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={directory / 'known_hosts'}",
    ]
    command = ["ssh", "-F", "none", "-N", "-T", "-c", cipher, "-i", str(directory / "user"), "-p", str(port)]
    for option in options:
        command += ["-o", option]
    for name, target in forwards.items():
        command += ["-L", f"{LOOPBACK}:{local[name]}:{LOOPBACK}:{target}"]
    return [*command, f"{getpass.getuser()}@{LOOPBACK}"]


def make_key(path: Path) -> str:
    """Make an Ed25519 key pair without passphrase and return the public half. Raises subprocess.SubprocessError."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True, timeout=KEYGEN_TIMEOUT
    )
    return path.with_suffix(".pub").read_text(encoding="utf-8").strip()


class SshForward:
    """One sshd, one ``ssh -N -L``, one cipher, in a new directory."""

    def __init__(self, name: str, cipher: str, directory: Path) -> None:
        self.name = name
        self._cipher = cipher
        self._directory = directory
        self._local: dict[str, int] = {}
        self._children: list[Child] = []

    def start(self, ports: Ports) -> None:
        port = free_port()
        self._prepare(port)
        sshd = Child(f"sshd ({self.name})", [str(SSHD), "-D", "-e", "-f", str(self._directory / "sshd_config")])
        self._children.append(sshd)
        sshd.wait_line("Server listening on", START_TIMEOUT)
        self._local = {name: free_port() for name in ports}
        command = ssh_command(self._directory, port, self._cipher, ports, self._local)
        client = Child(f"ssh ({self.name})", command)
        self._children.append(client)
        for service in ports:
            wait_for_port(self.address(service), client)

    def address(self, service: str) -> Address:
        return LOOPBACK, self._local[service]

    def pids(self) -> dict[str, list[int]]:
        sshd, client = self._children
        return {"client": [client.pid], "server": [process.pid for process in family(sshd.pid)]}

    def stop(self) -> None:
        while self._children:
            self._children.pop().stop()

    def _prepare(self, port: int) -> None:
        self._directory.mkdir(mode=0o700)
        host_key = make_key(self._directory / "host")
        make_key(self._directory / "user")
        write_private(self._directory / "known_hosts", f"[{LOOPBACK}]:{port} {host_key}\n")
        write_private(self._directory / "sshd_config", sshd_config(self._directory, port, self._cipher))
        if os.geteuid() == 0:
            PRIVILEGE_SEPARATION_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
