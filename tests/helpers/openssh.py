"""An sshd of our own on loopback, and ``ssh`` and ``scp`` to it by whatever port: keys and files of ``bench.ssh``."""

import contextlib
import getpass
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.peers import LOOPBACK, write_private
from bench.ports import free_port
from bench.ssh import AES128_GCM, PRIVILEGE_SEPARATION_DIRECTORY, SSHD, make_key, sshd_config
from tests.helpers.program import Program

#: Under this name the server's key is known, whatever port leads to it.
ALIAS = "target"

#: Seconds for one command or one copy.
TIMEOUT = 60


class OpenSsh:
    """A running sshd and the command lines that reach it."""

    def __init__(
        self,
        directory: Path,
        port: int,
        host: str = LOOPBACK,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``host``, further ``settings`` and the ``environment``: of the clients."""
        self.port = port
        self._directory = directory
        self._host = host
        self._settings = dict(settings or {})
        self._environment = None if environment is None else dict(environment)

    def by(self, proxy_command: str, host: str, environment: Mapping[str, str]) -> "OpenSsh":
        """The same sshd, reached as ``host`` through a command."""
        return OpenSsh(self._directory, self.port, host, {"ProxyCommand": proxy_command}, environment)

    def by_descriptor(self, proxy_command: str, host: str, environment: Mapping[str, str]) -> "OpenSsh":
        """As ``by``; the command hands its connection over."""
        settings = {"ProxyCommand": proxy_command, "ProxyUseFdpass": "yes"}
        return OpenSsh(self._directory, self.port, host, settings, environment)

    def command(self) -> str:
        """``ssh`` with its options, for programs that start it (``GIT_SSH_COMMAND``)."""
        return shlex.join(["ssh", *self._options()])

    def address(self, host: str | None = None) -> str:
        """Whom to log in as, and where; ``host``: if not where this one leads."""
        return f"{getpass.getuser()}@{host or self._host}"

    def ssh(
        self, port: int, command: str, data: bytes = b"", host: str | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """A session through ``port``; ``data`` is its standard input."""
        words = ["ssh", *self._options(), "-p", str(port), self.address(host), command]
        return subprocess.run(
            words, input=data, capture_output=True, timeout=TIMEOUT, check=False, env=self._environment
        )

    def through(
        self, program: str, config: Path, words: Sequence[str], data: bytes = b""
    ) -> "subprocess.CompletedProcess[bytes]":
        """``ssh`` or ``scp`` with a configuration of the user's, as the user would call it. Host keys that are met for
        the first time are remembered in ``met``."""
        settings = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self.met),
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        command = [program, "-F", str(config), "-i", str(self._directory / "user"), *options, *words]
        return subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT, check=False)

    @property
    def met(self) -> Path:
        """Host keys that ``through`` met."""
        return self._directory / "met"

    def upload(self, port: int, source: Path, target: Path, host: str | None = None) -> None:
        self._copy(port, str(source), self._remote(target, host))

    def download(self, port: int, source: Path, target: Path, host: str | None = None) -> None:
        self._copy(port, self._remote(source, host), str(target))

    def _copy(self, port: int, source: str, target: str) -> None:
        words = ["scp", "-q", *self._options(), "-P", str(port), source, target]
        done = subprocess.run(
            words,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
            env=self._environment,
        )
        assert done.returncode == 0, done.stderr.decode()

    def _options(self) -> list[str]:
        settings = {
            "BatchMode": "yes",
            "HostKeyAlias": ALIAS,
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self._directory / "known_hosts"),
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ["-F", "none", "-c", AES128_GCM, "-i", str(self._directory / "user"), *options]

    def _remote(self, path: Path, host: str | None) -> str:
        bracketed = f"[{host}]" if host is not None and ":" in host else host
        return f"{self.address(bracketed)}:{path}"


@contextlib.contextmanager
def openssh(directory: Path) -> Iterator[OpenSsh]:
    """In ``directory``, which is made and must be reachable for nobody else."""
    directory.mkdir(mode=0o700)
    port = free_port()
    host_key = make_key(directory / "host")
    make_key(directory / "user")
    write_private(directory / "known_hosts", f"{ALIAS} {host_key}\n")
    # scp speaks SFTP since OpenSSH 9.0.
    config = sshd_config(directory, port, AES128_GCM) + "Subsystem sftp internal-sftp\n"
    write_private(directory / "sshd_config", config)
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    sshd = Program("sshd", [str(SSHD), "-D", "-e", "-f", str(directory / "sshd_config")])
    try:
        sshd.wait_err("Server listening on")
        yield OpenSsh(directory, port)
    finally:
        sshd.stop()
