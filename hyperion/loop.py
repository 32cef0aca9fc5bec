"""Which event loop a process runs on.

Knows uvloop's version floor and that its policy is never installed: ``uvloop.install`` changes every loop of the
process and breaks netlink libraries. Knows nothing of what runs.
"""

import asyncio
import importlib
import sys
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any, Literal, TypeVar

from hyperion.errors import ConfigError, UsageError

LoopChoice = Literal["auto", "uvloop", "asyncio"]

#: Older ones close a cancelled connection's descriptor twice, which can hand one connection's bytes to another
#: (MagicStack/uvloop issues 645 and 738, pull request 740).
MIN_UVLOOP = (0, 23)

Result = TypeVar("Result")


def run(
    main: Callable[[], Coroutine[Any, Any, Result]], *, loop: LoopChoice = "auto", watches_sockets: bool = False
) -> Result:
    """Runs ``main()`` to its end on a fresh loop and returns what it returns.

    ``auto`` takes uvloop where it is installed. ``watches_sockets``: ``main`` needs ``add_reader``, which the usual
    loop of Windows lacks (the one that has it knows no pipes). Raises ``ConfigError`` when the installed uvloop is too
    old to be safe (also with ``auto``: silently slower would hide it), ``UsageError`` when ``uvloop`` is asked for and
    missing.
    """
    uvloop = None if loop == "asyncio" else find_uvloop()
    if uvloop is None and loop == "uvloop":
        raise UsageError("uvloop is not installed", hint="install it, or choose the loop 'auto'")
    factory = _plain_loop(watches_sockets=watches_sockets) if uvloop is None else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def _plain_loop(*, watches_sockets: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """None is whatever the platform likes best."""
    return asyncio.SelectorEventLoop if watches_sockets and sys.platform == "win32" else None


def find_uvloop() -> ModuleType | None:
    """The uvloop module, or ``None`` where there is none (Windows, other interpreters).

    Raises ``ConfigError`` if it is too old.
    """
    try:
        # Not an import statement: the module is optional, and a process that chose asyncio must not pay for it.
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    if _version(uvloop.__version__) < MIN_UVLOOP:
        raise ConfigError(
            f"uvloop {uvloop.__version__} can mix up connections",
            hint=f"install uvloop {MIN_UVLOOP[0]}.{MIN_UVLOOP[1]} or newer, or choose the loop 'asyncio'",
        )
    return uvloop


def loop_name() -> str:
    """``uvloop`` or ``asyncio``: what the running loop is, for logs."""
    return "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
