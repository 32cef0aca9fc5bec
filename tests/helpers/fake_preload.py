"""What the fork server imports for tests: the least that makes fake workers start fast."""

import tests.helpers.fake_worker

__all__ = ["tests"]
