"""How servers and admins may be called. Pure."""

#: Longest name, characters: it stands in process titles, log fields and table columns.
MAX_NAME_CHARS = 64

#: What an error message says after "expected".
NAME_RULE = f"1 to {MAX_NAME_CHARS} printable characters without space, comma, / and :, and no - in front"


def is_name(name: str) -> bool:
    """Whether something may be called so.

    ``/`` and ``:`` would be ambiguous in paths and in ``-L``, and with them a name could pose as a fingerprint; so
    would a comma in ``--only``. With a ``-`` in front a command would take it for an option: ours, ssh, whatever a
    name is pasted to. What else a shell or ssh reads in its own way is left out where it would be read
    (``hyperion.cli.complete``, ``hyperion.cli.ssh_config``).
    """
    fits = 1 <= len(name) <= MAX_NAME_CHARS and not name.startswith("-")
    return fits and name.isprintable() and not set(name) & set("/:, ")
