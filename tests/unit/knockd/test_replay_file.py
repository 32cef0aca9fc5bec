"""The file that remembers knocks: what comes back, and what is refused when something does not."""

import os
import resource
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from hyperion.errors import CannotCreateError
from hyperion.knockd import replay_file
from hyperion.knockd.replay_file import MAGIC, ReplayFile, ReplayFileError
from hyperion.proto.knock import Knock, Verdict
from hyperion.proto.replay import Remembered, ReplayGuard, ReplayState

NOW, WINDOW = 1_700_000_000, 30


#: What is known of a file that was spoilt: nothing.
SPOILT = ReplayState(NOW + 2 * WINDOW, (), WINDOW, ((NOW, NOW + 2 * WINDOW),))


def entry(number: int, timestamp: int = NOW) -> Remembered:
    return Remembered("fleet", number.to_bytes(12, "big"), "c00002", timestamp + WINDOW)


@contextmanager
def opened(path: Path) -> Iterator[ReplayFile]:
    file = ReplayFile(str(path))
    try:
        yield file
    finally:
        file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a sound file that remembers nothing."""
    path = tmp_path / "replay"
    with opened(path) as file:
        file.rewrite(ReplayState(-1, ()))
    return path


def load(path: Path, now: int = NOW) -> tuple[ReplayState, str | None]:
    with opened(path) as file:
        return file.load(now, WINDOW), file.damage


def verdict(state: ReplayState, timestamp: int, now: int) -> Verdict:
    guard = ReplayGuard(WINDOW)
    guard.load(state, now)
    return guard.judge(Knock("fleet", timestamp, 8443, b"never-before"), "net", now)


def test_what_was_appended_comes_back(path: Path) -> None:
    entries = tuple(entry(number) for number in range(100))
    with opened(path) as file:
        file.load(NOW, WINDOW)
        for one in entries:
            file.append(one)
    assert load(path) == (ReplayState(-1, entries), None)


def test_also_after_a_rewrite_and_what_follows_it(path: Path) -> None:
    with opened(path) as file:
        file.load(NOW, WINDOW)
        file.append(entry(1))
        file.rewrite(ReplayState(NOW - 5, (entry(2),)))
        file.append(entry(3))
    assert load(path) == (ReplayState(NOW - 5, (entry(2), entry(3))), None)


def test_it_is_private(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["replay"]


def test_it_survives_a_kill_without_warning(path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from hyperion.knockd.replay_file import ReplayFile\n"
        "from hyperion.proto.replay import Remembered\n"
        "file = ReplayFile(sys.argv[1]); file.load(1_700_000_000, 30)\n"
        "for n in range(50): file.append(Remembered('fleet', n.to_bytes(12, 'big'), 'c00002', 1_700_000_030))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[3], timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert load(path) == (ReplayState(-1, tuple(entry(number) for number in range(50))), None)


def test_without_a_file_what_was_sealed_before_the_start_is_refused(tmp_path: Path) -> None:
    state, damage = load(tmp_path / "replay")
    assert damage == "missing"
    assert [verdict(state, NOW + step, NOW + 1) for step in (-29, -1, 0)] == [Verdict.STALE] * 3
    assert verdict(state, NOW + 1, NOW + 1) is Verdict.ACCEPTED


def test_a_file_that_must_be_there_and_is_not_was_lost_and_nobody_gets_in_until_all_is_stale(tmp_path: Path) -> None:
    with opened(tmp_path / "replay") as file:
        state = file.load(NOW, WINDOW, expected=True)
        assert file.damage == "lost"
    for step in range(-WINDOW, WINDOW + 1):  # all that a clock that is off may have sealed before
        assert verdict(state, NOW + step, NOW) is Verdict.STALE
    assert verdict(state, NOW + WINDOW + 1, NOW + WINDOW + 1) is Verdict.ACCEPTED


def test_one_that_is_there_as_expected_is_taken_as_it_is(path: Path) -> None:
    with opened(path) as file:
        file.rewrite(ReplayState(-1, ()))
    with opened(path) as file:
        assert (file.load(NOW, WINDOW, expected=True), file.damage) == (ReplayState(-1, ()), None)


def test_a_record_that_was_not_finished_is_left_out(path: Path) -> None:
    whole = path.read_bytes()
    with opened(path) as file:
        file.load(NOW, WINDOW)
        file.append(entry(1))
    longer = path.read_bytes()
    for cut in range(len(whole) + 1, len(longer)):
        path.write_bytes(longer[:cut])
        state, damage = load(path)
        assert damage == "cut-short"
        assert state.remembered == ()
        assert verdict(state, NOW, NOW + 1) is Verdict.STALE
        assert verdict(state, NOW + 1, NOW + 1) is Verdict.ACCEPTED


def test_any_flipped_bit_is_noticed_and_nobody_gets_in_until_all_is_stale(path: Path) -> None:
    with opened(path) as file:
        file.load(NOW, WINDOW)
        for number in range(3):
            file.append(entry(number))
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        state, damage = load(path)
        # a longer length makes the last record look unfinished; what was before it is all there
        assert damage in ("corrupt", "cut-short")
        assert verdict(state, NOW, NOW + 1) is Verdict.STALE
        if damage == "corrupt":
            assert verdict(state, NOW + WINDOW, NOW + 1) is Verdict.STALE
        assert verdict(state, NOW + WINDOW + 1, NOW + WINDOW + 1) is Verdict.ACCEPTED


@pytest.mark.parametrize("content", [b"something else", MAGIC[:4] + b"\x03", bytes(1000), MAGIC + b"\xff" * 600])
def test_what_is_not_ours_is_corrupt(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    state, damage = load(path)
    assert damage == "corrupt"
    assert state == SPOILT


def test_a_huge_file_is_not_read(path: Path) -> None:
    os.truncate(path, replay_file.MAX_FILE_BYTES + 1)
    assert load(path)[1] == "corrupt"


@pytest.mark.parametrize("content", [b"", MAGIC[:3]])
def test_an_empty_file_is_one_that_was_cut_short(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert load(path)[1] == "cut-short"


def test_a_clock_that_was_ahead_once_locks_nobody_out_for_years(path: Path) -> None:
    with opened(path) as file:
        file.rewrite(ReplayState(NOW + 10**8, ()))
    state, damage = load(path)
    assert damage is None
    for step in range(-WINDOW, WINDOW + 1):
        assert verdict(state, NOW + step, NOW) is Verdict.STALE
    guard = ReplayGuard(WINDOW)
    guard.load(state, NOW)
    assert guard.shut_until(NOW) == NOW + WINDOW + 1
    later = Knock("fleet", NOW + WINDOW + 1, 8443, b"never-before")
    assert guard.judge(later, "net", NOW + WINDOW + 1) is Verdict.ACCEPTED


def test_the_seconds_of_forgotten_knocks_come_back(path: Path) -> None:
    """More than fit into one record, and below zero (a clock at the beginning of time)."""
    runs = tuple((number, number + number % 3) for number in range(-50, 5_000, 5))
    with opened(path) as file:
        file.rewrite(ReplayState(NOW, (entry(1),), WINDOW, runs))
        file.append(entry(2))
    assert load(path) == (ReplayState(NOW, (entry(1), entry(2)), WINDOW, runs), None)


@pytest.mark.parametrize("body", [bytes(15), bytes(17), struct.pack(">qq", 2, 1)])
def test_what_are_no_runs_is_corrupt(path: Path, body: bytes) -> None:
    path.write_bytes(path.read_bytes() + replay_file._encode(body))
    assert load(path)[1] == "corrupt"


def test_a_file_of_the_version_before_is_read(path: Path) -> None:
    with opened(path) as file:
        file.rewrite(ReplayState(NOW - 5, (entry(1),)))
    path.write_bytes(b"HYPR\x01" + path.read_bytes()[len(MAGIC) :])
    assert load(path) == (ReplayState(NOW - 5, (entry(1),)), None)


def test_a_damaged_file_takes_nothing_until_it_is_rewritten(path: Path) -> None:
    path.write_bytes(b"junk")
    with opened(path) as file:
        state = file.load(NOW, WINDOW)
        assert file.is_large
        with pytest.raises(ReplayFileError, match="no sound file"):
            file.append(entry(1))
        file.rewrite(state)
        assert not file.is_large
        file.append(entry(1))
    assert load(path, NOW + 1) == (msgspec.structs.replace(SPOILT, remembered=(entry(1),)), None)


def test_it_says_when_it_is_large_and_is_small_after_a_rewrite(path: Path) -> None:
    with opened(path) as file:
        file.load(NOW, WINDOW)
        number = 0
        while not file.is_large:
            file.append(entry(number))
            number += 1
        assert 500 < number < 1_500
        file.rewrite(ReplayState(-1, (entry(0),)))
        assert not file.is_large
    assert path.stat().st_size < 200


def test_a_full_disk_leaves_no_half_record(path: Path) -> None:
    """The limit on a file's size works like a full disk: a part is written, and the next time nothing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with opened(path) as file:
            file.load(NOW, WINDOW)
            file.append(entry(1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
            for _ in range(3):
                with pytest.raises(ReplayFileError, match=r"No space left|too large"):
                    file.append(entry(2))
            with pytest.raises(ReplayFileError):
                file.rewrite(ReplayState(-1, tuple(entry(number) for number in range(9))))
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            file.append(entry(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert load(path) == (ReplayState(-1, (entry(1), entry(3))), None)
    assert [item.name for item in path.parent.iterdir()] == ["replay"]


def test_a_rewrite_that_died_half_way_is_in_nobodys_way(path: Path) -> None:
    path.with_name("replay.new").write_bytes(b"half")
    with opened(path) as file:
        file.rewrite(ReplayState(-1, (entry(1),)))
    assert load(path)[0].remembered == (entry(1),)


def test_a_symbolic_link_is_not_followed(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(CannotCreateError):
        ReplayFile(str(path))


def test_nor_one_in_place_of_the_temporary_file(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")
    path.with_name("replay.new").symlink_to(target)
    with opened(path) as file:
        file.rewrite(ReplayState(-1, ()))
    assert target.read_text() == "theirs"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_read_or_change_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(CannotCreateError, match="not a private file"):
        ReplayFile(str(path))


def test_so_is_one_with_a_second_name(path: Path) -> None:
    os.link(path, path.with_name("other"))
    with pytest.raises(CannotCreateError, match="not a private file"):
        ReplayFile(str(path))


def test_and_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(CannotCreateError):
        ReplayFile(str(tmp_path / "fifo"))
    (tmp_path / "folder").mkdir(0o700)
    with pytest.raises(CannotCreateError):
        ReplayFile(str(tmp_path / "folder"))


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_may_change_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(CannotCreateError, match="changed by others"):
        ReplayFile(str(folder / "replay"))


def test_so_is_a_missing_or_a_linked_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("missing", "link"):
        with pytest.raises(CannotCreateError, match="runtime directory"):
            ReplayFile(str(tmp_path / name / "replay"))


@pytest.mark.root
def test_a_file_of_somebody_else_is_refused(path: Path) -> None:
    os.chown(path, 65_534, 65_534)
    with pytest.raises(CannotCreateError, match="not a private file"):
        ReplayFile(str(path))
