"""Paths of Unix sockets, short and long, for those who listen and for those who call."""

import os
import socket
from pathlib import Path

import pytest

from hyperion.socket_path import MAX_PATH_BYTES, short


@pytest.mark.parametrize("depth", [1, 40])
def test_both_ends_meet_however_long_the_path(tmp_path: Path, depth: int) -> None:
    directory = tmp_path.joinpath(*["d"] * depth)
    directory.mkdir(parents=True)
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        with short(path) as name:
            assert len(os.fsencode(name)) <= MAX_PATH_BYTES
            assert (name == str(path)) is (len(os.fsencode(path)) <= MAX_PATH_BYTES)
            listener.bind(name)
        listener.listen()
        assert path.is_socket()
        with short(str(path)) as name:
            caller.connect(name)


def test_no_descriptor_is_left_also_if_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["d" * 60] * 3)
    path.parent.mkdir(parents=True)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ZeroDivisionError), short(path):
        raise ZeroDivisionError
    assert os.listdir("/proc/self/fd") == before


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), short(tmp_path.joinpath("none", *["d" * 60] * 3)):
        pass
