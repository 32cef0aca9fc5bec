"""The end of a turn: what is gathered while local sockets are served goes out right behind them.

A callback of the loop would do the same one iteration later, which costs a keystroke some microseconds on each side.

Knows: whether somebody serves sockets now (a process has one loop, in one thread). Refuses to know what is called.
"""

import asyncio
from collections.abc import Callable

_gathered: list[Callable[[], object]] | None = None

#: One socket is being served, and no other will be in this turn: nothing is worth waiting for.
alone = False


def at_end(callback: Callable[[], object]) -> None:
    """Call it when all that is ready was served; or, where nobody serves, in the loop's next iteration."""
    if _gathered is None:
        asyncio.get_running_loop().call_soon(callback)
    else:
        _gathered.append(callback)


def begin(sockets: int = 2) -> bool:
    """So many sockets are being served from now on. False if that was so before: then ``end`` is somebody else's to
    call."""
    global _gathered, alone
    if _gathered is not None:
        return False
    _gathered = []
    alone = sockets == 1
    return True


def end() -> None:
    """All were served: call what was gathered. A callback that fails is the loop's to complain about."""
    global _gathered, alone
    gathered, _gathered = _gathered, None
    alone = False
    if not gathered:
        return
    for callback in gathered:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - a bug of ours must not cost the others their turn
            context = {"message": "the end of a turn failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
