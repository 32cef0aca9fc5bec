"""Finds the programs of the system that tests run; knows where distributions hide daemons."""

import os
import shutil
from pathlib import Path

#: Outside an ordinary user's PATH on Debian: daemons and administration tools.
SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")

#: Debian keeps the server programs of each PostgreSQL version here.
POSTGRESQL_ROOT = Path("/usr/lib/postgresql")


def find_program(name: str) -> str | None:
    """Absolute path of a program, or None. Looks in PATH first; of several PostgreSQL versions the newest wins."""
    versions = [path for path in POSTGRESQL_ROOT.glob("*/bin") if path.parent.name.isdigit()]
    versions.sort(key=lambda path: int(path.parent.name), reverse=True)
    places = [os.environ.get("PATH", os.defpath), *SYSTEM_DIRECTORIES, *map(str, versions)]
    return shutil.which(name, path=os.pathsep.join(places))
