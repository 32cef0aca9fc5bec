"""``add-admin``, ``rm-admin`` and ``admins``: who may come in to a server, where to, and until when.

Knows the server's file. What a running server does with the change is the business of ``reload``.
"""

import datetime
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hyperion.cli.diff import diff
from hyperion.cli.editing import editing, put, runs, text_of
from hyperion.cli.init_server import parse_ports
from hyperion.cli.loading import server_path
from hyperion.cli.output import say
from hyperion.config.admins import resolve_admins
from hyperion.config.edit import add_section, remove_from_list, remove_sections
from hyperion.config.name import NAME_RULE, is_name
from hyperion.config.reading import read_server
from hyperion.config.schema import ServerFile
from hyperion.config.settings import Admin
from hyperion.config.toml_file import parse
from hyperion.errors import BadKeyError, UsageError
from hyperion.proto.keys import KeyFormatError, PublicKey

LIST_SCHEMA = "hyperion.admins/1"
ADD_SCHEMA = "hyperion.add-admin/1"
REMOVE_SCHEMA = "hyperion.rm-admin/1"

#: 30m, 12h, 90d, 2w; more is a slip: ten years.
_DURATION = re.compile(r"([0-9]{1,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = datetime.timedelta(days=3_660)


class AdminDocument(msgspec.Struct, kw_only=True):
    """One admin. ``expires``: ISO 8601 in UTC, ``None``: never; ``expired``: that is past."""

    name: str
    fingerprint: str
    pubkey: str
    allow: list[int]
    expires: str | None
    expired: bool


class AdminsDocument(msgspec.Struct, kw_only=True):
    """What ``admins --json`` prints."""

    schema: str = LIST_SCHEMA
    config: str
    admins: list[AdminDocument]


class ChangeDocument(msgspec.Struct, kw_only=True):
    """What ``add-admin`` and ``rm-admin`` print. ``running``: a server runs that a reload would tell of it."""

    schema: str
    config: str
    running: bool
    admin: AdminDocument


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An admin as typed. ``allow`` and ``expires`` are ``None`` if nothing was said."""

    name: str
    pubkey: str
    allow: str | None
    expires: str | None


def run_admins(config_file: Path | None, *, as_json: bool) -> int:
    """Lists them, in the order of the file. Raises what reading the file raises."""
    path = server_path(config_file)
    found = [_document(admin) for admin in resolve_admins(path, read_server(path))]
    if as_json:
        say(msgspec.json.encode(AdminsDocument(config=str(path), admins=found)).decode())
        return 0
    if not found:
        say("nobody may come in yet; add somebody: hyperion-server add-admin NAME PUBKEY")
        return 0
    rows = [("name", "key", "ports", "until"), *(_row(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, key, ports, until in rows:
        say(f"{name:<{widths[0]}}  {key:<{widths[1]}}  {ports:<{widths[2]}}  {until}")
    return 0


def run_add(config_file: Path | None, newcomer: Newcomer, *, dry_run: bool, as_json: bool) -> int:
    """Adds an ``[[admin]]``. Raises ``UsageError``, ``BadKeyError``, what reading raises, and ``CannotCreateError``;
    then the file is as it was."""
    values = _checked(newcomer, datetime.datetime.now(datetime.UTC))
    path = server_path(config_file)
    with editing(path, "server") as original:
        before = _admins(path, original.content)
        for admin in before:
            if admin.name == newcomer.name:
                raise UsageError(f"there is an admin {admin.name} already", hint=_remover(admin))
            if str(admin.key) == values["pubkey"]:
                raise UsageError(f"that is the key of {admin.name}", hint=_remover(admin))
        text = add_section(text_of(original), "admin", values)
        after = _admins(path, text.encode("utf-8"))
        if dry_run:
            say(diff(path, text_of(original), text))
            return 0
        put(path, original, text, lambda content: _admins(path, content) == after and after[:-1] == before)
    _tell(path, config_file, ADD_SCHEMA, after[-1], f"added admin {newcomer.name}", as_json=as_json)
    return 0


def run_remove(config_file: Path | None, name: str, *, dry_run: bool, as_json: bool) -> int:
    """Removes the admin of this name, fingerprint or key. Raises as ``run_add``."""
    path = server_path(config_file)
    with editing(path, "server") as original:
        before = _admins(path, original.content)
        gone = [admin for admin in before if name in (admin.name, admin.key.fingerprint, str(admin.key))]
        if not gone:
            raise UsageError(f"no admin {name} in {path}", hint="hyperion-server admins shows them")
        text = text_of(original)
        if gone[0].name == gone[0].key.fingerprint:
            text = remove_from_list(text, "identity", "admin_pubkeys", str(gone[0].key))
        else:
            text = remove_sections(text, "admin", "name", gone[0].name)
        left = tuple(admin for admin in before if admin != gone[0])
        if not left:
            raise UsageError(f"{name} is the last admin", hint="add another one first: nobody could come in")
        if dry_run:
            say(diff(path, text_of(original), text))
            return 0
        put(path, original, text, lambda content: _admins(path, content) == left)
    _tell(path, config_file, REMOVE_SCHEMA, gone[0], f"removed admin {gone[0].name}", as_json=as_json)
    return 0


def parse_end(text: str, now: datetime.datetime) -> datetime.datetime | datetime.date:
    """From a date, a date and time, or a time from now like ``12h`` or ``90d`` (to the second, in UTC). Raises
    ``UsageError``, also for what is past."""
    duration = _DURATION.fullmatch(text)
    try:
        if duration is not None:
            length = datetime.timedelta(**{_UNITS[duration[2]]: int(duration[1])})
            end: datetime.datetime | datetime.date = (now + min(length, _LONGEST)).replace(microsecond=0)
            moment = end
        elif re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            end = datetime.date.fromisoformat(text)
            moment = datetime.datetime.combine(end, datetime.time()).astimezone()
        else:
            end = datetime.datetime.fromisoformat(text)
            moment = end.astimezone()
    except (ValueError, OverflowError, OSError):
        hint = "like 2027-01-31, 2027-01-31T18:00:00Z, 12h or 90d"
        raise UsageError("--expires: expected a date, a date and time, or a time from now", hint=hint) from None
    if isinstance(moment, datetime.datetime) and moment <= now:
        raise UsageError("--expires: that is past", hint="leave it out for an admin without an end")
    return end


def _checked(newcomer: Newcomer, now: datetime.datetime) -> dict[str, Any]:
    """The section's values."""
    if not is_name(newcomer.name):
        raise UsageError(f"NAME: expected {NAME_RULE}", hint="like alice")
    try:
        key = PublicKey.parse(newcomer.pubkey)
    except KeyFormatError as error:
        raise BadKeyError(
            f"PUBKEY: {error}", hint="it is what hyperion-client init printed: 44 characters, the last one ="
        ) from None
    values: dict[str, Any] = {"name": newcomer.name, "pubkey": str(key)}
    if newcomer.allow is not None:
        values["allow"] = parse_ports(newcomer.allow)
    if newcomer.expires is not None:
        values["expires"] = parse_end(newcomer.expires, now)
    return values


def _remover(admin: Admin) -> str:
    return f"hyperion-server rm-admin {admin.name} removes it"


def _admins(path: Path, content: bytes) -> tuple[Admin, ...]:
    return resolve_admins(path, parse(path, content, ServerFile))


def _tell(path: Path, config_file: Path | None, schema: str, admin: Admin, words: str, *, as_json: bool) -> None:
    known = runs("server", config_file)
    document = _document(admin)
    if as_json:
        change = ChangeDocument(schema=schema, config=str(path), running=known, admin=document)
        say(msgspec.json.encode(change).decode())
        return
    _, key, ports, until = _row(document)
    say(f"{words} ({key}; ports {ports}; until {until})")
    if known:
        say("next: sudo hyperion-server reload")


def _document(admin: Admin) -> AdminDocument:
    expires = None
    if admin.expires is not None:
        expires = datetime.datetime.fromtimestamp(admin.expires, datetime.UTC).isoformat().replace("+00:00", "Z")
    return AdminDocument(
        name=admin.name,
        fingerprint=admin.key.fingerprint,
        pubkey=str(admin.key),
        allow=sorted(admin.allow),
        expires=expires,
        expired=admin.expires is not None and admin.expires <= time.time(),
    )


def _row(document: AdminDocument) -> tuple[str, str, str, str]:
    name = document.name if document.name != document.fingerprint else "-"
    until = "no end" if document.expires is None else document.expires + (" (over)" if document.expired else "")
    return name, document.fingerprint, _ports(document.allow), until


def _ports(ports: Sequence[int]) -> str:
    return ",".join(map(str, ports)) or "none"
