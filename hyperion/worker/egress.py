"""Which ports of this machine an admin may reach. Nothing is allowed that is not listed.

Asked for every single stream, never once per session: after a reload the new list holds for the next stream (security
notes, B39). The identity is the static key that was proven in this very session (B40).
"""

import hmac

from hyperion.proto.control import AdminRule


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


def allowed(rule: AdminRule | None, port: int) -> bool:
    """May this admin reach 127.0.0.1:``port``?"""
    return rule is not None and port in rule.allow
