"""A conformance table for yamux as Hyperion speaks it: numbered cases against the session, through bytes only.

Each section is a module or two; ``cases`` collects them. ``python -m tests.conformance`` prints the table, and so does
pytest at the end of a run that contains it.
"""
