"""What the documents say is what the program is: links, limits, exit codes, events, keys, citations, tests, units.

``docs/logs.md`` has its own test beside the catalogue of events.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from msgspec import inspect

import hyperion
from hyperion import errors
from hyperion.cli.client import program as client_program
from hyperion.cli.server import program as server_program
from hyperion.config.schema import ClientFile, ServerFile
from hyperion.events import CATALOGUE
from hyperion.proto.handover import KNOCK_UNANSWERED
from hyperion.worker import egress

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "deploy" / "README.md"])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
WIRE = TEXTS["docs/wire.md"]
ARCHITECTURE = TEXTS["docs/architecture.md"]
THREATS = TEXTS["docs/threat-model.md"]
OPERATIONS = TEXTS["docs/operations.md"]
TROUBLE = TEXTS["docs/troubleshooting.md"]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))

#: Facts of a format or of a platform, and details of an algorithm: nothing that anybody could meet as a limit.
NO_LIMITS = {
    "backoff.MAX_DOUBLINGS",
    "config.complaint.MAX_SHOWN_INTEGER",
    "config.endpoint.MAX_PORT",
    "log.ecs.MAX_CORE_CHARS",
    "log.fault.MAX_FRAMES",
    "log.field.MAX_DEPTH",
    "log.field.MAX_FIELDS",
    "log.field.MAX_INTEGER",
    "log.field.MAX_ITEMS",
    "log.field.MAX_KEY_CHARS",
    "log.field.MAX_STACK_CHARS",
    "log.template.MAX_SHAPES",
    "log.writer.MAX_WRITE_BYTES",
    "capabilities.MAX_CAPABILITIES",
    "privileges.MAX_PROCESS_NAME_BYTES",
    "proto.yamux.frame.MAX_U32",
    "running.MAX_PID_BYTES",
}
#: Rooms whose limits the table holds. Those of the gate's processes join it with the gate.
NOT_IN_TABLE = ("hyperion.tund",)


# --- what a document is made of


def rows(text: str, *heading: str) -> Iterator[list[str]]:
    """The cells of the rows of each table whose header begins with ``heading``."""
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif not inside:
            inside = cells[: len(heading)] == list(heading)
        elif not set("".join(cells)) <= set("-: "):
            yield cells


def section(text: str, title: str) -> str:
    """From the heading ``title`` to the next heading of its level or above."""
    level = title.split(" ")[0]
    start = text.index(f"{title}\n")
    end = re.compile(rf"^#{{1,{len(level)}}} ", re.MULTILINE).search(text, start + len(title))
    return text[start : end.start() if end else len(text)]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub and GitLab make of headings."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if not target.startswith("https:")]


# --- links


@pytest.mark.parametrize("name", TEXTS)
def test_each_link_leads_somewhere(name: str) -> None:
    for target in links(TEXTS[name]):
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), target


def test_each_document_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), {ROOT / "README.md"}
    while todo:
        path = todo.pop()
        reached.add(path)
        found = {(path.parent / link.partition("#")[0]).resolve() for link in links(path.read_text(encoding="utf-8"))}
        todo |= {other for other in found if other.suffix == ".md"} - reached
    assert set(DOCUMENTS) <= reached


# --- limits


def value_of(dotted: str) -> object:
    """A constant, or the default of a field of a struct, by its name below ``hyperion``."""
    parts = ["hyperion", *dotted.split(".")]
    cut = next(length for length in range(len(parts), 0, -1) if is_module(parts[:length]))
    value: object = importlib.import_module(".".join(parts[:cut]))
    for part in parts[cut:]:
        value = getattr(value, part)
        value = value() if isinstance(value, type) else value
    return value


def is_module(parts: list[str]) -> bool:
    path = ROOT.joinpath(*parts)
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


LIMITS = {cells[4].strip("`"): cells[1] for cells in rows(section(ARCHITECTURE, "## 8. Limits"), "limit", "value")}


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_has_the_value_of_its_constant(name: str) -> None:
    assert float(LIMITS[name].replace(",", "")) == value_of(name)


def test_each_constant_that_is_a_limit_is_in_the_table() -> None:
    found: set[str] = set()
    for module in pkgutil.walk_packages(hyperion.__path__, "hyperion."):
        if module.name.startswith(NOT_IN_TABLE):
            continue
        source = Path(str(importlib.import_module(module.name).__file__)).read_text(encoding="utf-8")
        for name in re.findall(r"^((?:MAX|MIN)_[A-Z0-9_]+|[A-Z_]+_TIMEOUT)(?:: [^=]+)? = [^(\n]", source, re.MULTILINE):
            found.add(f"{module.name}.{name}".removeprefix("hyperion."))
    assert {"worker.gate.MAX_UNPROVEN", "worker.pool.OPEN_TIMEOUT"} <= found
    assert found - NO_LIMITS <= set(LIMITS), sorted(found - NO_LIMITS - set(LIMITS))


# --- errors and events

ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HyperionError)]


def test_exit_codes_are_those_of_the_program() -> None:
    told = {int(cells[0]) for cells in rows(OPERATIONS, "code", "meaning") if cells[0].isdecimal()}
    assert told == {kind.exit_code for kind in ERRORS} | {0, 1, 4, 130, 141}


def test_each_class_of_errors_is_explained() -> None:
    told = {cells[0].strip("`"): int(cells[1]) for cells in rows(TROUBLE, "class", "exit code") if "`" in cells[0]}
    assert told == {kind.__name__: kind.exit_code for kind in ERRORS if kind is not errors.HyperionError}


@pytest.mark.parametrize("name", TEXTS)
def test_each_event_that_is_named_exists(name: str) -> None:
    assert set(re.findall(r"HYP\d{4}[A-Z]", TEXTS[name])) <= set(CATALOGUE)


def reasons(*files: str) -> set[str]:
    """Words that these files give as the reason of a failure."""
    found = set()
    for file in files:
        source = (ROOT / "hyperion" / file).read_text(encoding="utf-8")
        found |= set(re.findall(r"\breason ?= ?(?:[^=\n]*\bif\b[^=\n]*else )?\"([a-z-]+)\"", source))
        found |= set(
            re.findall(r"\b(?:message, reason = .*, |tunnel\.refuse\(|meter\.admit\(.*, )\"([a-z-]+)\"", source)
        )
    return found


def told_reasons(title: str) -> set[str]:
    cells = [row[0] for row in rows(section(TROUBLE, title), "reason")]
    return {word for cell in cells for word in re.findall(r"`([a-z-]+)`", cell)}


def test_each_reason_of_a_failed_attempt_is_explained() -> None:
    given = reasons("worker/failure.py", "worker/probe.py", "proto/noise/handshake.py") - {"handshake-failed", "stop"}
    given.add(KNOCK_UNANSWERED)
    assert {"connect-timeout", "no-round-trip", "bad-server-key", "handshake-refused"} <= given
    # "malformed" is one of those that the client shows as handshake-refused.
    assert given - {"malformed"} <= told_reasons("## A server cannot be reached")


def test_each_reason_of_a_refused_session_is_explained() -> None:
    given = reasons("worker/arrival.py", "proto/tunnel.py", "proto/extensions.py", "proto/noise/handshake.py")
    given |= {egress.UNKNOWN, egress.EXPIRED}
    assert {"no-proof", "limit", "replay", "unknown-static-key", "revoked"} <= given
    # A server never judges a server's key.
    assert given - {"bad-server-key"} <= told_reasons("## The server refuses a client")


# --- configuration and command line


def schema_keys(schema: type[msgspec.Struct]) -> dict[str, object]:
    """Each key of a file as the table writes it, with its default."""
    keys: dict[str, object] = {}
    for field in inspect.type_info(schema).fields:  # type: ignore[attr-defined]
        kind = field.type
        if isinstance(kind, inspect.UnionType):
            kind = next(choice for choice in kind.types if not isinstance(choice, inspect.NoneType))
        if isinstance(kind, inspect.ListType):
            kind = kind.item_type
        if isinstance(kind, inspect.StructType):
            keys |= {f"{field.encode_name}.{name}": default for name, default in schema_keys(kind.cls).items()}
        else:
            keys[field.encode_name] = [] if field.default_factory is list else field.default
    return keys


@pytest.mark.parametrize(
    ("title", "schema"),
    [("## Configuration of the server", ServerFile), ("## Configuration of the client", ClientFile)],
)
def test_the_keys_of_the_configuration(title: str, schema: type[msgspec.Struct]) -> None:
    keys = schema_keys(schema)
    told = {cells[0].strip("`"): cells[2] for cells in rows(section(OPERATIONS, title), "key", "type", "default")}
    assert told.keys() == keys.keys()
    for key, default in keys.items():
        if default is msgspec.NODEFAULT:
            assert told[key].startswith("required"), key
        elif default is not None:
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert told[key] == f"`{shown}`", key


def options(program: click.Command, command: str) -> set[str]:
    assert isinstance(program, click.Group)
    shown = [item for item in program.commands[command].params if not (isinstance(item, click.Option) and item.hidden)]
    return {name for parameter in shown for name in parameter.opts if name.startswith("-")}


@pytest.mark.parametrize("command", ["up", "status"])
def test_each_option_of_a_command_of_both_programs_is_explained(command: str) -> None:
    told = {
        name
        for cells in rows(OPERATIONS, f"option of `{command}`")
        for name in re.findall(r"(?<![\w-])--?[A-Za-z-]+", cells[0])
    }
    assert told | {"--debug"} == options(server_program, command) | options(client_program, command)


def test_each_option_of_run_is_explained() -> None:
    told = {
        name
        for cells in rows(OPERATIONS, "option of `run`")
        for name in re.findall(r"(?<![\w-])--?[A-Za-z-]+", cells[0])
    }
    assert told | {"--debug"} == options(server_program, "run") | options(client_program, "run")


@pytest.mark.parametrize("command", ["print-firewall", "apply-firewall", "remove-firewall"])
def test_each_option_of_a_command_of_the_server_is_explained(command: str) -> None:
    cells = [cells[0] for cells in rows(OPERATIONS, f"option of `{command}`")]
    told = {name for cell in cells for name in re.findall(r"(?<![\w-])--?[A-Za-z0-9-]+", cell)}
    given = {name for parameter in server_program.commands[command].params for name in parameter.secondary_opts}
    assert told | {"--debug"} == options(server_program, command) | given


# --- citations


def sources() -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / "hyperion").rglob("*.py")):
        # Comments wrap: the citation may go on behind the next "#".
        yield path, re.sub(r"\s*\n\s*(?:#:? ?)?", " ", path.read_text(encoding="utf-8"))


def cited(pattern: str) -> set[str]:
    """The numbers in every citation ``pattern 1.2, 3 and 4`` or ``pattern 5 to 8``."""
    numbers: set[str] = set()
    for _, text in sources():
        for found in re.findall(rf"{pattern} ((?:\d+(?:\.\d+)?(?:, and |, | and | to )?)+)", text):
            numbers |= set(re.findall(r"\d+(?:\.\d+)?", found))
            for first, last in re.findall(r"(\d+) to (\d+)", found):
                numbers |= {str(number) for number in range(int(first), int(last) + 1)}
    return numbers


def headings(text: str) -> set[str]:
    return set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", text, re.MULTILINE))


def test_each_section_that_the_source_cites_exists() -> None:
    assert {"4.5", "6", "8.3", "17", "19"} <= cited("WIRE sections?")
    assert cited("WIRE sections?") <= headings(WIRE)
    assert {"2", "4", "8"} <= cited("DESIGN sections?")
    assert cited("DESIGN sections?") <= headings(ARCHITECTURE)


def test_each_numbered_note_that_the_source_cites_exists() -> None:
    text = " ".join(text for _, text in sources())
    quirks = set(re.findall(r"\bQ\d{1,2}\b", text))
    notes = set(re.findall(r"(?:security notes,? |\()(B\d{1,2})\b", text))
    assert {"Q6", "Q8", "Q22"} <= quirks
    assert {"B32", "B33", "B39", "B40"} <= notes
    assert quirks <= {cells[0] for cells in rows(section(WIRE, headline(WIRE, "17")), "no.")}
    assert notes <= {cells[0] for cells in rows(section(THREATS, "## Security notes"), "no.")}


def headline(text: str, number: str) -> str:
    found = re.search(rf"^## {number}\. .*$", text, re.MULTILINE)
    assert found is not None
    return found[0]


def test_each_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", THREATS))
    assert len(named) > 20
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    assert named <= {name for text in files for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)}
    for path in re.findall(r"`(tests/[\w./]+)`", THREATS):
        assert (ROOT / path).exists(), path


def test_the_vectors_are_the_golden_ones() -> None:
    golden = (ROOT / "tests" / "vectors" / "golden.json").read_text(encoding="utf-8")
    values = set(re.findall(r'"((?:[0-9a-f]{2})+)"', golden))
    told = {cells[1] for cells in rows(section(WIRE, headline(WIRE, "16")), "what")}
    assert len(told) == 24
    assert told <= values


# --- units


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_what_there_is(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    command = re.search(r"^ExecStart=\S+/(hyperion-\w+) (\w+) (.*)$", text, re.MULTILINE)
    assert command is not None
    assert command[1] == unit.stem
    program = server_program if unit.stem == "hyperion-server" else client_program
    assert set(re.findall(r"--[a-z-]+", command[3])) <= options(program, command[2])
    final = re.search(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)
    assert final is not None
    assert {int(code) for code in final[1].split()} == {
        kind.exit_code
        for kind in (
            errors.UsageError,
            errors.BadKeyError,
            errors.ConfigMissingError,
            errors.RefusedError,
            errors.ConfigError,
        )
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_lets_a_drain_finish(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    drain = re.search(r"--drain-timeout (\d+)", text)
    assert stop is not None
    assert drain is not None
    assert int(stop[1]) > int(drain[1]) + float(str(value_of("supervisor.spec.Timing.grace")))
