import re
from pathlib import Path

import pytest

from hyperion import events
from hyperion.events import CATALOGUE, SEVERITIES, LogEvent

ROOT = Path(__file__).parents[2]

#: The values ECS 8.17 expects of ``event.type`` for each ``event.category`` that we use.
EXPECTED_TYPES = {
    "authentication": {"start", "end", "info"},
    "configuration": {"access", "change", "creation", "deletion", "info"},
    "iam": {"admin", "change", "creation", "deletion", "group", "info", "user"},
    "network": {"access", "allowed", "connection", "denied", "end", "info", "protocol", "start"},
    "process": {"access", "change", "end", "info", "start"},
    "session": {"start", "end", "info"},
}
LETTERS = {"D": {"debug"}, "I": {"info", "notice"}, "N": {"notice"}, "W": {"warning"}, "E": {"error", "critical"}}

each_event = pytest.mark.parametrize("event", CATALOGUE.values(), ids=CATALOGUE.keys())


def test_every_constant_is_in_the_catalogue_and_no_code_is_used_twice() -> None:
    constants = [value for value in vars(events).values() if isinstance(value, LogEvent)]
    assert len(constants) == len(CATALOGUE) == len({event.message for event in constants})
    assert list(CATALOGUE.values()) == constants


@each_event
def test_the_code_says_family_and_loudness(event: LogEvent) -> None:
    match = re.fullmatch(r"HYP[0-59]\d{3}([DINWE])", event.code)
    assert match
    assert event.level in LETTERS[match[1]]
    assert event.level in SEVERITIES


@each_event
def test_category_and_type_are_pairs_that_ecs_expects(event: LogEvent) -> None:
    allowed = set().union(*(EXPECTED_TYPES[category] for category in event.category))
    # ECS has the type "error" for what could not be processed, and lists it beside no category.
    assert set(event.type) - {"error"} <= allowed
    assert event.type


@each_event
def test_texts_are_for_one_line_and_fields_are_flat_names(event: LogEvent) -> None:
    assert event.message == event.message.strip()
    assert event.message.isascii()
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+|diagnostic", event.action)
    assert len(set(event.fields)) == len(event.fields)
    assert all(re.fullmatch(r"[a-z]\w*(\.\w+)+", name) for name in event.fields)


def test_the_security_trail_is_knock_firewall_session_stream_operator_and_who_may_come_in() -> None:
    audit = {code for code, event in CATALOGUE.items() if event.dataset == events.AUDIT}
    trail = {code for code in CATALOGUE if re.match(r"HYP(1|200|300|5001|5003)", code)}
    assert audit == trail


@pytest.mark.parametrize("length", [2, 3])
def test_no_dotted_name_is_both_a_value_and_an_object(length: int) -> None:
    names = {name for event in CATALOGUE.values() for name in event.fields}
    assert not names & {".".join(name.split(".")[: length - 1]) for name in names if name.count(".") >= length - 1}


def _sources() -> dict[str, str]:
    """Each module of the package but the catalogue itself."""
    package = ROOT / "hyperion"
    names = {
        ".".join(("hyperion", *path.relative_to(package).with_suffix("").parts)): path for path in package.rglob("*.py")
    }
    return {name: path.read_text() for name, path in names.items() if name != "hyperion.events"}


SOURCES = _sources()


@pytest.mark.parametrize("name", [name for name, value in vars(events).items() if isinstance(value, LogEvent)])
def test_somebody_writes_it_with_the_fields_that_it_promises(name: str) -> None:
    """A field's name stands in the module that writes the event, in one that it imports, or in one that imports it."""
    event: LogEvent = getattr(events, name)
    writers = {module for module, text in SOURCES.items() if re.search(rf"\b{name}\b", text)}
    assert writers, "an alert on it would wait for ever"
    near = {
        module
        for module, text in SOURCES.items()
        for writer in writers
        if module == writer or _imports(text, writer) or _imports(SOURCES[writer], module)
    }
    said = "\n".join(SOURCES[module] for module in near)
    if "log.error_fields(" in said:
        said += SOURCES["hyperion.log.fault"]
    assert [field for field in event.fields if field != "event.reason" and f'"{field}"' not in said] == []


def _imports(text: str, module: str) -> bool:
    package, _, last = module.rpartition(".")
    return (
        re.search(rf"^from {re.escape(module)} import|^from {re.escape(package)} import .*\b{last}\b", text, re.M)
        is not None
    )


def test_the_docs_show_exactly_this_table() -> None:
    section = (ROOT / "docs/logs.md").read_text().partition("## Every event")[2].partition("##")[0]
    rows = [line for line in section.splitlines() if line.startswith("| HYP")]
    described = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    assert [cells[:8] for cells in described] == [_row(event) for event in CATALOGUE.values()]
    assert all(len(cells) == 9 and len(cells[8]) > 10 for cells in described)


def _row(event: LogEvent) -> list[str]:
    fields = ", ".join(f"`{name}`" for name in event.fields) or "-"
    dataset = event.dataset.removeprefix("hyperion.")
    category, kind = ", ".join(event.category), ", ".join(event.type)
    return [event.code, event.action, event.level, category, kind, event.outcome, dataset, fields]
