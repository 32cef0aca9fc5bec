"""The house keeps its shape: the rules of ``tests.helpers.architecture`` on this project, and on seeded faults.

A rule that finds nothing anywhere would look the same as a house in order, so each rule is first shown a small tree in
order (no finding) and then that tree with one fault (exactly that finding).
"""

from pathlib import Path

import pytest

from tests.helpers import architecture
from tests.helpers.house import House

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


@pytest.mark.parametrize("rule", architecture.RULES, ids=lambda rule: rule.__name__)
def test_this_project_keeps(rule: architecture.Rule, house: House) -> None:
    assert house.modules
    assert rule(house) == []


#: A house in order: one module of each layer, with imports that are allowed.
SOUND = {
    "hyperion/__init__.py": '__version__ = "1"\n',
    "hyperion/proto/__init__.py": "",
    "hyperion/proto/errors.py": "class ProtocolError(Exception): ...\n",
    "hyperion/proto/knock.py": "import struct\nfrom hyperion.proto.errors import ProtocolError\n",
    "hyperion/proto/noise/record.py": "from hyperion.proto import errors\n",
    "hyperion/proto/yamux/frame.py": "from hyperion.proto import errors\n",
    "hyperion/config.py": "import os\nimport hyperion.proto.knock\n",
    "hyperion/errors.py": "",
    "hyperion/knockd/guard.py": "from hyperion.errors import HyperionError\nfrom hyperion.proto.knock import Knock\n",
    "hyperion/worker/relay.py": "import asyncio\nfrom hyperion.proto.noise.record import Record\n",
    "hyperion/supervisor/child.py": "from hyperion import config\n",
    "hyperion/cli/server.py": (
        "def main():\n    from hyperion.supervisor import child  # slow\n    from hyperion.worker import relay\n"
    ),
}


def build(root: Path, files: dict[str, str]) -> House:
    """A house of these files, each with a unit test unless one is given."""
    everything = SOUND | files
    for name in [*everything]:
        module = Path(name)
        if module.parts[0] == "hyperion" and module.name != "__init__.py":
            test = Path("tests", "unit", *module.parts[1:-1], f"test_{module.name}")
            everything.setdefault(str(test), "def test_it(): ...\n")
    for name, text in everything.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return House(root)


def findings(house: House) -> list[str]:
    """Of all rules; the list of exceptions is this project's, so a made-up house goes without."""
    rules = [rule for rule in architecture.RULES if rule is not architecture.unit_tests]
    return [finding for rule in rules for finding in rule(house)] + architecture.unit_tests(house, {})


def test_a_house_in_order_gives_no_finding(tmp_path: Path) -> None:
    assert findings(build(tmp_path, {})) == []


LONG_FILE = "x = 1\n" * 401
LONG_FUNCTION = "def long():\n" + "    x = 1\n" * 60

FAULTS = {
    "io in proto": (
        {"hyperion/proto/knock.py": "import asyncio\n"},
        ["hyperion.proto.knock:1 imports asyncio"],
    ),
    "part of an io module in proto": (
        {"hyperion/proto/knock.py": "from os.path import join\n"},
        ["hyperion.proto.knock:1 imports os.path"],
    ),
    "entropy by the back door": (
        {"hyperion/proto/knock.py": "from cryptography import x\n\nkey = x.X25519PrivateKey.generate()\n"},
        ["hyperion.proto.knock:3 calls generate()"],
    ),
    "proto imports a base module": (
        {"hyperion/proto/knock.py": "from hyperion import errors\n"},
        [
            "hyperion.proto.knock:1 imports hyperion.errors: proto comes before errors",
            "hyperion.proto.knock:1 imports hyperion.errors",
        ],
    ),
    "a base module imports a process": (
        {"hyperion/backoff.py": "import hyperion.worker.relay\n"},
        ["hyperion.backoff:1 imports hyperion.worker.relay: backoff comes before worker"],
    ),
    "siblings": (
        {"hyperion/worker/relay.py": "from hyperion.supervisor.child import Child\n"},
        ["hyperion.worker.relay:1 imports hyperion.supervisor.child: worker and supervisor never import each other"],
    ),
    "a sibling by its name": (
        {"hyperion/worker/relay.py": 'import importlib\n\nimportlib.import_module("hyperion.supervisor.child")\n'},
        ["hyperion.worker.relay:3 imports hyperion.supervisor.child: worker and supervisor never import each other"],
    ),
    "the package imports": (
        {"hyperion/__init__.py": "import os\n"},
        ["hyperion imports os: it is loaded by all and imports nothing"],
    ),
    "a module without a place": (
        {"hyperion/utils.py": ""},
        ["hyperion.utils: has no layer; give it one in tests/helpers/architecture.py"],
    ),
    "noise knows yamux": (
        {"hyperion/proto/noise/record.py": "from hyperion.proto.yamux.frame import Frame\n"},
        ["hyperion.proto.noise.record imports hyperion.proto.yamux.frame"],
    ),
    "a cycle through TYPE_CHECKING": (
        {
            "hyperion/worker/relay.py": (
                "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import hyperion.worker.pool\n"
            ),
            "hyperion/worker/pool.py": "from hyperion.worker import relay\n",
        },
        ["hyperion.worker.pool -> hyperion.worker.relay -> hyperion.worker.pool"],
    ),
    "a cycle through a function": (
        {
            "hyperion/cli/server.py": "def main():\n    import hyperion.cli.output\n",
            "hyperion/cli/output.py": "import hyperion.cli.server\n",
        },
        ["hyperion.cli.output -> hyperion.cli.server -> hyperion.cli.output"],
    ),
    "knockd loads the configuration over a detour": (
        {"hyperion/log.py": "import hyperion.config\n", "hyperion/knockd/guard.py": "import hyperion.log\n"},
        ["hyperion.knockd.guard loads hyperion.config"],
    ),
    "a relative import": (
        {"hyperion/worker/relay.py": "from . import pool\n"},
        ["hyperion.worker.relay:1 relative import"],
    ),
    "an import inside a function": (
        {"hyperion/worker/relay.py": "def run():\n    import asyncio\n"},
        ["hyperion.worker.relay:2 imports asyncio inside a function"],
    ),
    "a long file": (
        {"hyperion/worker/relay.py": LONG_FILE},
        ["hyperion/worker/relay.py: 401 lines, more than 400"],
    ),
    "a long file of tests": (
        {"tests/e2e/test_all.py": LONG_FILE},
        ["tests/e2e/test_all.py: 401 lines, more than 400"],
    ),
    "a long function": (
        {"bench/bulk.py": LONG_FUNCTION},
        ["bench/bulk.py:1 long: 61 lines, more than 60"],
    ),
    "a file of tests without a test": (
        {"tests/unit/worker/test_relay.py": "import asyncio\n"},
        ["hyperion.worker.relay: tests/unit/worker/test_relay.py holds no test"],
    ),
    "a package that defines something": (
        {"hyperion/worker/__init__.py": "def run(): ...\n"},
        ["hyperion.worker: tests/unit/worker/test_worker.py is missing"],
    ),
    "put off": (
        {"hyperion/worker/relay.py": "def run() -> None:\n    raise NotImplementedError\n"},
        ["hyperion.worker.relay:2 raise NotImplementedError"],
    ),
    "unfinished": (
        {"hyperion/worker/relay.py": "x = 1  # TO" + "DO later\n"},
        ["hyperion.worker.relay:1 x = 1  # TO" + "DO later"],
    ),
}


@pytest.mark.parametrize(("files", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_a_seeded_fault_is_found(tmp_path: Path, files: dict[str, str], expected: list[str]) -> None:
    assert findings(build(tmp_path, files)) == expected


def test_a_file_without_its_test_is_found(tmp_path: Path) -> None:
    house = build(tmp_path, {})
    (tmp_path / "tests/unit/worker/test_relay.py").unlink()
    assert architecture.unit_tests(house, {}) == ["hyperion.worker.relay: tests/unit/worker/test_relay.py is missing"]
    assert architecture.unit_tests(house, {"hyperion.worker.relay": "only a table"}) == []


def test_an_exception_needs_its_file_and_a_reason(tmp_path: Path) -> None:
    house = build(tmp_path, {})
    listed = {"hyperion.worker.relay": "", "hyperion.worker.gone": "it was only a table"}
    assert architecture.unit_tests(house, listed) == [
        "hyperion.worker.gone: listed as without a unit test, but there is no such file",
        "hyperion.worker.relay: listed as without a unit test, but no reason is given",
    ]
