"""Whatever is put into an event, one well-formed, short, printable line comes out."""

import json
import os
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion import log
from hyperion.events import CATALOGUE, DIAGNOSTIC, SEVERITIES, LogEvent
from hyperion.flood import LINE_SECONDS, MAX_LINES, SUMMARY_SECONDS, RejectionMeter
from hyperion.log.chain import build
from hyperion.log.ecs import MAX_LINE_BYTES
from hyperion.log.fault import error_fields
from hyperion.log.field import clean_text, flatten

NASTY = st.sampled_from(
    ["\n", "\r\n", "\x00", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\ud800", '"', "\\", " a=b"]
)
TEXT = st.one_of(st.text(st.characters(codec=None, exclude_categories=())), st.lists(NASTY).map("".join))
SCALAR = st.one_of(TEXT, st.integers(), st.floats(), st.booleans(), st.none(), st.binary(), st.builds(object))
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12)
KEY = st.one_of(
    TEXT, st.sampled_from(["event.code", "event", "source.ip", "source", "log.level", "message", "", ".", "a..b"])
)
FIELDS = st.dictionaries(KEY, VALUE, max_size=12)
EVENT = st.sampled_from(list(CATALOGUE.values()))

JSON_LOGGER = build("hyperion-server", "0", form="json", terminal=False)
CONSOLE_LOGGER = build("hyperion-server", "0", form="console", terminal=False)


def check_printable(line: bytes) -> None:
    assert len(line) <= MAX_LINE_BYTES
    categories = {unicodedata.category(char) for char in line.decode()}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(EVENT, FIELDS, TEXT, st.sampled_from(list(SEVERITIES)))
def test_json(what: LogEvent, fields: dict[str, object], message: str, level: str) -> None:
    line = JSON_LOGGER.line(what, flatten(fields), clean_text(message), level)
    check_printable(line)
    document = json.loads(line)
    assert json.dumps(document).isprintable()
    assert all(char.isprintable() for char in _all_text(document))
    assert document["event"]["code"] == what.code
    assert document["log.level"] == level
    assert isinstance(document["service"], dict)


def _all_text(node: object) -> str:
    if isinstance(node, dict):
        return "".join(_all_text(key) + _all_text(value) for key, value in node.items())
    if isinstance(node, list):
        return "".join(map(_all_text, node))
    return str(node)


@given(EVENT, FIELDS, TEXT, st.sampled_from(list(SEVERITIES)))
def test_console(what: LogEvent, fields: dict[str, object], message: str, level: str) -> None:
    check_printable(CONSOLE_LOGGER.line(what, flatten(fields), clean_text(message), level))


@given(st.lists(st.one_of(TEXT, st.integers(), st.binary(min_size=3)), max_size=3))
def test_exceptions(arguments: list[object]) -> None:
    for kind in (ValueError, OSError, KeyError, BaseException):
        fields = error_fields(kind(*arguments))
        assert fields["error.type"]
        if any(isinstance(argument, bytes) for argument in arguments):
            assert "error.message" not in fields


@pytest.fixture(scope="module")
def null_log() -> Iterator[None]:
    fd = os.open(os.devnull, os.O_WRONLY)
    log.configure("hyperion-server", level="debug", fd=fd)
    yield
    log.close()
    os.close(fd)


@pytest.mark.usefixtures("null_log")
@given(FIELDS, st.none() | TEXT, st.none() | TEXT)
def test_event_never_raises(fields: dict[str, object], reason: str | None, message: str | None) -> None:
    log.event(DIAGNOSTIC, fields, reason=reason, message=message)


SOURCE = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str), st.sampled_from(["::1", "10.0.0.1", "x"])
)


@given(st.lists(st.tuples(SOURCE, st.sampled_from("abc"), st.floats(0, 2)), max_size=200))
def test_each_rejection_is_either_a_line_or_counted(steps: list[tuple[str, str, float]]) -> None:
    meter, now, admitted, counted = RejectionMeter(), 0.0, [], 0
    for source, reason, pause in steps:
        now += pause
        if meter.admit(source, reason, now):
            admitted.append(now)
        counted += sum(item.rejections for item in meter.summary(now))
    counted += sum(item.rejections for item in meter.summary(now + SUMMARY_SECONDS))
    assert len(admitted) + counted == len(steps)
    for start in admitted:
        assert sum(start <= at < start + LINE_SECONDS for at in admitted) <= MAX_LINES
