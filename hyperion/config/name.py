"""How servers and admins may be called. Pure."""

#: Longest name, characters: it stands in process titles, log fields and table columns.
MAX_NAME_CHARS = 64

#: What an error message says after "expected".
NAME_RULE = f"1 to {MAX_NAME_CHARS} printable characters without space, / and :"


def is_name(name: str) -> bool:
    """Whether something may be called so.

    ``/`` and ``:`` would be ambiguous in paths and in ``-L``, and with them a name could pose as a fingerprint.
    """
    return 1 <= len(name) <= MAX_NAME_CHARS and name.isprintable() and not set(name) & set("/: ")
