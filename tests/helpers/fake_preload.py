"""What the fork server imports for tests: the least that makes fake workers start fast."""

import sys

import tests.helpers.fake_worker

__all__ = ["tests"]

#: What a child finds there, at its birth.
PRELOADED = frozenset(sys.modules)
