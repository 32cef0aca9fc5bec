"""The rules of the house: where a tree of source breaks them.

Each rule is a function from a ``House`` to a list of one-line findings, so that ``tests/test_architecture.py`` can run
it both on this project and on small trees with seeded faults.
"""

import ast
import re
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.helpers.house import PACKAGE, House, Source, called

BASE_MODULES = frozenset(
    {
        "aside",
        "backoff",
        "capabilities",
        "channel",
        "colour",
        "config",
        "errors",
        "events",
        "firewall",
        "flood",
        "framing",
        "hosts",
        "log",
        "loop",
        "paths",
        "privileges",
        "rendezvous",
        "running",
        "service_user",
        "sock_diag",
        "socket_filter",
        "socket_path",
        "way_out",
    }
)

#: One way only: a module may import from its own layer and from those before it.
LAYERS = {
    "proto": 0,
    **dict.fromkeys(BASE_MODULES, 1),
    "knockd": 2,
    "tund": 2,
    "trial": 2,
    "worker": 2,
    "supervisor": 2,
    "cli": 3,
}

#: Processes of their own: they meet in proto and the base modules only.
SIBLINGS = frozenset({"knockd", "trial", "tund", "worker", "supervisor"})

#: What the sans-IO core may import from outside. No socket, clock, entropy, file or log: those come in as arguments.
PROTO_MAY_IMPORT = frozenset(
    {
        *(
            "abc",
            "base64",
            "binascii",
            "bisect",
            "collections",
            "contextlib",
            "dataclasses",
            "enum",
            "functools",
            "hashlib",
        ),
        *("heapq", "hmac", "ipaddress", "itertools", "math", "operator", "re", "struct", "typing", "types", "warnings"),
        *("argon2", "cryptography", "msgspec", "noise"),
    }
)

#: Calls that bring entropy, files or output into the core through the back door.
PROTO_MAY_NOT_CALL = frozenset({"__import__", "generate", "generate_key", "input", "open", "print", "urandom"})

#: Children with rights over the network: what they must never be able to run (by import closure).
PRIVILEGED = ("hyperion.knockd", "hyperion.trial", "hyperion.tund")
PRIVILEGED_NEVER_LOAD = ("hyperion.config", "hyperion.proto.noise", "hyperion.proto.yamux")

#: Imports inside a function are for what is slow to load and not always wanted (and uvloop, which may not exist).
LAZY_IMPORTS_IN = ("hyperion.cli", "hyperion.log", "hyperion.loop", "hyperion.paths", "hyperion.proto.keys")

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

#: Files without a test of their own, each with its reason. (An ``__init__`` that defines nothing needs none.)
WITHOUT_UNIT_TEST: dict[str, str] = {}

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b")


def order(house: House) -> list[str]:
    """Imports go one way: proto, base modules, knockd | tund | worker | supervisor (never each other), cli."""
    found = []
    for name, source in house.modules.items():
        if name == PACKAGE:
            found += [
                f"{name} imports {item.target}: it is loaded by all and imports nothing" for item in house.imports[name]
            ]
            continue
        if source.room not in LAYERS:
            found.append(f"{name}: has no layer; give it one in tests/helpers/architecture.py")
            continue
        for item in house.imports[name]:
            reason = _wrong_way(source.room, item.target)
            if reason:
                found.append(f"{name}:{item.line} imports {item.target}: {reason}")
    return found


def _wrong_way(room: str, target: str) -> str | None:
    parts = target.split(".")
    if parts[0] != PACKAGE or len(parts) == 1:
        return None
    other = parts[1]
    if other not in LAYERS:
        return f"{other} has no layer"
    if LAYERS[other] > LAYERS[room]:
        return f"{room} comes before {other}"
    if other != room and {room, other} <= SIBLINGS:
        return f"{room} and {other} never import each other"
    return None


def sans_io(house: House) -> list[str]:
    """The core imports and calls nothing that touches the world."""
    found = []
    for name, source in house.modules.items():
        if source.room != "proto":
            continue
        for item in house.imports[name]:
            top = item.target.split(".")[0]
            if top not in PROTO_MAY_IMPORT and not f"{item.target}.".startswith(f"{PACKAGE}.proto."):
                found.append(f"{name}:{item.line} imports {item.target}")
        calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
        bad_calls = [call for call in calls if called(call.func) in PROTO_MAY_NOT_CALL]
        found += [f"{name}:{call.lineno} calls {called(call.func)}()" for call in bad_calls]
    return found


def noise_and_yamux_apart(house: House) -> list[str]:
    """The two machines of the tunnel do not know each other."""
    pair = ("hyperion.proto.noise", "hyperion.proto.yamux")
    found = []
    for one, other in (pair, pair[::-1]):
        for name in house.modules:
            if _is_in(name, one):
                found += [f"{name} imports {edge}" for edge in house.edges[name] if _is_in(edge, other)]
    return found


def _is_in(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def cycles(house: House) -> list[str]:
    """Nobody imports, over any detour, what imports it."""
    try:
        TopologicalSorter(house.edges).prepare()
    except CycleError as error:
        ring = error.args[1][:-1]
        first = ring.index(min(ring))
        return [" -> ".join([*ring[first:], *ring[:first], ring[first]])]
    return []


def privileged_closure(house: House) -> list[str]:
    """The privileged processes load no configuration and no tunnel."""
    found = []
    for start in house.modules:
        if any(_is_in(start, place) for place in PRIVILEGED):
            loaded = sorted(house.closure(start))
            found += [f"{start} loads {name}" for name in loaded for bad in PRIVILEGED_NEVER_LOAD if _is_in(name, bad)]
    return found


def absolute_imports(house: House) -> list[str]:
    """``from . import x`` hides where x lives."""
    return [
        f"{name}:{node.lineno} relative import"
        for name, source in house.modules.items()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def imports_at_the_top(house: House) -> list[str]:
    """Imports inside functions only where start-up time is the reason."""
    return [
        f"{name}:{item.line} imports {item.target} inside a function"
        for name, items in house.imports.items()
        for item in items
        if item.in_function and not any(_is_in(name, place) for place in LAZY_IMPORTS_IN)
    ]


def sizes(house: House) -> list[str]:
    """A file is one concept, a function one thought."""
    found = []
    for path in _all_files(house.root):
        text = path.read_text(encoding="utf-8")
        place = path.relative_to(house.root)
        lines = len(text.splitlines())
        if lines > MAX_FILE_LINES:
            found.append(f"{place}: {lines} lines, more than {MAX_FILE_LINES}")
        for node in ast.walk(ast.parse(text, str(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    found.append(f"{place}:{node.lineno} {node.name}: {length} lines, more than {MAX_FUNCTION_LINES}")
    return found


def _all_files(root: Path) -> list[Path]:
    return [path for folder in (PACKAGE, "tests", "bench", "tools") for path in sorted((root / folder).rglob("*.py"))]


def unit_tests(house: House, without: dict[str, str] | None = None) -> list[str]:
    """Each file has its own tests, where one would look for them."""
    without = WITHOUT_UNIT_TEST if without is None else without
    found = [
        f"{name}: listed as without a unit test, but there is no such file"
        for name in without
        if name not in house.modules
    ]
    found += [
        f"{name}: listed as without a unit test, but no reason is given"
        for name, reason in without.items()
        if not reason
    ]
    for name, source in house.modules.items():
        if name in without or (source.is_package and _defines_nothing(source.tree)):
            continue
        place = _unit_test(house.root, source)
        if not place.exists():
            found.append(f"{name}: {place.relative_to(house.root)} is missing")
        elif not re.search(r"^\s*(async )?def test_", place.read_text(encoding="utf-8"), re.MULTILINE):
            found.append(f"{name}: {place.relative_to(house.root)} holds no test")
    return found


def _unit_test(root: Path, source: Source) -> Path:
    path = source.path.relative_to(root / PACKAGE)
    stem = path.parent.name or PACKAGE if source.is_package else path.stem
    return root / "tests" / "unit" / path.parent / f"test_{stem}.py"


def _defines_nothing(tree: ast.Module) -> bool:
    return not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in ast.walk(tree))


def finished(house: House) -> list[str]:
    """Nothing is put off in a comment."""
    return [
        f"{name}:{number} {line.strip()}"
        for name, source in house.modules.items()
        for number, line in enumerate(source.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]


Rule = Callable[[House], list[str]]

RULES: tuple[Rule, ...] = (
    order,
    sans_io,
    noise_and_yamux_apart,
    cycles,
    privileged_closure,
    absolute_imports,
    imports_at_the_top,
    sizes,
    unit_tests,
    finished,
)
