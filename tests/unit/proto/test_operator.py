"""``proto.operator``: closed unions of requests and answers; documents that older and newer programs can read."""

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hyperion.proto import operator
from hyperion.proto.control import Message, Ready
from hyperion.proto.operator import (
    MAX_ANSWER_BYTES,
    SCHEMA,
    Answer,
    ClientAnswer,
    ClientStatus,
    Document,
    Done,
    Refused,
    ReloadRequest,
    Request,
    ServerAnswer,
    ServerStatus,
    StatusRequest,
    StopRequest,
    TunnelLine,
)

REQUESTS: list[Message] = [StatusRequest(), ReloadRequest(), StopRequest(now=True)]
ANSWERS: list[Message] = [
    ServerAnswer(ServerStatus()),
    ClientAnswer(ClientStatus()),
    Done(30.0, ("web1",)),
    Refused("no", "ask", 77),
]
FROZEN = Path(__file__).parents[2] / "vectors" / "hyperion.status.1.json"


@pytest.mark.parametrize("message", REQUESTS, ids=lambda message: type(message).__name__)
def test_requests(message: Message) -> None:
    wire = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.decode(wire, type=Request) == message
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(wire, type=Answer)


@pytest.mark.parametrize("message", ANSWERS, ids=lambda message: type(message).__name__)
def test_answers(message: Message) -> None:
    wire = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.decode(wire, type=Answer) == message
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(wire, type=Request)


def test_every_message_is_in_one_union() -> None:
    defined = {kind for kind in vars(operator).values() if isinstance(kind, type) and issubclass(kind, Message)}
    assert defined - {Message} == {*Request.__args__, *Answer.__args__}


@pytest.mark.parametrize("wire", [{"t": "nonsense"}, {"t": "stop-request", "more": 1}, {}, [], Ready(1)])
def test_other_requests_are_refused(wire: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(wire), type=Request)


def test_a_document_of_another_version_can_be_read() -> None:
    newer = msgspec.to_builtins(ServerStatus(pid=7)) | {"invented_later": [1, 2]}
    assert msgspec.convert(newer, ServerStatus) == ServerStatus(pid=7)
    older = {"schema": SCHEMA, "program": "hyperion-server", "pid": 7}
    assert msgspec.convert(older, ServerStatus) == ServerStatus(pid=7)


def test_the_status_of_two_hundred_servers_fits_twice_over() -> None:
    line = TunnelLine(
        name="n" * 64,
        address="a" * 200,
        state="down",
        reason="connect-timeout",
        message="m" * 300,
        hint="h" * 300,
        ports=list(range(60_000, 60_256)),
        agent="a" * 64,
        server_name="s" * 64,
    )
    answer = ClientAnswer(ClientStatus(servers=[line] * 400))
    assert len(msgspec.msgpack.encode(answer)) < MAX_ANSWER_BYTES


# --- the promise to scripts


def test_what_scripts_were_promised_is_kept() -> None:
    """A field may come. None may go, change its name, or say something of another type."""
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    assert lost(frozen["$defs"], current()["$defs"]) == []


def test_the_promise_is_up_to_date() -> None:
    """After a field was added: ``python -m tests.unit.proto.test_operator`` writes the schema anew."""
    assert json.loads(FROZEN.read_text(encoding="utf-8")) == current()


def test_a_broken_promise_is_found() -> None:
    before: dict[str, Any] = {"Line": {"properties": {"name": {"type": "string"}, "up": {"type": "integer"}}}}
    assert lost(before, before) == []
    more = {"Line": {"properties": {**before["Line"]["properties"], "new": {"type": "string"}}}, "Other": {}}
    assert lost(before, more) == []
    renamed = {"Line": {"properties": {"title": {"type": "string"}, "up": {"type": "integer"}}}}
    assert lost(before, renamed) == ["Line.name"]
    retyped = {"Line": {"properties": {"name": {"type": "string"}, "up": {"type": "string"}}}}
    assert lost(before, retyped) == ["Line.up"]
    assert lost(before, {}) == ["Line"]


def current() -> dict[str, Any]:
    kinds = [kind for kind in vars(operator).values() if isinstance(kind, type) and issubclass(kind, Document)]
    _, parts = msgspec.json.schema_components([kind for kind in kinds if kind is not Document])
    for part in parts.values():  # Python 3.13 takes the indentation out of docstrings, older ones leave it
        part["description"] = inspect.cleandoc(part["description"])
    document = {"$id": SCHEMA, "anyOf": [{"$ref": "#/$defs/ServerStatus"}, {"$ref": "#/$defs/ClientStatus"}]}
    schema: dict[str, Any] = json.loads(json.dumps(document | {"$defs": dict(sorted(parts.items()))}))
    return schema


def lost(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    found = []
    for name, part in before.items():
        if name not in after:
            found.append(name)
            continue
        for field, says in part.get("properties", {}).items():
            now = after[name].get("properties", {}).get(field)
            if now is None or _type(now) != _type(says):
                found.append(f"{name}.{field}")
    return found


def _type(field: dict[str, Any]) -> dict[str, Any]:
    """What values it may have. A default, or a description, may change."""
    return {key: value for key, value in field.items() if key not in ("default", "description")}


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(current(), indent=1) + "\n", encoding="utf-8")
