"""The kernel's word on what a thread may do. What changes rights runs in a child, because there is no way back."""

import subprocess
import sys
from pathlib import Path

import pytest

from hyperion import capabilities
from hyperion.capabilities import MAX_CAPABILITIES, Capability

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

PRELUDE = """
from hyperion import capabilities
from hyperion.capabilities import Capability, Sets
ALL = capabilities.read().permitted
ONE, TWO = frozenset({Capability.NET_RAW}), frozenset({Capability.NET_RAW, Capability.NET_ADMIN})
def ambient():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    return int(lines["CapAmb"], 16)
"""


def prints(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    return done.stdout.strip()


def _mask(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name], 16)


def test_what_is_read_is_what_the_kernel_shows() -> None:
    sets = capabilities.read()
    for name, rights in zip(("CapEff", "CapPrm", "CapInh", "CapBnd"), [*sets, capabilities.bounding()], strict=True):
        assert sum(1 << number for number in rights) == _mask(name)


def test_capabilities_above_the_first_word_count() -> None:
    for number in (0, 31, 32, MAX_CAPABILITIES - 1):
        assert capabilities._from_mask(capabilities._to_mask(frozenset({number}))) == {number}


@pytest.mark.root
def test_what_is_not_named_is_given_up() -> None:
    assert (
        prints("capabilities.write(Sets(ONE, TWO, ONE)); print(capabilities.read() == Sets(ONE, TWO, ONE))") == "True"
    )


@pytest.mark.root
def test_nothing_comes_back() -> None:
    code = "capabilities.write(Sets(ONE, ONE))\ntry: capabilities.write(Sets(TWO, TWO))\nexcept OSError as e: print(e)"
    assert prints(code) == "[Errno 1] capset: Operation not permitted"


@pytest.mark.root
def test_the_bounding_set_is_emptied_but_for_what_is_kept() -> None:
    assert prints("print(capabilities.drop_bounding(ONE), capabilities.bounding() == ONE)") == "True True"
    without = (
        "capabilities.write(Sets(ONE, ONE)); print(capabilities.drop_bounding(), len(capabilities.bounding()) > 9)"
    )
    assert prints(without) == "False True"


@pytest.mark.root
def test_the_ambient_set_is_what_was_named_last() -> None:
    code = "capabilities.write(Sets(TWO, TWO, TWO)); capabilities.set_ambient(TWO); capabilities.set_ambient(ONE)"
    assert prints(f"{code}; print(ambient() == 1 << Capability.NET_RAW)") == "True"
    assert prints(f"{code}; capabilities.set_ambient(); print(ambient())") == "0"
    refused = "capabilities.write(Sets())\ntry: capabilities.set_ambient(ONE)\nexcept OSError as e: print(e)"
    assert prints(refused) == "[Errno 1] prctl: Operation not permitted"


def test_a_refusal_is_an_error_with_the_name_of_the_call() -> None:
    with pytest.raises(OSError, match="prctl"):
        capabilities.prctl(-1)


def test_elsewhere_than_on_linux_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(OSError, match="Linux"):
        capabilities.read()


def test_the_numbers_are_the_kernels() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("needs the kernel's headers")
    text = header.read_text()
    for capability in Capability:
        assert f"#define CAP_{capability.name:<20} {int(capability)}".split() in [
            line.split() for line in text.splitlines()
        ]
