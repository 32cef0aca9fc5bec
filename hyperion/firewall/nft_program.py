"""nftables through the ``nft`` program: 3 to 5 ms a call, and always there where nftables is.

Knows how to run a program that may fail or hang, without a shell. Commands go in as text on standard input, never as
arguments. (Not in JSON mode: nft 1.0.6 reads standard input for JSON first and, if it is text, then finds it empty and
reports success without having done anything; and its JSON lists times in whole seconds and leaves out the flag
``dynamic`` of a set, so it cannot give back what it has read.)
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from hyperion.firewall.nft import FirewallError, NftMissingError, NftTimeoutError, failure

#: Where distributions put nft. Not PATH: who can set our environment must not choose what runs with our rights.
DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")
#: A call takes milliseconds; on a machine with 100,000 elements seconds. After this it hangs.
TIMEOUT_SECONDS = 10.0

#: nft's messages are compared, so they must not be translated. Nothing else of our environment is its business.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": ":".join(DIRECTORIES)}


class NftProgram:
    """``nft`` at ``path``; each call is one process, killed after ``timeout`` seconds."""

    name = "nft"

    def __init__(self, path: Path | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._path = find_nft() if path is None else path
        self._timeout = timeout

    def load(self, commands: str) -> None:
        self._run(("-f", "-"), commands)

    def check(self, commands: str) -> None:
        self._run(("-c", "-f", "-"), commands)

    def list_text(self, *what: str, handles: bool = False) -> str:
        flags = ("--stateless", "--terse", *(("--handle",) if handles else ()))
        return self._run((*flags, "list", *what))

    def list_whole(self, *what: str) -> str:
        return self._run(("list", *what))

    def list_json(self, *what: str) -> str:
        return self._run(("--json", "list", *what))

    def _run(self, arguments: Sequence[str], commands: str = "") -> str:
        try:
            done = subprocess.run(  # noqa: S603  (an absolute path of ours, an argument vector, no shell)
                [self._path, *arguments],
                input=commands.encode(),
                capture_output=True,
                timeout=self._timeout,
                env=_ENVIRONMENT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NftTimeoutError(
                f"nft did not answer within {self._timeout:g} s", hint="look for other programs that hold nftables"
            ) from None
        except (FileNotFoundError, PermissionError) as error:
            raise NftMissingError(f"cannot run {self._path}: {error.strerror}") from None
        except OSError as error:
            raise FirewallError(f"cannot run {self._path}: {error.strerror}") from None
        if done.returncode != 0:
            raise failure(done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode("utf-8", "replace")


def find_nft(directories: Sequence[str] = DIRECTORIES) -> Path:
    """The program. Raises ``NftMissingError``."""
    for directory in directories:
        path = Path(directory, "nft")
        if path.is_file():
            return path
    raise NftMissingError
