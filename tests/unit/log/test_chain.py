import json
import subprocess
import sys

import pytest

from hyperion.events import WORKER_STARTED
from hyperion.log.chain import build


@pytest.mark.parametrize(
    ("form", "terminal", "json_expected"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("console", False, False)],
)
def test_form(form: str, *, terminal: bool, json_expected: bool) -> None:
    logger = build("hyperion-client", "web1", form=form, terminal=terminal)
    line = logger.line(WORKER_STARTED, {"process.pid": 7}, "worker started", "info")
    assert line.startswith(b"{") is json_expected


def test_it_numbers_its_lines() -> None:
    logger = build("hyperion-client", None, form="json", terminal=False)
    lines = [json.loads(logger.line(WORKER_STARTED, {}, "x", "info")) for _ in range(3)]
    assert [line["event"]["sequence"] for line in lines] == [1, 2, 3]


def test_rich_is_not_loaded_but_can_be_afterwards() -> None:
    code = "import sys, hyperion.log.chain; assert 'rich' not in sys.modules; import rich.table"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_rich_loaded_before_stays() -> None:
    code = "import sys, rich, hyperion.log.chain; assert sys.modules['rich'] is rich"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
