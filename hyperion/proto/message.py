"""What all messages between processes have in common.

Apart from ``control``, because a command that asks a running program needs no message of the supervisor's children.
"""

import msgspec


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t"):
    """Base of all control messages: tagged, so that a union is closed, and strict."""
