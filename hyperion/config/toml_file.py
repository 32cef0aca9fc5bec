"""From a file's bytes to its schema, and from whatever is wrong with them to one line.

Knows TOML and how a struct describes itself. Does not know what any key is for.
"""

import difflib
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import inspect

from hyperion.config.complaint import KeyPath, quoted, shown, spell, wrong
from hyperion.config.owners import who_reads
from hyperion.errors import ConfigError, ConfigMissingError, reason_of

#: Longest configuration file, bytes. A thousand servers need a fifth of it; more is a wrong file name.
MAX_FILE_BYTES = 1024 * 1024

#: Names of what the caller has opened for us, as a shell's ``<(...)`` is called: a pipe there is meant.
_HANDED_OVER = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # not on Windows

_TOML_PLACE = re.compile(r"(?P<what>.*) \(at line (?P<line>[0-9]+), column (?P<column>[0-9]+)\)\Z", re.DOTALL)
_AT = re.compile(r" - at `\$(?P<path>[^`]*)`\Z")
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<index>[0-9]+)\]")

SchemaT = TypeVar("SchemaT", bound=msgspec.Struct)


def read(path: Path, schema: type[SchemaT]) -> SchemaT:
    """The file as ``schema``. Raises ``ConfigMissingError`` if there is none, ``ConfigError`` for all else."""
    return parse(path, _read_bytes(path), schema)


def parse(path: Path, content: bytes, schema: type[SchemaT]) -> SchemaT:
    """What a file at ``path`` with this content says. Raises ``ConfigError``."""
    table = _parse(path, _decode(path, content))
    try:
        return msgspec.convert(table, schema)
    except msgspec.ValidationError as error:
        # msgspec says where, and we look ourselves: its words are not for people, and repeat unknown keys raw.
        at = _AT.search(str(error))
        raise _explain(path, table, inspect.type_info(schema), at["path"] if at else "") from None


def _read_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                if not str(path).startswith(_HANDED_OVER):
                    raise ConfigError(f"{path}: expected a regular file")
                os.set_blocking(file.fileno(), True)
            content = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigMissingError(
            f"no configuration file {path}", hint="init makes one, --config FILE names another"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {reason_of(error)}", hint=who_reads(error)) from None
    return content


def _at_once(name: str, flags: int) -> int:
    """A named pipe would hold us up until somebody writes to it."""
    return os.open(name, flags | _NONBLOCK)


def _decode(path: Path, content: bytes) -> str:
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: expected at most {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise ConfigError(f"{path}: line {line}, column {column}: expected UTF-8 text") from None


def _parse(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.match(str(error))
        if place is None:
            raise ConfigError(f"{path}: at the end of the file: expected valid TOML: {_lower(str(error))}") from None
        where = f"line {place['line']}, column {place['column']}"
        raise ConfigError(f"{path}: {where}: expected valid TOML: {_lower(place['what'])}") from None
    except (ValueError, RecursionError):
        # A number of thousands of digits; lists within lists within lists.
        raise ConfigError(f"{path}: expected valid TOML of reasonable size") from None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _explain(path: Path, table: object, kind: inspect.Type, at: str) -> ConfigError:
    key, value, kind = _walk(table, kind, at)
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        known = [field.encode_name for field in kind.fields]
        unknown = next((name for name in value if name not in known), None)
        if unknown is not None:
            return _unknown_key(path, key, unknown, known)
        missing = next((field for field in kind.fields if field.required and field.encode_name not in value), None)
        if missing is not None:
            name = f" [{missing.encode_name}]" if isinstance(missing.type, inspect.StructType) else ""
            return wrong(path, (*key, missing.encode_name), describe(missing.type) + name, "nothing")
    return wrong(path, key, describe(kind), shown(value, key))


def _walk(value: object, kind: inspect.Type, at: str) -> tuple[KeyPath, object, inspect.Type]:
    """Follows msgspec's path through the file and through its schema, as far as both go.

    An unknown key may be named so that it looks like a path, and lead anywhere.
    """
    key: KeyPath = ()
    kind = _bare(kind)
    for step in _STEP.finditer(at):
        if isinstance(kind, inspect.StructType) and isinstance(value, dict) and step["name"] in value:
            found = next((field.type for field in kind.fields if field.encode_name == step["name"]), None)
            if found is None:
                break
            key, value, kind = (*key, step["name"]), value[step["name"]], _bare(found)
        elif isinstance(kind, inspect.ListType) and isinstance(value, list) and step["index"] is not None:
            index = int(step["index"])
            if index >= len(value):
                break
            key, value, kind = (*key, index), value[index], _bare(kind.item_type)
        else:
            break
    return key, value, kind


def _bare(kind: inspect.Type) -> inspect.Type:
    """Without "or absent": TOML has no null."""
    if isinstance(kind, inspect.UnionType):
        return next(choice for choice in kind.types if not isinstance(choice, inspect.NoneType))
    return kind


def describe(kind: inspect.Type) -> str:
    """What the schema expects, in words. Numbers have a range, and so words of their own in the schema."""
    match _bare(kind):
        case inspect.Metadata(extra_json_schema=dict() as schema) if "description" in schema:
            return str(schema["description"])
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(f'"{value}"' for value in values)
        case inspect.StructType():
            return "a section"
        case inspect.ListType(item_type=inspect.StructType()):
            return "a list of sections"
        case inspect.ListType():
            return "a list"
        case inspect.BoolType():
            return "true or false"
        case _:
            return "a text"


def _unknown_key(path: Path, key: KeyPath, unknown: str, known: list[str]) -> ConfigError:
    where = f"{spell((*key, ''))}".strip()
    place = f"{path}: {where}" if where else f"{path}"
    close = difflib.get_close_matches(unknown, known, n=1)
    hint = f"did you mean {close[0]}?" if close else None
    return ConfigError(f"{place}: expected one of the keys {', '.join(known)}, got {quoted(unknown)}", hint=hint)
