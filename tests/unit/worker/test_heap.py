import ctypes
import platform
import subprocess
import sys

import pytest

from hyperion.worker import heap

# Fill, free and refill the end of the heap as bulk records do; print the page faults that it took.
CHURN = """
import resource, sys
from hyperion.worker.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def churn(rounds):
    for _ in range(rounds):
        [bytearray(64 * 1024) for _ in range(8)]
churn(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn(200)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True, timeout=30)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the knob is glibc's")
def test_freed_memory_is_not_fetched_again_page_by_page() -> None:
    assert faults("keep") < 100


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert heap.keep_freed_memory() is False
