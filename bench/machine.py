"""What the figures were taken on: cores, processor, kernel, versions. Never the name or an address of the machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

#: The packages whose version moves a figure.
PACKAGES = ("uvloop", "cryptography", "noiseprotocol", "msgspec", "hyperion")

#: Instruction sets that decide how fast a cipher is.
CIPHER_FLAGS = ("sha_ni", "aes", "avx2", "avx512f", "vaes")

#: Seconds for `ssh -V` and `git rev-parse`: both answer at once or never.
PROGRAM_TIMEOUT = 10


def facts() -> dict[str, str]:
    """Everything a reader needs to judge a figure, as text ready to show."""
    found = {
        "cores": str(cores()),
        "processor": processor(),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "openssh": program_output(["ssh", "-V"]).partition(",")[0],
        "commit": program_output(["git", "rev-parse", "--short", "HEAD"]),
    }
    found.update((package, package_version(package)) for package in PACKAGES)
    return found


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_average() -> float:
    """Runnable processes over the last minute: more than a little of it before a run makes the run worthless."""
    return os.getloadavg()[0]


def processor() -> str:
    """Model and the instruction sets that matter for ciphers; empty where there is no /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    split = [line.partition(":") for line in lines]
    fields = {key.strip(): value.strip() for key, _, value in split}
    flags = set(fields.get("flags", "").split())
    return ", ".join([fields.get("model name", platform.machine()), *(flag for flag in CIPHER_FLAGS if flag in flags)])


def program_output(command: list[str]) -> str:
    """First line a program prints, on either stream (`ssh -V` uses stderr); empty if there is no such program."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PROGRAM_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").partition("\n")[0].strip() if done.returncode == 0 else ""


def package_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
