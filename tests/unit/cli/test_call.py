"""From an answer to an exit code."""

import errno
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from hyperion.cli import call as module
from hyperion.cli.call import converse, explain, pass_on, place_call
from hyperion.cli.stdio import End
from hyperion.errors import EXIT_BROKEN_PIPE, CannotCreateError, HyperionError, TemporaryError, UsageError
from hyperion.proto.handover import MAX_REASON_BYTES, Answer, Ending
from hyperion.rendezvous import Meeting
from tests.helpers.calls import bind, reach


def talk(monkeypatch: pytest.MonkeyPatch, said: bytes, end: End = End.FINISHED) -> int:
    """``converse`` with a worker that says this and hangs up."""
    monkeypatch.setattr(module, "bridge", lambda stream: end)
    control, worker = socket.socketpair()
    with worker:
        worker.sendall(said)
        worker.shutdown(socket.SHUT_WR)
        return converse(control, socket.socket(), "web1", 22)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (b"\1egress-policy", 77, "web1 does not allow port 22"),
        (b"\2unreachable", 69, "nothing answers on port 22 of web1"),
        (b"\3refused", 69, "no tunnel to web1 (refused)"),
        (b"\3knock-unanswered", 75, "no tunnel to web1: knocks went out"),
        (b"\3", 69, "no tunnel to web1"),
        (b"", 69, "no tunnel to web1"),
        (b"\x09", 69, "no tunnel to web1"),
        (b"\3\xff\n\x1b[2J", 69, "no tunnel to web1 (\ufffd\\n\\x1b[2J)"),
        (b"\3" + b"x" * 4096, 69, f"no tunnel to web1 ({'x' * MAX_REASON_BYTES})"),
    ],
)
def test_no_stream(monkeypatch: pytest.MonkeyPatch, said: bytes, code: int, words: str) -> None:
    with pytest.raises(HyperionError) as caught:
        talk(monkeypatch, said)
    assert caught.value.exit_code == code
    assert caught.value.message.startswith(words)
    assert caught.value.hint


OK = bytes((Answer.OK,))


@pytest.mark.timeout(20)
def test_a_silent_worker_is_not_waited_for_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "WORD_SECONDS", 0.05)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    control, worker = socket.socketpair()
    with worker, pytest.raises(TemporaryError, match="the client's worker for web1 does not answer") as caught:
        converse(control, socket.socket(), "web1", 22)
    assert caught.value.hint is not None
    assert "hyperion-client status" in caught.value.hint
    assert capfd.readouterr().err == "hyperion-client: still waiting for web1:22\n"


@pytest.mark.timeout(20)
def test_a_late_answer_is_an_answer(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "WORD_SECONDS", 0.05)
    monkeypatch.setattr(module, "bridge", lambda stream: End.FINISHED)
    control, worker = socket.socketpair()

    def answer_late() -> None:
        while not capfd.readouterr().err:
            time.sleep(0.005)
        worker.sendall(OK)
        time.sleep(0.1)  # longer than the first patience: the ending has no deadline
        worker.sendall(bytes((Ending.CLEAN,)))

    late = threading.Thread(target=answer_late)
    late.start()
    with worker:
        assert converse(control, socket.socket(), "web1", 22) == 0
        late.join()


@pytest.mark.timeout(20)
def test_a_worker_with_too_many_callers_is_said_to_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.05)
    with (
        bind(tmp_path / "0", backlog=0),
        reach(tmp_path / "0"),
        pytest.raises(TemporaryError, match="the client's worker for web1 does not answer"),
    ):
        place_call(Meeting("web1", str(tmp_path / "0")), 22)


def test_a_clean_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert talk(monkeypatch, OK + bytes((Ending.CLEAN,))) == 0


def test_a_full_disk_behind_the_output_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def bridge(stream: socket.socket) -> End:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "bridge", bridge)
    control, worker = socket.socketpair()
    worker.sendall(OK)
    with worker, pytest.raises(CannotCreateError, match="cannot write the output: no space left on device"):
        converse(control, socket.socket(), "web1", 22)


def test_the_reader_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert talk(monkeypatch, OK, End.READER_LEFT) == EXIT_BROKEN_PIPE


@pytest.mark.parametrize(
    ("said", "end", "words"),
    [
        (OK + bytes((Ending.BROKEN,)), End.FINISHED, "the connection to web1:22 was lost"),
        (OK + bytes((Ending.CLEAN,)), End.BROKEN, "the connection to web1:22 was lost"),
        (OK, End.FINISHED, "the client's worker for web1 ended"),
    ],
)
def test_an_end_of_file_alone_is_no_clean_end(
    monkeypatch: pytest.MonkeyPatch, said: bytes, end: End, words: str
) -> None:
    with pytest.raises(HyperionError, match=words) as caught:
        talk(monkeypatch, said, end)
    assert caught.value.exit_code == 75


@pytest.mark.parametrize("answer", [None, *Answer])
def test_every_answer_has_its_words(answer: Answer | None) -> None:
    error = explain(answer, "", "web1", 22)
    assert "web1" in error.message
    assert error.hint


def test_a_stream_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    near, far = socket.socketpair()
    control, worker = socket.socketpair()
    with ours, theirs, far, worker:
        monkeypatch.setattr(module, "STDOUT", theirs.fileno())
        worker.sendall(OK)
        assert pass_on(control, near, "web1", 22) == 0
        data, descriptors, _, _ = socket.recv_fds(ours, 10, 4)
        assert data == b"\0"
        with socket.socket(fileno=descriptors[0]) as handed:
            handed.sendall(b"x")
            assert far.recv(1) == b"x"


def test_a_stream_is_not_handed_to_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    control, worker = socket.socketpair()
    with worker:
        monkeypatch.setattr(module, "STDOUT", write)
        worker.sendall(OK)
        with pytest.raises(UsageError, match="-F needs a Unix socket"):
            pass_on(control, socket.socket(), "web1", 22)
        for descriptor in (read, write):
            os.close(descriptor)


def test_a_call_that_nobody_takes_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        place_call(Meeting("web1", str(tmp_path / "0")), 22)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_call_hands_one_end_over(tmp_path: Path) -> None:
    with bind(tmp_path / "0") as listener:
        control, stream = place_call(Meeting("web1", str(tmp_path / "0")), 22)
        accepted, _ = listener.accept()
        data, descriptors, _, _ = socket.recv_fds(accepted, 100, 4)
    with control, stream, accepted, socket.socket(fileno=descriptors[0]) as far:
        assert data == b"\0\x16\0"
        far.sendall(b"x")
        assert stream.recv(1) == b"x"
