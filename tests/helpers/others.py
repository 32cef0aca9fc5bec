"""What a test needs to look at its own files as another user."""

import tempfile
from pathlib import Path

NOBODY = 65_534


def open_way(directory: Path) -> None:
    """Lets every user get to ``directory`` of a test: pytest's own directories are closed to others."""
    top = Path(tempfile.gettempdir()).resolve()
    for place in (directory.resolve(), *directory.resolve().parents):
        if place == top or top not in place.parents:
            return
        place.chmod(0o755)
