"""Which admins may come in, and which ports of this machine they may reach. Nothing is allowed that is not listed.

Asked for every single stream, never once per session: after a reload the new list holds for the next stream (security
notes, B39). The identity is the static key that was proven in this very session (B40).
"""

import hmac

from hyperion.proto.admins import AdminRule
from hyperion.proto.fingerprint import fingerprint

#: Why a client that says who it is does not come in.
UNKNOWN = "unknown-static-key"
EXPIRED = "admin-expired"


class Admins:
    """The allow-list of static keys, with what each may reach."""

    def __init__(self, rules: tuple[AdminRule, ...]) -> None:
        self._rules = rules

    def find(self, public_key: bytes) -> AdminRule | None:
        """The rule of this key, None if it is not listed. Compares with every entry, each in constant time."""
        found = None
        for rule in self._rules:
            if hmac.compare_digest(rule.public_key, public_key):
                found = rule
        return found


def refusal(rule: AdminRule | None, now: float) -> str | None:
    """Why this client does not come in at ``now``, Unix seconds; None: it does. The word is for the log, the client
    sees the same silence."""
    if rule is None:
        return UNKNOWN
    return EXPIRED if rule.expired(now) else None


def user_fields(rule: AdminRule) -> dict[str, object]:
    """The admin in log lines: the key's fingerprint, and the name if it has one."""
    key = fingerprint(rule.public_key)
    return {"user.id": key} if rule.name == key else {"user.id": key, "user.name": rule.name}


def allowed(rule: AdminRule | None, port: int) -> bool:
    """May this admin reach 127.0.0.1:``port``?"""
    return rule is not None and port in rule.allow
