"""Whether programs can be given to the kernel here, for tests that want to."""

import os

import pytest

from hyperion.tund import bpf


def has_ebpf() -> bool:
    try:
        os.close(bpf.create_map(4, 4, 1))
    except OSError:
        return False
    return True


needs_ebpf = pytest.mark.skipif(not has_ebpf(), reason="needs CAP_BPF and a kernel with eBPF")
