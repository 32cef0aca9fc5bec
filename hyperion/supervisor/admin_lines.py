"""The admins of a server in its status. Apart from the rest of it: one that does not run is asked for them, too.

Pure, and quick to load.
"""

from collections.abc import Mapping, Sequence

from hyperion.config.settings import Admin
from hyperion.proto.operator import AdminLine


def admin_lines(admins: Sequence[Admin], sessions: Mapping[str, int] | None = None) -> list[AdminLine]:
    """Who is connected comes first. ``sessions``: how many are open, by admin's name."""
    open_now = sessions or {}
    lines = [
        AdminLine(
            name=admin.name,
            fingerprint=admin.key.fingerprint,
            ports=sorted(admin.allow),
            sessions=open_now.get(admin.name, 0),
            expires_at=admin.expires,
        )
        for admin in admins
    ]
    return sorted(lines, key=lambda line: -line.sessions)
