"""nftables through libnftables in our own process: 0.1 to 0.2 ms for an element, against 3 to 5 ms of the program.

Knows where distributions keep the Python module ``nftables`` (package ``python3-nftables``). It is not on the package
index, and a virtual environment does not see it, so it is loaded from its file. It is one file of plain Python around
the C library. A call cannot be broken off from outside. It waits for the kernel, which makes one change after the
other: a program that changes very much, or changes all the time, holds up everybody else (``knockd.overdue``).
"""

import importlib.util
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from hyperion.firewall.nft import NftMissingError, failure

#: Where distributions keep modules of their own Python: Debian, then Fedora and its kin, Arch, Alpine.
DIRECTORIES = (
    "/usr/lib/python3/dist-packages",
    f"/usr/lib/python{sysconfig.get_python_version()}/site-packages",
    f"/usr/lib64/python{sysconfig.get_python_version()}/site-packages",
)

_FLAGS = ("json", "stateless", "terse", "handle")


class NftLibrary:
    """One libnftables context. Not for two threads at once. It belongs to the network namespace it was made in."""

    name = "libnftables"

    def __init__(self, directories: Sequence[str] = DIRECTORIES) -> None:
        module = find_module(directories)
        try:
            self._nft: Any = module.Nftables()
            self._setters = {flag: getattr(self._nft, f"set_{flag}_output") for flag in _FLAGS}
        except (OSError, AttributeError) as error:
            raise NftMissingError(f"libnftables cannot be used: {error}") from None

    def load(self, commands: str) -> None:
        self._run(commands)

    def check(self, commands: str) -> None:
        self._nft.set_dry_run(True)
        try:
            self._run(commands)
        finally:
            self._nft.set_dry_run(False)

    def list_text(self, *what: str, handles: bool = False) -> str:
        return self._run(" ".join(("list", *what)), stateless=True, terse=True, handle=handles)

    def list_whole(self, *what: str) -> str:
        return self._run(" ".join(("list", *what)))

    def list_json(self, *what: str) -> str:
        return self._run(" ".join(("list", *what)), json=True)

    def _run(self, commands: str, **flags: bool) -> str:
        for flag, setter in self._setters.items():
            setter(flags.get(flag, False))
        status, output, complaint = self._nft.cmd(commands)
        if status != 0:
            raise failure(complaint)
        return str(output)


def find_module(directories: Sequence[str] = DIRECTORIES) -> ModuleType:
    """The distribution's module ``nftables``. Raises ``NftMissingError``."""
    if "nftables" in sys.modules:
        return sys.modules["nftables"]
    for directory in directories:
        package = Path(directory, "nftables", "__init__.py")
        spec = importlib.util.spec_from_file_location(
            "nftables", package, submodule_search_locations=[str(package.parent)]
        )
        if package.is_file() and spec is not None and spec.loader is not None:
            return _load(spec)
    raise NftMissingError("the Python module nftables is not installed")


def _load(spec: ModuleSpec) -> ModuleType:
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    # Before it runs: it imports its own submodule by its full name.
    sys.modules["nftables"] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError, SyntaxError, AttributeError) as error:
        del sys.modules["nftables"]
        raise NftMissingError(f"the module nftables cannot be loaded: {type(error).__name__}") from None
    return module
