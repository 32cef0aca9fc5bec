"""``up`` and ``down`` as an admin types them: fake addresses in between, and nothing afterwards."""

import os
import subprocess
from pathlib import Path

import pytest

from bench.tunnel import program
from tests.e2e.test_transparent import fetch
from tests.helpers.everyday import http
from tests.helpers.http_service import body
from tests.helpers.netns import Host
from tests.helpers.product import Product
from tests.helpers.transparent import FAKE, FAKE6, snapshot, wait_for

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft", "setpriv")]

TIMEOUT = 60


def client(product: Product, config: Path, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """``hyperion-client COMMAND``, to its end."""
    environment = {**os.environ, "HYPERION_HOME": str(product.directory), "TMPDIR": str(product.directory)}
    return subprocess.run(
        [*program("client"), command, "--config", str(config), *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.timeout(180)
def test_up_and_down(host: Host, tmp_path: Path) -> None:
    names = tmp_path / "hosts"
    names.write_text("127.0.0.1 localhost\n", encoding="utf-8")
    before = snapshot(host)
    with http() as web, Product() as product:
        servers = {name: product.server([web], name=name) for name in FAKE}
        config = product.client_file([server.entry(name) for name, server in servers.items()])
        done = client(product, config, "up", "--hosts", "--hosts-file", str(names))
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            for addresses in (FAKE, FAKE6):
                for address in addresses.values():
                    assert body(3) in fetch(address, web)
            assert "10.99.0.12\tdb1.hyperion" in names.read_text(encoding="utf-8")
            shown = client(product, config, "status")
            assert shown.returncode == 0
            assert "hyperion0" in shown.stdout
        finally:
            done = client(product, config, "down")
        assert done.returncode == 0, done.stderr
        wait_for(host, before)
        assert names.read_text(encoding="utf-8") == "127.0.0.1 localhost\n"


def test_a_subnet_in_use_is_told_to_who_typed_up(host: Host) -> None:
    host.ip("address", "add", "10.99.0.200/24", "dev", "lo")
    before = snapshot(host)
    with Product() as product:
        config = product.client_file([product.server([1], name="web1").entry("web1")])
        done = client(product, config, "up")
        assert done.returncode == 78, done.stdout + done.stderr
        assert "10.99.0.0/24 is in use on this machine" in done.stderr
        assert "hint: in [tun] set addr =" in done.stderr
        wait_for(host, before)
        assert client(product, config, "up", "--no-tun", "--no-wait").returncode == 0
        assert client(product, config, "down").returncode == 0


def test_without_the_right_the_rest_runs(host: Host) -> None:
    before = snapshot(host)
    with Product() as product:
        config = product.client_file([product.server([1], name="web1").entry("web1")])
        environment = {**os.environ, "HYPERION_HOME": str(product.directory), "TMPDIR": str(product.directory)}
        words = [*program("client"), "up", "--config", str(config), "--no-wait"]
        done = subprocess.run(
            ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr
        assert "transparent mode: off (transparent mode needs CAP_NET_ADMIN)" in done.stdout
        assert snapshot(host) == before
        assert client(product, config, "down").returncode == 0
