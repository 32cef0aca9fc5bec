"""Renders an event as one line of JSON in the Elastic Common Schema: nested, with a dotted ``log.level`` on top.

Knows the schema and the shape of a structlog processor. Knows nothing of where lines go; cleans no values
(``log.field``).
"""

import os
import socket
from collections.abc import Mapping, MutableMapping
from functools import lru_cache, partial
from typing import Any, Final

import msgspec

from hyperion.events import AUDIT, SEVERITIES, LogEvent
from hyperion.log.field import MAX_INTEGER, Value, clean_text
from hyperion.log.template import Template, Templates

#: The version of the schema whose allowed values ``hyperion.events`` uses.
ECS_VERSION: Final = "8.17.0"
#: Longest line, bytes: PIPE_BUF on Linux less the journal's prefix and the line end. Several processes share one
#: stderr, and a pipe keeps only writes up to that size whole.
MAX_LINE_BYTES: Final = 4_096 - 8
#: What is kept of an event too long for a line: who, where, why.
CORE_FIELDS: Final = ("event.reason", "source.ip", "hyperion.session.id", "hyperion.worker.id", "error.type")
#: How much of each of those, characters: the longest IPv6 address fits, and all of them fit into a line.
MAX_CORE_CHARS: Final = 48

Tree = dict[str, Any]


class EcsRenderer:
    """Last processor of the chain: takes the event dictionary, gives one line of UTF-8 without its line end."""

    def __init__(self, service: str, version: str, worker: str | None) -> None:
        self._service: Tree = {"name": clean_text(service), "version": version}
        if worker is not None:
            self._service["node"] = {"name": clean_text(worker, MAX_CORE_CHARS)}
        self._host = clean_text(socket.gethostname())
        self._pid = os.getpid()
        self._encode = msgspec.json.Encoder().encode
        self._templates = Templates()

    def __call__(self, _logger: object, _method: str, event_dict: MutableMapping[str, Any]) -> bytes:
        flat: Mapping[str, Value] = event_dict["fields"]
        what: LogEvent = event_dict["what"]
        level: str = event_dict["level"]
        message: str = event_dict["event"]
        timestamp, sequence = event_dict["timestamp"], event_dict["sequence"]
        build = partial(self._document, what, level, message)
        if list in map(type, flat.values()):
            line = self._encode(build(timestamp, sequence, flat))
        else:
            line = self._templates.render((what.code, level, message, *flat), timestamp, sequence, flat, build)
        if len(line) > MAX_LINE_BYTES:
            line = self._encode(build(timestamp, sequence, _core(flat)))
        return line

    def template(
        self, what: LogEvent, level: str, message: str, fixed: Mapping[str, Value], names: tuple[str, ...]
    ) -> Template | None:
        """For events that differ only in ``names``, whole numbers of 64 bits; None if a line might be too long."""
        made = Template(names, partial(self._document, what, level, message), fixed)
        longest = made.fill("2026-01-31T12:00:00.123Z", MAX_INTEGER, [-MAX_INTEGER] * len(names))
        return made if len(longest) <= MAX_LINE_BYTES else None

    def _document(
        self, what: LogEvent, level: str, message: str, timestamp: str, sequence: int, flat: Mapping[str, Value]
    ) -> Tree:
        head = {
            "@timestamp": timestamp,
            "log.level": level,
            "message": message,
            "ecs": {"version": ECS_VERSION},
            "service": self._service,
        }
        tree: Tree = {
            "event": {"outcome": what.outcome},
            "log": {"logger": "hyperion"},
            "host": {"name": self._host},
            "process": {"pid": self._pid},
        }
        nest(flat, tree)
        _describe(what, sequence, tree)
        tree["log"]["syslog"] = {"severity": {"code": SEVERITIES[level]}}
        tree["log"].pop("level", None)  # it stands in the head, and twice would be a conflict in the index
        _relate(flat, tree)
        # The head stands first for people and wins over a field of the same name for machines.
        return {**head, **tree, **head}


def nest(flat: Mapping[str, Value], tree: Tree) -> None:
    """Lay dotted keys into ``tree``. ``a`` beside ``a.b`` becomes ``a.value``, whichever came first."""
    for key, value in flat.items():
        parents, leaf = _path(key)
        node = tree
        for name in parents:
            child = node.get(name)
            if type(child) is not dict:
                child = node[name] = {} if name not in node else {"value": child}
            node = child
        if type(node.get(leaf)) is dict:
            node[leaf].setdefault("value", value)
        else:
            node[leaf] = value


@lru_cache(maxsize=512)  # as in log.field
def _path(key: str) -> tuple[tuple[str, ...], str]:
    *parents, leaf = key.split(".")
    return tuple(parents), leaf


def _describe(what: LogEvent, sequence: int, tree: Tree) -> None:
    """What readers rely on: no field of a caller may change it."""
    tree["event"].update(
        kind="event",
        module="hyperion",
        code=what.code,
        action=what.action,
        category=what.category,
        type=what.type,
        dataset=what.dataset,
        sequence=sequence,
    )
    if what.dataset == AUDIT:
        tree["observer"] = {"vendor": "hyperion", "type": "firewall"}


def _relate(flat: Mapping[str, Value], tree: Tree) -> None:
    """``related.*``: all addresses and users of the line in one place, for searches that do not know the field."""
    addresses = [flat[key] for key in ("source.ip", "destination.ip") if key in flat]
    users = [flat[key] for key in ("user.id", "user.name") if key in flat]
    if addresses or users:
        tree["related"] = {"ip": addresses, "user": users}


def _core(flat: Mapping[str, Value]) -> dict[str, Value]:
    kept: dict[str, Value] = {}
    for key in CORE_FIELDS:
        value = flat.get(key)
        if isinstance(value, str):
            kept[key] = clean_text(value, MAX_CORE_CHARS)
    kept["hyperion.log.fields_omitted"] = len(flat) - len(kept)
    return kept
