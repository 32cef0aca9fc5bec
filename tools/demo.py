"""Run by ``make demo``: see Hyperion work on this machine. The demonstration itself is ``bench.demo``.

A file of its own, so that it runs from any directory.
"""

import importlib
import os
import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    sys.path.insert(0, ROOT)
    # For the programs it starts, which look for the same modules.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    sys.exit(importlib.import_module("bench.demo.show").main())
