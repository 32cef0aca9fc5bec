"""Names of servers while a client runs, in a file that stands in for /etc/hosts; gone after every end of it."""

import signal
import subprocess
from pathlib import Path

import pytest

from bench.ports import free_port
from hyperion.hosts import BEGIN, write
from tests.helpers.netns import Host
from tests.helpers.product import Product
from tests.helpers.program import Program
from tests.helpers.transparent import FAKE, FAKE6, Transparent, start
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip")]

THEIRS = "127.0.0.1\tlocalhost\n::1\tip6-localhost\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text(THEIRS, encoding="utf-8")
    return path


def up(host: Host, product: Product, file: Path) -> Transparent:
    running = start(host, product, {"web1": [free_port()], "web2": [1]}, "--hosts", "--hosts-file", str(file))
    running.wait_up()
    return running


def helper_pid(client: Program, name: str) -> int:
    started = [each for each in client.wait_events("worker-started") if each["hyperion"]["worker"]["id"] == name]
    return int(started[-1]["process"]["pid"])


def names(file: Path) -> set[tuple[str, str]]:
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if ".hyperion" in line]
    return {(line[0], line[1]) for line in lines}


EXPECTED = {(addresses[name], f"{name}.hyperion") for name in ("web1", "web2") for addresses in (FAKE, FAKE6)}


def test_names_while_it_runs(host: Host, file: Path) -> None:
    with Product() as product:
        running = up(host, product, file)
        assert names(file) == EXPECTED
        # Somebody else writes, as package managers do: a new file with our lines and one more.
        text = file.read_text(encoding="utf-8") + "192.0.2.1 theirs\n"
        file.unlink()
        file.write_text(text, encoding="utf-8")
        assert running.client.stop() == 0
        assert file.read_text(encoding="utf-8") == THEIRS + "192.0.2.1 theirs\n"


def test_the_supervisor_is_killed(host: Host, file: Path) -> None:
    with Product() as product:
        running = up(host, product, file)
        running.client.send(signal.SIGKILL)
        until(lambda: file.read_text(encoding="utf-8") == THEIRS)
        product.programs.remove(running.client)
        running.client.end()


def test_the_keeper_is_killed_and_another_takes_over(host: Host, file: Path) -> None:
    with Product() as product:
        running = up(host, product, file)
        subprocess.run(["kill", "-9", str(helper_pid(running.client, "hosts"))], check=True)
        running.client.wait_events("worker-crashed")
        until(lambda: len(running.client.events("worker-started")) == 5)
        assert running.client.stop() == 0
        assert file.read_text(encoding="utf-8") == THEIRS


def test_what_both_left_behind_goes_at_the_next_start(host: Host, file: Path) -> None:
    write([("10.99.0.99", "gone.hyperion")], file)
    with Product() as product:
        running = up(host, product, file)
        assert names(file) == EXPECTED
        assert running.client.stop() == 0
        assert BEGIN not in file.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_stops_the_start(host: Host, tmp_path: Path) -> None:
    with Product() as product:
        running = start(host, product, {"web1": [1]}, "--hosts", "--hosts-file", str(tmp_path / "none" / "hosts"))
        assert running.client.wait() == 73
        assert "cannot be changed" in "\n".join(running.client.err)
        product.programs.remove(running.client)
        running.client.end()
