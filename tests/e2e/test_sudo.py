"""``sudo`` in front of the client's commands: whose configuration and which daemon they mean."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_client_user import owned
from tests.helpers.everyday import http
from tests.helpers.netns import Host
from tests.helpers.others import opened_way
from tests.helpers.product import Product

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "unshare", "setpriv"), pytest.mark.timeout(180)]

#: Alice calls sudo for her usual configuration, then for another one of hers. $1: her home, $2: program.
SUDO = """set -e
mount -t tmpfs -o mode=0755 none /run; mount -t tmpfs -o mode=0755 none /var/log
(cat /etc/passwd; echo "alice:x:4711:4711::$1:/bin/sh") > /run/passwd; mount --bind /run/passwd /etc/passwd
unset HYPERION_HOME XDG_RUNTIME_DIR XDG_CONFIG_HOME
home=$1; client=$2; usual=$home/.config/hyperion/hyperion.toml; other=$home/other.toml
sudo() { env HOME=/nonexistent SUDO_UID=4711 SUDO_GID=4711 SUDO_USER=alice "$@"; }
alice() { setpriv --reuid=4711 --regid=4711 --clear-groups env HOME="$home" "$@"; }
pid() { "$@" --json | "$(dirname "$client")/python" -c 'import json, sys; print(json.load(sys.stdin)["pid"])'; }
sudo "$client" up --no-tun | grep user:
cat /run/hyperion/client/pid
pid sudo "$client" status
pid sudo "$client" status --config "$usual"
(cd "$home/.config" && pid sudo "$client" status --config hyperion/hyperion.toml)
ln -s "$usual" "$home/link.toml"; pid sudo "$client" status --config "$home/link.toml"
pid alice "$client" status
pid alice "$client" status --config "$usual"
pid sudo "$client" status --config "$other"
sudo "$client" reload --config "$usual"
sudo "$client" up --no-tun --config "$other" | grep user:
cat /run/hyperion/client-*/pid
pid sudo "$client" status --config "$other"
pid alice "$client" status --config "$other"
sudo "$client" down --config "$usual"
pid sudo "$client" status --config "$other"
sudo "$client" down --config "$other"
find /run/hyperion -mindepth 1
"""


def test_sudo_and_its_caller_mean_the_same_daemon(host: Host, directory: Path) -> None:
    """By whatever name the file is called, and whether ``sudo`` is in front or not."""
    with http() as web, Product() as product:
        product.directory.chmod(0o755)
        made = product.client_file([product.server([web], name="web1").entry("web1")])
        home = directory / "alice"
        usual = home / ".config" / "hyperion"
        for place in (usual, home):
            place.mkdir(parents=True, exist_ok=True)
            owned(made, product.key("admin").file, place, 4711)
        (home / ".config").chmod(0o755)
        os.chown(home / ".config", 4711, 4711)
        (home / "hyperion.toml").rename(home / "other.toml")
        words = [str(home), str(Path(sys.executable).with_name("hyperion-client"))]
        command = [*opened_way(), "sh", "-c", SUDO, "sh", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        lines = done.stdout.splitlines()
        assert lines[:1] == ["  user:    alice"], done.stdout + done.stderr
        assert f"configuration: {usual}/hyperion.toml\n               (of alice who called sudo)\n" in done.stderr
        first = lines[1]
        assert lines[2:8] == [first] * 6
        assert lines[8:10] == ["None", f"hyperion reloaded (pid {first})"], "another file is another daemon's"
        assert lines[10] == "  user:    alice"
        second = lines[11]
        assert second != first
        assert lines[12:15] == [second, second, f"hyperion down (stopped pid {first})"]
        assert lines[15:] == [second, f"hyperion down (stopped pid {second})"], "and nothing is left"
