"""Programs that are started, watched and stopped; and what /proc says of them."""

import os
import sys

import pytest

from bench import processes
from bench.child import Child, ChildError
from bench.demo.tree import nested, rows
from bench.processes import Process


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class TestChild:
    def test_waits_for_a_line(self) -> None:
        with Child("talker", python("print('port 12', flush=True); input()")) as child:
            assert child.wait_line(r"port (\d+)", 20).group(1) == "12"

    def test_an_end_before_the_line_is_told_with_the_last_words(self) -> None:
        with (
            Child("quitter", python("raise SystemExit('no luck')")) as child,
            pytest.raises(ChildError, match="ended before it was ready") as caught,
        ):
            child.wait_line("ready", 20)
        assert caught.value.tail == caught.value.__notes__ == ["no luck"]

    def test_a_line_that_does_not_come(self) -> None:
        with Child("mute", python("import signal; print('here', flush=True); signal.pause()")) as child:
            child.wait_line("here", 20)
            with pytest.raises(ChildError, match="did not say 'ready'"):
                child.wait_line("ready", 0.05)

    def test_no_such_program(self) -> None:
        with pytest.raises(ChildError, match="cannot be started"):
            Child("nothing", ["/does/not/exist"])

    def test_one_that_ignores_sigterm_is_killed_and_named(self) -> None:
        stubborn = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
        child = Child("stubborn", python(stubborn))
        child.wait_line("up", 20)
        assert child.stop(timeout=0.1) == -9
        assert [process.pid for process in child.killed] == [child.pid]

    def test_family_shows_parents_before_children(self) -> None:
        inner = "import sys; print('up', flush=True); sys.stdin.read()"  # ends with its parent, who holds the pipe
        outer = f"from subprocess import *; import sys; Popen([sys.executable, '-c', {inner!r}], stdin=PIPE).wait()"
        with Child("parent", python(outer)) as child:
            child.wait_line("up", 20)
            members = processes.family(child.pid)
            assert [member.parent for member in members] == [os.getpid(), child.pid]
            assert all((processes.rss_bytes(member.pid) or 0) > 0 for member in members)
        assert child.killed == []

    def test_what_outlives_its_parent_is_killed_and_named(self) -> None:
        orphan = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
        parent = f"import subprocess, sys, signal; subprocess.Popen([sys.executable, '-c', {orphan!r}]); signal.pause()"
        child = Child("careless", python(parent))
        child.wait_line("up", 20)
        left = [member.pid for member in processes.family(child.pid)][1:]
        child.stop(grace=0.1)
        assert len(left) == 1
        assert [process.pid for process in child.killed] == left


class TestTree:
    def test_branches(self) -> None:
        members = [process(1, 0), process(2, 1), process(3, 1), process(4, 2), process(5, 2)]
        assert [(member.pid, branch) for member, branch in nested(members)] == [
            (1, ""),
            (2, "├─ "),
            (4, "│  ├─ "),
            (5, "│  └─ "),
            (3, "└─ "),
        ]

    def test_a_process_that_is_gone_has_no_rows(self) -> None:
        assert nested([]) == []

    def test_rows_name_the_root_by_its_purpose(self) -> None:
        found = rows([(os.getpid(), "these tests")])
        assert found[0][1] == str(os.getpid())
        assert found[0][3] == "these tests"


def process(pid: int, parent: int) -> Process:
    return Process(pid=pid, parent=parent, session=1, start=0, state="S", name=f"p{pid}", command="")
