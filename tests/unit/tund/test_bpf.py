"""How programs are written down; what the kernel makes of them is in ``test_shortcut_program`` and e2e."""

import errno
import os
import struct

import pytest

from hyperion.tund import bpf
from hyperion.tund.bpf import Assembly
from tests.helpers.ebpf import needs_ebpf


def test_instructions_as_the_kernel_reads_them() -> None:
    a = Assembly()
    a.add(bpf.MOVE_VALUE, 0, value=2)
    a.add(bpf.STORE_HALF, 10, 9, offset=-8)
    a.add(bpf.MOVE_WORD_VALUE, 4, value=0xFFFF_FFFE)
    a.add(bpf.EXIT)
    assert a.assemble().hex(" ", 8) == "b700000002000000 6b9af8ff00000000 b4040000feffffff 9500000000000000"


def test_a_map_takes_two() -> None:
    a = Assembly()
    a.load_map(1, 7)
    assert a.assemble().hex(" ", 8) == "1811000007000000 0000000000000000"


def test_jumps_lead_forwards_and_backwards() -> None:
    a = Assembly()
    a.jump(bpf.JUMP, "end")
    a.place("back")
    a.add(bpf.EXIT)
    a.place("end")
    a.jump(bpf.IF_EQUAL, "back", 5, value=6)
    offsets = [instruction[2] for instruction in struct.iter_unpack("<BBhi", a.assemble())]
    assert offsets == [1, 0, -2]


def test_a_jump_to_nowhere() -> None:
    a = Assembly()
    a.jump(bpf.JUMP, "nowhere")
    with pytest.raises(KeyError):
        a.assemble()


@pytest.mark.parametrize("machine", ["s390x", "mips", ""])
def test_machines_whose_call_is_not_known(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(OSError, match="no eBPF here") as caught:
        bpf.create_map(4, 4, 1)
    assert caught.value.errno == errno.ENOSYS


@needs_ebpf
class TestMaps:
    """In the kernel."""

    @pytest.fixture
    def table(self) -> int:
        return bpf.create_map(4, 2, 2)

    def test_entries_come_and_go(self, table: int) -> None:
        assert not bpf.remove(table, b"aaaa")
        bpf.put(table, b"aaaa", b"11")
        bpf.put(table, b"aaaa", b"22")
        assert bpf.remove(table, b"aaaa")
        assert not bpf.remove(table, b"aaaa")
        os.close(table)

    def test_a_full_one(self, table: int) -> None:
        bpf.put(table, b"aaaa", b"11")
        bpf.put(table, b"bbbb", b"11")
        with pytest.raises(OSError, match=os.strerror(errno.E2BIG)):
            bpf.put(table, b"cccc", b"11")
        os.close(table)

    def test_nobody_inherits_it(self, table: int) -> None:
        assert not os.get_inheritable(table)
        os.close(table)

    def test_what_is_none(self) -> None:
        with open(os.devnull, "rb") as null, pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            bpf.put(null.fileno(), b"aaaa", b"11")


@needs_ebpf
def test_a_program_that_is_harmless_and_one_that_is_not() -> None:
    a = Assembly()
    a.add(bpf.MOVE_VALUE, 0, value=0)
    a.add(bpf.EXIT)
    os.close(bpf.load_program(a.assemble(), "harmless"))
    a = Assembly()
    a.add(bpf.EXIT)  # without an answer
    refusals = (os.strerror(number) for number in (errno.EACCES, errno.EINVAL))
    with pytest.raises(OSError, match="|".join(refusals)):
        bpf.load_program(a.assemble(), "not")
