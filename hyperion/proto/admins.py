"""Who may come in: one rule for each admin, and the compact form in which all of them travel to the workers.

Admins mostly share a few lists of ports, so each list travels once and each admin says which one is his. Refuses to
know where rules come from (``hyperion.config``) and who asks for them (``hyperion.worker.egress``).
"""

from collections.abc import Iterable

import msgspec


class AdminRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One admin: 32 raw bytes of static public key, the name for logs and ``status`` (the key's fingerprint if it has
    no other), the ports this admin may reach, and when that ends, Unix seconds; ``None``: it does not."""

    public_key: bytes
    name: str
    allow: tuple[int, ...]
    expires: float | None = None

    def expired(self, now: float) -> bool:
        """Whether it is over at ``now``, Unix seconds. The moment itself is outside."""
        return self.expires is not None and now >= self.expires


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """All rules, as they travel. ``members``: key, name, 0-based place of the list in ``lists``, end.

    Raises ``ValueError`` if a member names a list that is not there; a decoder refuses such a message.
    """

    lists: tuple[tuple[int, ...], ...] = ()
    members: tuple[tuple[bytes, str, int, float | None], ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= place < len(self.lists) for _, _, place, _ in self.members):
            raise ValueError("there is no such list of ports")

    def __len__(self) -> int:
        return len(self.members)

    @classmethod
    def of(cls, rules: Iterable[AdminRule]) -> "Roster":
        """In the order given."""
        lists: dict[tuple[int, ...], int] = {}
        members = tuple(
            (rule.public_key, rule.name, lists.setdefault(rule.allow, len(lists)), rule.expires) for rule in rules
        )
        return cls(tuple(lists), members)

    def rules(self) -> tuple[AdminRule, ...]:
        """What ``of`` was given."""
        return tuple(AdminRule(key, name, self.lists[place], end) for key, name, place, end in self.members)
