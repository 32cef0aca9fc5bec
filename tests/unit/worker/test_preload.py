import subprocess
import sys

from tests.helpers.house import PACKAGE


def test_everything_a_worker_needs_is_there_and_frozen_and_nothing_of_the_supervisor() -> None:
    code = (
        f"import gc, sys, {PACKAGE}.worker.preload; assert gc.get_freeze_count() > 10_000;"
        f"needed = ['{PACKAGE}.worker.main', 'structlog', 'cryptography', 'noise'];"
        "assert not [name for name in needed if name not in sys.modules];"
        "from hyperion.loop import find_uvloop; before = set(sys.modules); find_uvloop();"
        "assert set(sys.modules) == before;"
        f"assert not [name for name in sys.modules if name.startswith(('{PACKAGE}.supervisor', '{PACKAGE}.cli'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
