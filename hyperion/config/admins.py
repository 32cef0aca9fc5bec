"""The admins of a server: the bare keys of ``admin_pubkeys``, and the ``[[admin]]`` sections with all they say.

Knows what the values mean together. Refuses to know how a rule travels and who obeys it.
"""

import datetime
from collections.abc import Iterable
from pathlib import Path

from hyperion.config.complaint import KeyPath, quoted, shown, wrong
from hyperion.config.name import NAME_RULE, is_name
from hyperion.config.schema import AdminSection, ServerFile
from hyperion.config.settings import Admin
from hyperion.config.values import public_key_of_value
from hyperion.proto.keys import PublicKey

EXAMPLES = "without quotes, like 2027-01-31 or 2027-01-31T18:00:00Z"


def require_admin(path: Path, raw: ServerFile) -> None:
    """Raises ``ConfigError`` if nobody may come in at all."""
    if not raw.identity.admin_pubkeys and not raw.admin:
        hint = "or add a section [[admin]] with name and pubkey"
        raise wrong(path, ("identity", "admin_pubkeys"), "at least one public key", "an empty list", hint=hint)


def resolve_admins(path: Path, raw: ServerFile) -> tuple[Admin, ...]:
    """First the bare keys, in the order of the file. Raises ``ConfigError``."""
    egress = frozenset(raw.egress.allow)
    bare = _bare_keys(path, raw.identity.admin_pubkeys)
    named = [_named(path, place, section, egress) for place, section in enumerate(raw.admin)]
    _check_apart(path, bare, named)
    return (*(Admin(key.fingerprint, key, egress) for key in bare), *named)


def _bare_keys(path: Path, texts: list[str]) -> list[PublicKey]:
    keys = (public_key_of_value(path, ("identity", "admin_pubkeys", place), text) for place, text in enumerate(texts))
    return list(dict.fromkeys(keys))


def _named(path: Path, place: int, section: AdminSection, egress: frozenset[int]) -> Admin:
    if not is_name(section.name):
        raise wrong(path, ("admin", place, "name"), NAME_RULE, quoted(section.name))
    return Admin(
        name=section.name,
        key=public_key_of_value(path, ("admin", place, "pubkey"), section.pubkey),
        allow=egress if section.allow is None else frozenset(section.allow),
        expires=None if section.expires is None else _moment(path, ("admin", place, "expires"), section.expires),
    )


def _moment(path: Path, key: KeyPath, value: object) -> float:
    """Unix seconds. Without an offset it is this machine's local time; a date alone is its first moment, as in the
    ``expiry-time`` of OpenSSH."""
    match value:
        case datetime.datetime():
            moment = value
        case datetime.date():
            moment = datetime.datetime.combine(value, datetime.time())
        case _:
            raise wrong(path, key, "a date, or a date and a time", shown(value, key), hint=EXAMPLES)
    try:
        return moment.timestamp()
    except (OverflowError, OSError, ValueError):
        raise wrong(path, key, "a date that this machine can count to", shown(value, key)) from None


def _check_apart(path: Path, bare: list[PublicKey], named: list[Admin]) -> None:
    """A key with two rules would leave open which one holds."""
    names: set[str] = set()
    keys: dict[PublicKey, str] = dict.fromkeys(bare, "one that is in admin_pubkeys as well")
    for place, admin in enumerate(named):
        if admin.name in names:
            raise wrong(path, ("admin", place, "name"), "a name of its own", f"{quoted(admin.name)} a second time")
        if admin.key in keys:
            raise wrong(path, ("admin", place, "pubkey"), "a key of its own", keys[admin.key])
        names.add(admin.name)
        keys[admin.key] = f"that of {quoted(admin.name)}"


def admin_changes(old: Iterable[Admin], new: Iterable[Admin]) -> dict[str, list[str]]:
    """Who came, went, or may do something else now, for the log: by name. An admin is who holds a key."""
    before, after = ({admin.key: admin for admin in admins} for admins in (old, new))
    kinds = {
        "hyperion.config.admins_added": [admin.name for key, admin in after.items() if key not in before],
        "hyperion.config.admins_removed": [admin.name for key, admin in before.items() if key not in after],
        "hyperion.config.admins_changed": [
            admin.name for key, admin in after.items() if key in before and before[key] != admin
        ],
    }
    return {kind: names for kind, names in kinds.items() if names}
