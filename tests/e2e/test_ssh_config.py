"""What ``ssh-config`` writes, used by the real ssh, scp and git: no root, no local port, no running client."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel import program
from tests.helpers.openssh import OpenSsh
from tests.helpers.product import Product

COPY_BYTES = 3_000_000


@pytest.fixture
def config(sshd: OpenSsh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server that runs, a client's configuration in its usual place, and the part for ssh that the program wrote."""
    # As it is after installing: the program is found by its name.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    with Product() as product:
        server = product.server([sshd.port])
        product.client_file([server.entry()]).rename(product.directory / "hyperion.toml")
        monkeypatch.setenv("HYPERION_HOME", str(product.directory))
        file = tmp_path / "ssh_config"
        file.write_text("Host *\n    LogLevel ERROR\n")
        command = [*program("client"), "ssh-config", "--write", "--file", str(file), "--port", str(sshd.port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == f"1 host in {file}; try: ssh web1\n"
        yield file


@pytest.mark.needs("sshd", "ssh", "ssh-keygen", "scp")
def test_ssh_and_scp(sshd: OpenSsh, config: Path, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(200_000)
    done = sshd.through("ssh", config, ["web1", "sha256sum; exit 7"], data)
    assert (done.returncode, done.stderr) == (7, b"")
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert sshd.met.read_text().startswith("hyperion-web1 ")  # by no address and no port
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.write_bytes(random.Random(2).randbytes(COPY_BYTES))
    done = sshd.through("scp", config, ["-q", str(original), f"web1:{copy}"])
    assert (done.returncode, done.stderr) == (0, b"")
    assert copy.read_bytes() == original.read_bytes()


@pytest.mark.needs("sshd", "ssh", "ssh-keygen", "git")
def test_git(sshd: OpenSsh, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    identity = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com"}
    identity |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}
    for name, value in identity.items():
        monkeypatch.setenv(name, value)

    def git(*words: str) -> None:
        subprocess.run(["git", *words], capture_output=True, timeout=60, check=True)

    git("init", "-q", str(there))
    (there / "file").write_text("through the tunnel\n")
    git("-C", str(there), "add", "file")
    git("-C", str(there), "commit", "-qm", "first")
    wrapper = tmp_path / "wrapper"
    key = sshd.met.parent / "user"
    ssh = shutil.which("ssh")
    wrapper.write_text(
        f"#!/bin/sh\nexec {ssh} -F {config} -i {key} -o BatchMode=yes -o StrictHostKeyChecking=accept-new "
        f'-o UserKnownHostsFile={sshd.met} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(wrapper))
    git("clone", "-q", f"web1:{there}", str(here))
    assert (here / "file").read_text() == "through the tunnel\n"
