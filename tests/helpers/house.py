"""Source read with ``ast``: which modules there are and who imports whom. Imports nothing of what it reads.

Knows no rule: those are in ``tests.helpers.architecture``.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "hyperion"


@dataclass(frozen=True)
class Import:
    """One import: what is imported, where, and whether only when a function runs."""

    target: str
    line: int
    in_function: bool


class Source:
    """One parsed file."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text, str(path))

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str:
        """First part of the name below the package: ``worker`` of ``hyperion.worker.relay``."""
        return (self.name + "..").split(".")[1]


class House:
    """All source files below ``root``, and who imports whom."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = sorted((root / PACKAGE).rglob("*.py"))
        self.modules = {name: Source(path, name) for path in paths for name in [_module_name(root, path)]}

    @cached_property
    def imports(self) -> dict[str, list[Import]]:
        """Every import of each module: also those in functions, under TYPE_CHECKING and by constant name."""
        return {name: list(self._imports_of(source)) for name, source in self.modules.items()}

    @cached_property
    def edges(self) -> dict[str, set[str]]:
        """Imports between our own modules, as a graph."""
        return {
            name: {item.target for item in items if item.target in self.modules} - {name}
            for name, items in self.imports.items()
        }

    def closure(self, start: str) -> set[str]:
        """Everything of ours that importing ``start`` loads, packages on the way included."""
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.modules:
                continue
            seen.add(name)
            waiting += self.edges[name]
            waiting.append(name.rpartition(".")[0])
        return seen

    def _imports_of(self, source: Source) -> Iterator[Import]:
        functions = [node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(source.tree):
            for target in self._targets(node):
                yield Import(target, getattr(node, "lineno", 0), id(node) in inside)

    def _targets(self, node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    whole = f"{module}.{alias.name}"
                    yield whole if whole in self.modules else module
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if called(function) in {
                "import_module",
                "__import__",
            }:
                yield name


def _module_name(root: Path, path: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def called(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
