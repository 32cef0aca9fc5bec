"""How a daemon is started and heard of. The daemon here is the real program; what it serves is tested elsewhere."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hyperion.cli.launch import (
    NOT_INHERITED,
    Launch,
    Launched,
    LaunchFailed,
    LaunchOrder,
    clean_environment,
    launch,
    restart_without_secrets,
)
from hyperion.config import Secrets
from hyperion.errors import ChildError, ConfigError, ConfigMissingError, InternalError
from hyperion.service_user import ServiceUser
from tests.helpers.config_files import PASSPHRASE, server_text

ORDER = LaunchOrder(secrets={"variables": {"V": PASSPHRASE}, "answers": {}}, runtime="/run/x", log_path="/l")


def frame(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


def received(sock: socket.socket) -> Launched | LaunchFailed:
    sock.settimeout(10)
    data = b""
    while part := sock.recv(4096):
        data += part
    return msgspec.msgpack.decode(data[4:], type=Launched | LaunchFailed)


def daemon_side(order: LaunchOrder = ORDER) -> tuple[Launch, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.sendall(frame(order))
    return Launch(theirs.detach()), ours


def test_the_order_does_not_show_its_secrets() -> None:
    assert PASSPHRASE not in f"{ORDER!r} {ORDER} {ORDER.__rich_repr__()}"


def test_ready_is_said_once() -> None:
    side, ours = daemon_side()
    with ours:
        assert side.order == ORDER
        with side.reporting():
            side.ready(["127.0.0.1:8443"])
            side.ready(["again"])
        assert received(ours) == Launched(os.getpid(), ["127.0.0.1:8443"])


def test_up_hears_whom_root_became() -> None:
    side, ours = daemon_side()
    with ours:
        with side.reporting():
            side.ready([], ServiceUser("nobody", 7, 7, (7,), "make a user"))
        assert received(ours) == Launched(os.getpid(), [], "nobody", "make a user")


def test_what_fails_before_it_is_ready_is_told() -> None:
    side, ours = daemon_side()
    with ours:
        with pytest.raises(ConfigError), side.reporting():
            raise ConfigError("bad", hint="mend it")
        assert received(ours) == LaunchFailed("bad", "mend it", 78)
    side, ours = daemon_side()
    with ours:
        with pytest.raises(ZeroDivisionError), side.reporting():
            raise ZeroDivisionError(PASSPHRASE)
        assert received(ours) == LaunchFailed("internal error: ZeroDivisionError", "see its log", 70)


def test_nobody_waits() -> None:
    side, ours = daemon_side()
    ours.close()
    with side.reporting():
        side.ready([])
    silent, ours = daemon_side(LaunchOrder(secrets={}, runtime="/r", answers=False))
    with ours:
        silent.ready([])
        ours.settimeout(10)
        assert ours.recv(1) == b""


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1\xc1"])
def test_a_descriptor_that_holds_no_order(data: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    with pytest.raises(InternalError, match="for up only"):
        Launch(reader)
    os.close(reader)
    with pytest.raises(InternalError, match="for up only"):
        Launch(reader)


def test_the_environment_of_a_daemon() -> None:
    environ = {"PATH": "/bin", "HYPERION_HOME": "/h", **dict.fromkeys(NOT_INHERITED, "x")}
    assert clean_environment(environ) == {"PATH": "/bin", "HYPERION_HOME": "/h"}


@pytest.fixture
def null() -> int:
    return os.open(os.devnull, os.O_RDWR)


def test_the_error_of_the_daemon_is_ours(null: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigMissingError, match="no configuration file"):
        launch("server", ["run", "--config", str(tmp_path / "none.toml")], ORDER, null, os.environ)
    os.close(null)


def test_a_daemon_that_dies_at_once_is_noticed(null: int) -> None:
    with pytest.raises(ChildError, match=r"died before it was ready \(exit code 2\)"):
        launch("nonsense", [], ORDER, null, os.environ)
    os.close(null)


def test_a_daemon_that_is_killed_before_it_is_ready_is_noticed(null: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    with pytest.raises(ChildError, match="SIGKILL"):
        launch("server", ["run"], ORDER, null, environ)
    os.close(null)


def test_ctrl_c_ends_the_daemon_too(null: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "os.kill(os.getppid(), 2)\ntime.sleep(60)\n"
    )
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        launch("server", ["run"], ORDER, null, environ)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGCONT)
    os.close(null)


def test_ctrl_c_does_not_end_one_that_replaces_another(null: int, tmp_path: Path) -> None:
    """The old one may be gone already: without the new one nobody would serve."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "os.kill(os.getppid(), 2)\ntime.sleep(60)\n"
    )
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    order = LaunchOrder(secrets=ORDER.secrets, runtime=ORDER.runtime, replaces="/run/x")
    with pytest.raises(KeyboardInterrupt):
        launch("server", ["run"], order, null, environ)
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGKILL)  # it was still there
    os.waitpid(pid, 0)
    os.close(null)


RESTART = """
import os, sys
from pathlib import Path
from hyperion.cli.launch import Launch, restart_without_secrets
from hyperion.config import Secrets
secrets = Secrets(None)
if "--launch-fd" in sys.argv:
    order = Launch(int(sys.argv[-1])).order
    secrets.restore(order.secrets)
    assert order.runtime == "/run/x" and not order.answers
print(os.getpid(), secrets.passphrase("CANARY", "?") == "canary-passphrase",
      b"canary-passphrase" in Path("/proc/self/environ").read_bytes(), flush=True)
restart_without_secrets(secrets, Path("/run/x"))
"""


def test_a_secret_of_the_environment_is_left_behind(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(RESTART)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"CANARY": PASSPHRASE},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second = [line.split() for line in done.stdout.splitlines()]
    assert first[0] == second[0]  # the same process, for whoever waits for it
    assert first[1:] == ["True", "True"]
    assert second[1:] == ["True", "False"]


def test_without_a_secret_nothing_is_restarted(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(server_text(tmp_path))
    restart_without_secrets(Secrets(None, {}), tmp_path)  # returns
