"""Ways to a server's ports that need no forward: ``nc`` as a ProxyCommand, and SOCKS."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.tunnel import program
from tests.helpers.product import Product, Server
from tests.helpers.program import ROOT, Program

#: Seconds for one command.
TIMEOUT = 60

NC = [*program("client"), "nc"]


def environment(product: Product) -> dict[str, str]:
    """In which ``nc`` finds the product's configuration and its running client."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "HYPERION_HOME": str(product.directory)}


def proxy_command(*options: str) -> str:
    """For ssh, which puts host and port in."""
    return f"{shlex.join([*NC, *options])} %h %p"


def nc(
    product: Product, server: str, port: int, data: bytes = b"", options: Sequence[str] = ()
) -> subprocess.CompletedProcess[bytes]:
    """One whole run of ``nc``."""
    return subprocess.run(
        [*NC, *options, server, str(port)],
        input=data,
        capture_output=True,
        env=environment(product),
        timeout=TIMEOUT,
        check=False,
    )


def client_file(product: Product, server: Server) -> Path:
    """The client's usual configuration: ``nc`` finds it without being told."""
    return product.client_file([server.entry()], name="hyperion")


def run_socks(product: Product, file: Path, *options: str) -> tuple[Program, str]:
    """A client that serves SOCKS, and where."""
    running = product.run("client", file, ["-D", "0", *options])
    line = running.wait_out(lambda each: each.startswith("socks "))[0]
    return running, line.split()[1]
