import itertools
import json
import os
import socket
from typing import Any

import pytest

from hyperion.events import CATALOGUE, SESSION_OPENED, WORKER_STARTED, LogEvent
from hyperion.log.ecs import CORE_FIELDS, MAX_LINE_BYTES, EcsRenderer, nest
from hyperion.log.field import Value

NOW = "2026-01-31T12:00:00.123Z"


def render(what: LogEvent, fields: dict[str, Value], level: str = "notice", worker: str | None = "3") -> dict[str, Any]:
    event = {
        "what": what,
        "fields": fields,
        "level": level,
        "event": what.message,
        "timestamp": NOW,
        "sequence": 9,
    }
    line = EcsRenderer("hyperion-server", "1.2", worker)(None, "msg", event)
    assert len(line) <= MAX_LINE_BYTES
    assert b"\n" not in line
    document: dict[str, Any] = json.loads(line)
    return document


def test_the_whole_shape() -> None:
    assert render(SESSION_OPENED, {"source.ip": "192.0.2.1", "source.port": 5, "user.name": "a"}) == {
        "@timestamp": NOW,
        "log.level": "notice",
        "message": "session opened",
        "ecs": {"version": "8.17.0"},
        "service": {"name": "hyperion-server", "version": "1.2", "node": {"name": "3"}},
        "event": {
            "outcome": "success",
            "kind": "event",
            "module": "hyperion",
            "code": "HYP2001I",
            "action": "session-opened",
            "category": ["authentication", "session"],
            "type": ["start"],
            "dataset": "hyperion.audit",
            "sequence": 9,
        },
        "log": {"logger": "hyperion", "syslog": {"severity": {"code": 5}}},
        "host": {"name": socket.gethostname()},
        "process": {"pid": os.getpid()},
        "source": {"ip": "192.0.2.1", "port": 5},
        "user": {"name": "a"},
        "related": {"ip": ["192.0.2.1"], "user": ["a"]},
        "observer": {"vendor": "hyperion", "type": "firewall"},
    }


def test_health_has_no_observer_and_a_supervisor_no_node() -> None:
    document = render(WORKER_STARTED, {"process.pid": 77}, worker=None)
    assert "observer" not in document
    assert "related" not in document
    assert document["service"] == {"name": "hyperion-server", "version": "1.2"}
    assert document["process"] == {"pid": 77}


@pytest.mark.parametrize(("level", "code"), [("critical", 2), ("debug", 7)])
def test_level(level: str, code: int) -> None:
    document = render(WORKER_STARTED, {}, level)
    assert document["log.level"] == level
    assert document["log"]["syslog"]["severity"]["code"] == code


def test_a_field_may_say_the_outcome_but_not_forge_the_core() -> None:
    forged: dict[str, Value] = {
        "event.outcome": "failure",
        "event.code": "X",
        "event.sequence": 0,
        "event.dataset.x": 1,
        "event": "X",
        "service.name": "X",
        "ecs": "X",
        "@timestamp": "X",
        "message": "X",
        "log.level": "X",
        "log": "X",
        "observer": "X",
    }
    document = render(SESSION_OPENED, forged)
    assert document["event"]["outcome"] == "failure"
    assert document["event"]["code"] == "HYP2001I"
    assert document["event"]["sequence"] == 9
    assert document["event"]["dataset"] == "hyperion.audit"
    assert document["service"]["name"] == "hyperion-server"
    assert (document["@timestamp"], document["message"], document["log.level"]) == (NOW, "session opened", "notice")
    assert document["observer"] == {"vendor": "hyperion", "type": "firewall"}
    assert "level" not in document["log"]


def test_a_name_that_is_value_and_object_comes_out_the_same_in_every_order() -> None:
    items: list[tuple[str, Value]] = [("a", 1), ("a.b", 2), ("a.b.c", 3), ("a.value", 4)]
    for order in itertools.permutations(items):
        tree: dict[str, Any] = {}
        nest(dict(order), tree)
        assert tree == {"a": {"value": 4, "b": {"value": 2, "c": 3}}}


def test_too_long_an_event_keeps_its_core() -> None:
    fields: dict[str, Value] = {f"hyperion.k{number}": "日" * 256 for number in range(60)}
    fields |= dict.fromkeys(CORE_FIELDS, "日" * 256)
    document = render(SESSION_OPENED, fields)
    assert document["hyperion"]["log"]["fields_omitted"] == 60
    assert document["source"]["ip"].startswith("日" * 48)
    assert document["event"]["sequence"] == 9


@pytest.mark.parametrize("event", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_every_event_with_its_usual_fields_fits_and_nests(event: LogEvent) -> None:
    document = render(event, dict.fromkeys(event.fields, "x"))
    for name in event.fields:
        node: Any = document
        for part in name.split("."):
            node = node[part]
        assert node == "x"
