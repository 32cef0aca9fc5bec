"""What a command would change in a file, as a diff that may be shown.

Only the lines that change, and none that holds a key: the output of a command ends up in tickets and screenshots.
"""

import difflib
import re
from pathlib import Path

_SECRET = re.compile(r"^([+-]?\s*(?:key_value|value)\s*=).*$", re.MULTILINE)


def diff(path: Path, before: str, after: str) -> str:
    """A unified diff without context; one line that says so if nothing changes."""
    name = str(path)
    lines = list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"{name} (now)", f"{name} (then)", n=0, lineterm=""
        )
    )
    return _SECRET.sub(r"\1 (hidden)", "\n".join(lines)) if lines else f"{name} stays as it is"
