"""sshuttle to another network namespace: a transparent proxy over ssh, in Python, too. Only where it is installed.

``pip install sshuttle`` makes it; any environment will do, as long as the program is in PATH. It runs with its nftables
method, over an sshd of our own with the cipher that is fastest here.
"""

import getpass
import shlex
import shutil
from pathlib import Path

from bench.far import Far, run
from bench.peers import START_TIMEOUT, write_private
from bench.ssh import AES128_GCM, PRIVILEGE_SEPARATION_DIRECTORY, SSHD, make_key, sshd_config

NEAR, FAR, NOBODY = "10.95.0.1", "10.95.0.2", "10.95.0.3"
#: Behind it: the network that it makes reachable, and the address of the service in it.
NETWORK, SERVICE = "10.94.0.0/24", "10.94.0.10"
SSH_PORT = 7_022


class Sshuttle(Far):
    """The machine behind it. ``missing``: why it cannot be measured, or nothing. ``serve`` gives an address."""

    port = 7_002

    def __init__(self, directory: Path) -> None:
        super().__init__("far")
        self._directory = directory
        self._program = shutil.which("sshuttle")
        found = {"sshuttle": self._program, "nft": shutil.which("nft"), "sshd": SSHD.exists()}
        lacking = [name for name, there in found.items() if not there]
        self.missing = f"not installed: {', '.join(lacking)}" if lacking else ""

    def serve(self) -> str:
        """An sshd and a bulk service on another machine, and sshuttle to its network. Raises ChildError."""
        self.lay(f"{NEAR}/24", f"{FAR}/24")
        run(*self.prefix, "ip", "address", "add", f"{SERVICE}/32", "dev", "lo")
        # Where nobody is: what sshuttle does not catch gets nowhere.
        run("ip", "route", "add", NETWORK, "via", NOBODY)
        self.offer_bulk(SERVICE, self.port)
        self._start_sshd()
        options = {"BatchMode": "yes", "StrictHostKeyChecking": "yes", "IdentitiesOnly": "yes", "Compression": "no"}
        options["UserKnownHostsFile"] = str(self._directory / "known_hosts")
        ssh = ["ssh", "-F", "none", "-c", AES128_GCM, "-i", str(self._directory / "user")]
        ssh += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        where = f"{getpass.getuser()}@{FAR}:{SSH_PORT}"
        command = [str(self._program), "--method", "nft", "-e", shlex.join(ssh), "-r", where, NETWORK]
        self.start("sshuttle", *command).wait_line("Connected to server", START_TIMEOUT)
        return SERVICE

    def _start_sshd(self) -> None:
        self._directory.mkdir(mode=0o700)
        host_key = make_key(self._directory / "host")
        make_key(self._directory / "user")
        write_private(self._directory / "known_hosts", f"[{FAR}]:{SSH_PORT} {host_key}\n")
        config = sshd_config(self._directory, SSH_PORT, AES128_GCM, FAR)
        write_private(self._directory / "sshd_config", config)
        PRIVILEGE_SEPARATION_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        command = [str(SSHD), "-D", "-e", "-f", str(self._directory / "sshd_config")]
        self.start("sshd (sshuttle)", *command, there=True).wait_line("Server listening on", START_TIMEOUT)
