import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperion import log
from hyperion.events import (
    DIAGNOSTIC,
    INTERNAL_ERROR,
    SERVICE_STARTED,
    SESSION_REFUSED,
    STREAM_CLOSED,
    STREAM_OPENED,
    WORKER_CRASHED,
)
from hyperion.log import writer

ROOT = Path(__file__).parents[3]
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield number
    log.close()
    os.close(number)


@pytest.fixture
def text(fd: int) -> Callable[[], str]:
    def read() -> str:
        assert log.flush()
        return os.pread(fd, 2**20, 0).decode()

    return read


@pytest.fixture
def lines(text: Callable[[], str]) -> Lines:
    return lambda: [json.loads(line) for line in text().splitlines()]


def run(code: str) -> str:
    """Standard error of Python running ``code`` in a process of its own."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=True, timeout=30).stderr


def test_an_event_with_reason_message_and_level_of_its_own(fd: int, lines: Lines) -> None:
    log.configure("hyperion-server", level="info", worker="0", fd=fd)
    log.event(SERVICE_STARTED)
    log.event(SESSION_REFUSED, {"source.ip": "192.0.2.1"}, reason="bad-psk")
    log.event(WORKER_CRASHED, message="gave\nup", level="critical")
    first, second, third = lines()
    assert (first["event"]["code"], first["message"], first["log.level"]) == ("HYP0001N", "service started", "notice")
    assert (second["event"]["reason"], second["source"]["ip"]) == ("bad-psk", "192.0.2.1")
    assert (third["message"], third["log.level"]) == (r"gave\nup", "critical")
    assert [line["event"]["sequence"] for line in (first, second, third)] == [1, 2, 3]
    assert {line["service"]["node"]["name"] for line in (first, second, third)} == {"0"}


def test_the_level_filters(fd: int, lines: Lines) -> None:
    log.configure("hyperion-server", level="notice", fd=fd)
    assert log.enabled("notice")
    assert log.enabled("critical")
    assert not log.enabled("info")
    log.event(STREAM_OPENED)
    log.event(STREAM_OPENED, level="notice")
    log.event(DIAGNOSTIC)
    assert [line["log.level"] for line in lines()] == ["notice"]


def test_without_configure_and_after_close_nothing_happens(fd: int, text: Callable[[], str]) -> None:
    log.event(SERVICE_STARTED)
    assert not log.enabled("critical")
    assert log.flush()
    assert log.close()
    log.configure("hyperion-server", fd=fd)
    assert log.close()
    log.event(SERVICE_STARTED)
    assert text() == ""


def test_configure_again_starts_anew_and_loses_nothing(fd: int, text: Callable[[], str]) -> None:
    log.configure("hyperion-server", format="json", fd=fd)
    log.event(SERVICE_STARTED)
    log.configure("hyperion-server", format="console", fd=fd)
    log.event(SERVICE_STARTED)
    first, second = text().splitlines()
    assert first.startswith('{"@timestamp"')
    assert second.endswith("notice   service started code=HYP0001N")
    assert len(logging.getLogger().handlers) == len(set(logging.getLogger().handlers))


@pytest.mark.parametrize(("form", "level"), [("xml", "info"), ("json", "loud"), ("", "info")])
def test_unknown_names_are_refused_and_the_old_log_stays(fd: int, lines: Lines, form: str, level: str) -> None:
    log.configure("hyperion-server", fd=fd)
    with pytest.raises(ValueError, match="unknown log format or level"):
        log.configure("hyperion-server", format=form, level=level, fd=fd)
    log.event(SERVICE_STARTED)
    assert len(lines()) == 1


def test_auto_is_console_on_a_terminal_and_json_elsewhere(
    fd: int, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    log.configure("hyperion-server", fd=fd)
    log.event(SERVICE_STARTED)
    assert lines()[0]["message"] == "service started"
    ours, theirs = os.openpty()
    log.configure("hyperion-server", fd=theirs)
    log.event(SERVICE_STARTED)
    assert log.close()
    assert os.read(ours, 1_000).endswith(b"\x1b[32mnotice  \x1b[0m service started code=HYP0001N\r\n")
    os.close(ours)
    os.close(theirs)


def test_under_the_journal_each_line_says_its_priority(
    fd: int, text: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(fd)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    log.configure("hyperion-server", fd=fd)
    log.event(SERVICE_STARTED)
    log.event(WORKER_CRASHED)
    assert [line[:4] for line in text().splitlines()] == ["<5>{", "<3>{"]


def test_an_inherited_journal_variable_alone_is_not_believed(
    fd: int, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    log.configure("hyperion-server", fd=fd)
    log.event(SERVICE_STARTED)
    assert lines()[0]["event"]["sequence"] == 1


def test_a_closed_standard_error_harms_nobody() -> None:
    code = (
        "import os; os.close(2)\nfrom hyperion import events, log\n"
        "log.configure('hyperion-server'); log.event(events.SERVICE_STARTED); assert log.flush()"
    )
    assert run(code) == ""


def test_dropped_lines_are_reported_as_an_event(fd: int, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUED_LINES", 0)
    log.configure("hyperion-server", fd=fd)
    for _ in range(3):
        log.event(SERVICE_STARTED)
    monkeypatch.setattr(writer, "MAX_QUEUED_LINES", 10)
    log.event(SERVICE_STARTED)
    kept, dropped = lines()
    assert kept["event"]["sequence"] == 4
    assert (dropped["event"]["code"], dropped["message"]) == ("HYP4005W", "3 log lines dropped")
    assert dropped["hyperion"]["log"]["dropped"] == 3


def test_libraries_speak_through_the_same_log(fd: int, lines: Lines) -> None:
    log.configure("hyperion-server", fd=fd)
    logging.getLogger("asyncio").error("task died\n<Task s3cret>", exc_info=OSError(5, "no"))
    log.close()
    (line,) = [json.loads(item) for item in os.pread(fd, 9_999, 0).splitlines()]
    assert (line["event"]["code"], line["log"]["logger"], line["log.level"]) == ("HYP9001W", "asyncio", "error")
    assert (line["message"], line["error"]["type"]) == ("task died", "OSError")
    assert "s3cret" not in str(line)


def test_no_secret_gets_into_a_line(fd: int, text: Callable[[], str]) -> None:
    class Holder:
        def __init__(self) -> None:
            self.key = b"c4nary"

        def __repr__(self) -> str:
            return f"Holder({self.key!r})"

    log.configure("hyperion-server", level="debug", fd=fd)
    holder = Holder()
    values = [holder, holder.key, bytearray(holder.key), {"k": holder}, [holder, holder.key], {holder: holder}]
    for value in values:
        log.event(DIAGNOSTIC, {"hyperion.x": value})
    log.event(INTERNAL_ERROR, log.error_fields(ValueError(holder)))
    assert len(text().splitlines()) == len(values) + 1
    assert "c4nary" not in text()


def test_importing_costs_no_structlog_no_logging_no_socket() -> None:
    code = (
        "import sys, atexit, msgspec, threading\nbefore = set(sys.modules)\nimport hyperion.log\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    loaded = run(code).split()
    assert "hyperion.log.writer" in loaded
    # errno is built in, and only has to be named.
    assert [name for name in loaded if not name.startswith("hyperion") and name != "errno"] == []


def test_what_is_logged_last_is_written_before_the_process_ends() -> None:
    code = (
        "from hyperion import events, log\nlog.configure('hyperion-server')\n"
        "for number in range(500): log.event(events.SERVICE_STARTED)"
    )
    assert len(run(code).splitlines()) == 500


FORKING = """
import os, threading, warnings
from hyperion import events, log

warnings.simplefilter("ignore")  # a fork beside a thread
log.configure("hyperion-server", worker="parent")
log.event(events.SERVICE_STARTED)
assert log.flush()

held, forked = threading.Event(), threading.Event()


def hold():
    with log._log.writer._changed:
        held.set()
        forked.wait(20)


holder = threading.Thread(target=hold)
holder.start()
held.wait(20)
pid = os.fork()  # while another thread holds the lock: in the child nobody will ever release it
forked.set()
log.configure("hyperion-server", worker="parent" if pid else "child")
log.event(events.SERVICE_STOPPED)
assert log.close()
if pid == 0:
    os._exit(0)
holder.join()
assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_forked_child_configures_anew() -> None:
    seen = [json.loads(line) for line in run(FORKING).splitlines()]
    assert sorted((line["service"]["node"]["name"], line["event"]["sequence"]) for line in seen) == [
        ("child", 1),
        ("parent", 1),
        ("parent", 1),
    ]


def test_the_example_in_the_docs_is_what_its_command_writes() -> None:
    page = (ROOT / "docs/logs.md").read_text()
    code = page.partition("python -c '\n")[2].partition("'\n```")[0]
    shown = json.loads(page.partition("```json\n")[2].partition("\n```")[0])
    written = json.loads(run(code))
    for document in (shown, written):
        for name in ("@timestamp", "host", "process"):
            assert document.pop(name)
        del document["service"]["version"]
    assert written == shown
    assert written["event"]["code"] == STREAM_CLOSED.code
    console = page.partition("```text\n")[2].partition("\n```")[0]
    assert run(code.replace('"json"', '"console"')).strip()[14:] == console[14:]


NAMES = ("hyperion.stream.id", "destination.port")


def test_a_series_says_what_single_events_say(fd: int, lines: Lines) -> None:
    log.configure("hyperion-server", level="info", worker="0", fd=fd)
    fixed = {"source.ip": "192.0.2.1", "user.id": "a\nb", "ports": [1, 2], "none": None, "of": {"a": "mapping"}}
    series = log.Series(STREAM_OPENED, fixed, NAMES)
    for values in ((1, 22), (2**31, 65_535)):
        series.event(*values)
        log.event(STREAM_OPENED, fixed | dict(zip(NAMES, values, strict=True)))
        series.event(*values, reason="finished")
        log.event(STREAM_OPENED, fixed | dict(zip(NAMES, values, strict=True)), reason="finished")
    series.event(3, None)  # what is not known is left out
    log.event(STREAM_OPENED, fixed | {"hyperion.stream.id": 3})
    written = lines()
    assert [line["event"].pop("sequence") for line in written] == list(range(1, 11))
    for line in written:
        del line["@timestamp"]
    assert written[::2] == written[1::2]
    assert len({json.dumps(line, sort_keys=True) for line in written}) == 5


def test_a_series_obeys_the_level_and_follows_a_new_log(fd: int, text: Callable[[], str]) -> None:
    series = log.Series(STREAM_OPENED, {}, NAMES)
    series.event(1, 2)  # there is no log yet
    log.configure("hyperion-server", level="notice", fd=fd)
    series.event(3, 4)
    log.configure("hyperion-server", format="console", fd=fd)
    series.event(5, 6)
    log.configure("hyperion-server", format="json", fd=fd)
    series.event(7, 8)
    first, second = text().splitlines()
    assert "stream.id=5 destination.port=6" in first
    assert json.loads(second)["destination"] == {"port": 8}


def test_a_series_with_lines_too_long_is_cut_like_any_event(fd: int, lines: Lines) -> None:
    log.configure("hyperion-server", fd=fd)
    series = log.Series(STREAM_OPENED, {f"field{number}": "x" * 200 for number in range(30)}, NAMES)
    series.event(1, 2)
    assert lines()[0]["hyperion"]["log"]["fields_omitted"] == 32


def test_under_the_journal_a_series_says_its_priority(
    fd: int, text: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(fd)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    log.configure("hyperion-server", fd=fd)
    log.Series(STREAM_OPENED, {}, NAMES).event(1, 2)
    assert text().startswith("<6>{")
