"""What ``--json`` prints is a promise: within one version of a schema nothing vanishes, changes its type or its name.

``tests/vectors/documents.json`` holds what was promised. A new field may be added to it; for anything else the number
in the schema's name goes up. (``status`` has a file of its own, beside the messages of the operator socket.)
"""

import json
import re
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from hyperion.cli import (
    admins,
    apply_firewall,
    client,
    doctor,
    init_client,
    init_server,
    keygen,
    ls,
    print_firewall,
    print_routes,
    remove_firewall,
    server,
    servers,
    ssh_config,
)

PROMISED = Path(__file__).parent / "vectors" / "documents.json"

DOCUMENTS: dict[str, type[msgspec.Struct]] = {
    admins.ADD_SCHEMA: admins.ChangeDocument,
    admins.LIST_SCHEMA: admins.AdminsDocument,
    admins.REMOVE_SCHEMA: admins.ChangeDocument,
    doctor.SCHEMA: doctor.DoctorDocument,
    init_client.SCHEMA: init_client.InitDocument,
    init_server.SCHEMA: init_server.InitDocument,
    keygen.SCHEMA: keygen.KeygenDocument,
    ls.SCHEMA: ls.LsDocument,
    apply_firewall.SCHEMA: apply_firewall.ApplyDocument,
    print_routes.SCHEMA: print_routes.RoutesDocument,
    remove_firewall.SCHEMA: remove_firewall.RemoveDocument,
    print_firewall.SCHEMA: print_firewall.FirewallDocument,
    servers.ADD_SCHEMA: servers.AddDocument,
    servers.REMOVE_SCHEMA: servers.RemoveDocument,
    ssh_config.SCHEMA: ssh_config.SshConfigDocument,
}
#: Kept elsewhere.
ELSEWHERE = {"hyperion.status/1"}


def fields(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Each field of a document, with its path and its type; a list of documents is gone into."""
    schema = msgspec.json.schema(kind)
    found: dict[str, str] = {}

    def walk(node: dict[str, Any], path: str) -> None:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
            for name, value in node["properties"].items():
                walk(value, f"{path}.{name}" if path else name)
        elif node.get("type") == "array" and "items" in node:
            walk(node["items"], f"{path}[]")
        else:
            choices = [choice["type"] for choice in node["anyOf"]] if "anyOf" in node else [node["type"]]
            found[path] = " | ".join(choices)

    walk(schema, "")
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_was_promised_is_there(name: str) -> None:
    promised = json.loads(PROMISED.read_text(encoding="utf-8"))[name]
    told = fields(DOCUMENTS[name])
    assert {path: told.get(path) for path in promised} == promised
    assert set(told) == set(promised), "add the new fields to tests/vectors/documents.json"


def test_every_schema_that_a_command_names_is_kept() -> None:
    named: set[str] = set()
    for program in (client.program, server.program):
        assert isinstance(program, click.Group)
        for command in program.commands.values():
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    named |= set(re.findall(r"hyperion\.[a-z-]+/\d+", parameter.help or ""))
    assert named - ELSEWHERE == set(DOCUMENTS) == set(json.loads(PROMISED.read_text(encoding="utf-8")))


def test_a_promise_that_is_broken_would_be_seen() -> None:
    class Inner(msgspec.Struct):
        b: int | None

    class Outer(msgspec.Struct):
        schema: str
        inner: list[Inner]

    assert fields(Outer) == {"schema": "string", "inner[].b": "integer | null"}
