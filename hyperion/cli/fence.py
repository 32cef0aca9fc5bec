"""A part of somebody's file that is ours, between two lines; the rest of the file is theirs, byte for byte. Pure.

The part stands at the top: in the configuration of ssh the first value wins, and what a person wrote for ``Host *``
further down must not come before what is said about one host.
"""

from hyperion.errors import CannotCreateError

BEGIN = "# >>> hyperion >>> written by hyperion-client ssh-config --write; changes up to the end mark are lost"
END = "# <<< hyperion <<<"

#: How both lines begin; what stands behind it in the first may be another version's words.
_BEGIN_MARK = "# >>> hyperion >>>"


def put(text: str, part: str) -> str:
    """``text`` with ``part`` (whole lines) in the fence, instead of what was there. Raises ``CannotCreateError``."""
    before, after = _around(text)
    if before is None:
        gap = "\n" if text else ""
        return f"{BEGIN}\n{part}{END}\n{gap}{text}"
    return f"{before}{BEGIN}\n{part}{END}\n{after}"


def remove(text: str) -> str:
    """``text`` without the fence, as it was before the first ``put``. Raises ``CannotCreateError``."""
    before, after = _around(text)
    if before is None:
        return text
    return before + (after.removeprefix("\n") if not before else after)


def _around(text: str) -> tuple[str | None, str]:
    """What stands before and after the fence; ``None`` if there is none."""
    lines = text.splitlines(keepends=True)
    begins = [place for place, line in enumerate(lines) if line.startswith(_BEGIN_MARK)]
    ends = [place for place, line in enumerate(lines) if line.rstrip("\r\n") == END]
    if not begins and not ends:
        return None, text
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        hint = f"remove the lines {_BEGIN_MARK} and {END} with what is between them"
        raise CannotCreateError("the marks of hyperion's part are not a pair", hint=hint)
    return "".join(lines[: begins[0]]), "".join(lines[ends[0] + 1 :])
