"""Whether text is coloured: what the environment says about it, the same for the log and for commands. Pure.

Sources: no-color.org; force-color.org, where 0 is read as "no" by most programs.
"""

from collections.abc import Mapping


def wants_colour(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """``NO_COLOR`` forbids, ``FORCE_COLOR`` demands (an empty variable counts as not set), else a ``terminal`` that is
    not ``dumb``."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return terminal and environ.get("TERM") != "dumb"
