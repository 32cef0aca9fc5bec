"""The lock file: complete, with hashes, and naming no place to download from."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hyperion

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "constraints.txt").read_text(encoding="utf-8")

GROUPS = PROJECT["dependency-groups"]
WANTED = [
    *PROJECT["project"]["dependencies"],
    *PROJECT["build-system"]["requires"],
    *(entry for group in GROUPS.values() for entry in group if isinstance(entry, str)),
]


def locked() -> dict[str, tuple[str, int]]:
    """Canonical name -> exact version and number of hashes."""
    found: dict[str, tuple[str, int]] = {}
    for entry in LOCK.replace("\\\n", " ").splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)
        if match:
            found[canonicalize_name(match[1])] = (match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)))
    return found


def test_every_line_of_the_lock_is_a_pinned_package_with_hashes() -> None:
    entries = [line for line in LOCK.replace("\\\n", " ").splitlines() if line and not line.lstrip().startswith("#")]
    assert len(entries) == len(locked())
    assert all(hashes >= 1 for _, hashes in locked().values())


def test_the_lock_names_no_place() -> None:
    assert re.findall(r"://|index-url|find-links|trusted-host|^-", LOCK, re.MULTILINE) == []


@pytest.mark.parametrize("wanted", WANTED)
def test_the_lock_satisfies(wanted: str) -> None:
    requirement = Requirement(wanted)
    version, _ = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_what_runs_here_is_what_the_lock_says() -> None:
    """Catches a virtualenv that was not made from this lock file."""
    here: dict[str, str] = {
        canonicalize_name(found.name): found.version for found in metadata.distributions() if found.name
    }
    assert {name: here[name] for name in locked() if name in here} == {
        name: version for name, (version, _) in locked().items() if name in here
    }
    assert here["hyperion"] == hyperion.__version__
