"""Makes what other machines install from, a wheel and beside it the exact packages that it needs there: ``make wheel``.

A server then has no compiler, no git and no tool of the developers on it. ``requirements.txt`` is the part of
``constraints.txt`` that a program at work needs, transparent mode included, and the wheel itself by its hash: pip takes
nothing else. For CPython 3.11 to 3.13 on a system like this one.
"""

import hashlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "dist"
REQUIREMENTS = "requirements.txt"

PROJECT = "hyperion"
#: What is installed with it, because both programs can do it.
EXTRAS = ("tun",)
PYTHONS = ("3.11", "3.12", "3.13")


def build(output: Path) -> Path:
    """The wheel, in ``output``; what lay there under that name is replaced."""
    command = ["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *command, "--wheel-dir", str(output), str(ROOT)], check=True)
    (wheel,) = output.glob(f"{PROJECT}-*.whl")
    return wheel


def needed(name: str = PROJECT, extras: tuple[str, ...] = EXTRAS) -> set[str]:
    """Names of the packages that ``name`` needs, and of those that these need. They must be installed here."""
    found: set[str] = set()
    waiting = [(name, extras)]
    while waiting:
        package, wanted = waiting.pop()
        for text in metadata.requires(package) or ():
            requirement = Requirement(text)
            child = canonicalize_name(requirement.name)
            if child not in found and _applies(requirement, wanted):
                found.add(child)
                waiting.append((child, tuple(requirement.extras)))
    return found


def _applies(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    if requirement.marker is None:
        return True
    surroundings = (
        {"extra": extra, "python_version": version, "python_full_version": f"{version}.0"}
        for extra in ("", *extras)
        for version in PYTHONS
    )
    return any(requirement.marker.evaluate(each) for each in surroundings)


def locked(names: set[str], lock: str) -> list[str]:
    """Their entries in the lock file, as they stand there. Raises ``KeyError`` for one that is not in it."""
    entries: dict[str, str] = {
        canonicalize_name(match[1]): match[0].rstrip("\n")
        for match in re.finditer(r"^([A-Za-z0-9._-]+)==.*(?:\n    --hash=.*)+", lock, re.MULTILINE)
    }
    return [entries[name] for name in sorted(names)]


def write_requirements(wheel: Path, lock: str) -> Path:
    """Beside the wheel; for ``pip install --require-hashes`` in that directory."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lines = [*locked(needed(), lock), f"./{wheel.name} \\\n    --hash=sha256:{digest}"]
    path = wheel.parent / REQUIREMENTS
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def main() -> None:
    """Both files, in ``dist``."""
    OUTPUT.mkdir(exist_ok=True)
    for old in OUTPUT.glob(f"{PROJECT}-*.whl"):
        old.unlink()
    wheel = build(OUTPUT)
    requirements = write_requirements(wheel, (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    print(f"made {wheel.relative_to(ROOT)} and {requirements.relative_to(ROOT)}; on the other machine, beside them:")
    print("    python3 -m venv /opt/hyperion/.venv")
    print(f"    /opt/hyperion/.venv/bin/pip install --require-hashes -r {REQUIREMENTS}")


if __name__ == "__main__":
    main()
